"""Compiles every Triton variant for sm_80, sm_90 and sm_100 without a GPU and keeps what it takes.

    python benchmarks/aot.py            recompile what changed, compare with the budgets
    python benchmarks/aot.py --all      recompile everything

The table (aot_table.json) says, for each variant and architecture: registers, stack and shared
bytes, instructions that matter. Budgets: no spills, registers and stack within the variant's
limits; tensor cores and vector loads where it demands them; in deterministic kernels no fused
multiply-add beyond the square root's own.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import zoo_kernels
from zoo_kernels._examples import Variant

TABLE = Path(__file__).with_name("aot_table.json")
ARCHS = (80, 90, 100)
COUNTED = ("HMMA", "HGMMA", "UTCHMMA", "LDL", "STL", "BAR", "FFMA", "LDG")


def variants() -> Iterator[tuple[str, Variant]]:
    """(name, variant) of every op."""
    for spec in zoo_kernels.ops().values():
        for variant in spec.variants:
            flags = ",".join(f"{k}={v}" for k, v in variant.constexprs.items())
            dtype = next(iter(variant.signature.values()))[1:]
            yield f"{spec.name}:{variant.kernel.split(':')[1]}[{dtype},{flags}]", variant


def source_hash(variant: Variant) -> str:
    """Of the kernel's file and the variant's settings."""
    package, _, module = variant.kernel.split(":")[0].partition(".")
    path = Path(import_module(package).__file__).parent / (module.replace(".", "/") + ".py")
    return hashlib.sha256(path.read_bytes() + repr(variant).encode()).hexdigest()[:16]


def compile_variant(variant: Variant, arch: int) -> Any:
    """Triton's compiled kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, name = variant.kernel.split(":")
    kernel = getattr(import_module(module), name)
    names = list(kernel.arg_names)
    constants = {(names.index(n),): value for n, value in variant.constexprs.items()}
    source = ASTSource(
        kernel,
        signature={n: variant.signature.get(n, "constexpr") for n in names},
        constexprs=constants,
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n in variant.aligned},
    )
    options = {
        "num_warps": variant.warps,
        "num_stages": variant.stages,
        "maxnreg": variant.maxnreg,
        "enable_fp_fusion": not variant.deterministic,
    }
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def _tool(name: str, *arguments: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run(
        [str(tool), *arguments], capture_output=True, text=True, check=True
    ).stdout


def resources(compiled: Any) -> dict[str, int]:
    """What cuobjdump and the disassembly say; shared memory, asked for at launch, Triton does."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        sass = _tool("nvdisasm", "-c", file.name)
    row = {k.lower(): int(re.search(rf"{k}:(\d+)", usage)[1]) for k in ("REG", "STACK")}
    row["shared"] = compiled.metadata.shared
    row |= {name.lower(): len(re.findall(rf"\b{name}\b", sass)) for name in COUNTED}
    row["wide_ldg"] = len(re.findall(r"LDG\S*\.(?:64|128)\b", sass))
    return row


def breaches(variant: Variant, row: dict[str, int]) -> list[str]:
    """What is over budget or missing."""
    limits = {"reg": variant.registers, "stack": variant.stack, "ldl": 0, "stl": 0}
    if variant.deterministic:
        limits["ffma"] = variant.fused
    found = [f"{k} {row[k]} > {n}" for k, n in limits.items() if row[k] > n]
    if variant.tensor_cores and not row["hmma"] + row["hgmma"] + row["utchmma"]:
        found.append("no tensor-core instruction")
    if variant.vector_loads and not row["wide_ldg"]:
        found.append("no vector load")
    return found


def main(arguments: list[str]) -> int:
    old = json.loads(TABLE.read_text()) if TABLE.exists() and "--all" not in arguments else {}
    table: dict[str, Any] = {}
    failures = []
    for name, variant in variants():
        for arch in ARCHS:
            key, digest = f"{name} sm_{arch}", source_hash(variant)
            row = old.get(key, {})
            if row.get("source") != digest:
                row = {"source": digest} | resources(compile_variant(variant, arch))
                print(key, {k: v for k, v in row.items() if k != "source"}, flush=True)
            table[key] = row
            failures += [f"{key}: {what}" for what in breaches(variant, row)]
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
    print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
