"""Every Triton variant compiled for this card by the Triton that is here: registers and spills.

The committed table (benchmarks/aot_table.json) is another version's. What does not compile fails;
what takes more here than its budget of that table, e.g. spills a register, is listed. Compiling
runs in a process without the interpreter, one an op, as many at a time as there are processors.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

import zoo_kernels

sys.path.insert(0, str(Path(__file__).parents[1]))


def compiled(op: str, arch: int, most: int) -> dict[str, Any]:
    """Each variant's resources, and what is over its budget, by a process that compiles."""
    command = [sys.executable, __file__, op, str(arch), str(most)]
    variables = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    kernels = str(Path(zoo_kernels.__file__).parents[1])
    further = os.environ.get("PYTHONPATH")
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [kernels, further]))
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split())[-500:])
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    over = {name: row.pop("over") for name, row in made.items()}
    return {"variants": made, "over_budget": {name: what for name, what in over.items() if what}}


def run(results: Any) -> None:
    arch = 90
    if results.device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        arch = 10 * major + minor
    ops = [name for name, spec in zoo_kernels.ops().items() if spec.variants]
    most = 1 if results.tiny else 10_000
    missing = {f"{op} sm_{arch}": op for op in ops[:most]}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        todo = {k: pool.submit(compiled, op, arch, most) for k, op in missing.items()
                if k not in results.entries}  # fmt: skip
        try:
            for key, future in todo.items():
                results.each(key, future.result)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def main(op: str, arch: int, most: int) -> None:
    from aot import breaches, compile_variant, resources, variants

    made = {}
    for name, variant in [v for v in variants() if v[0].startswith(f"{op}:")][:most]:
        row = resources(compile_variant(variant, arch))
        made[name] = {**row, "over": breaches(variant, row)}
    print(json.dumps(made))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
