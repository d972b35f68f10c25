"""Times every op against its reference and its named peers; JSON lines on stdout or in a file.

    python benchmarks/ops.py [--only rng] [--rounds 5] [--out results.jsonl] [--proof]

One process, one thread, interleaved rounds, medians; process CPU time beside wall time, since a
shared machine stretches the latter. An op whose laws fail is not timed, nor a call whose result is
not the reference's. Peers live in benchmarks/peers/<op>.py; a peer "x compiled" is "x" by
torch.compile. `--proof` draws whole images by the loop that is otherwise timed on a few pixels.
report.py turns the lines into docs/benchmarks.md.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo_kernels
from zoo_kernels import _extension, testing
from zoo_kernels._spec import Bench, OpSpec

sys.path.insert(0, str(Path(__file__).parent))
PACKAGES = ("torch", "nflows", "zuko", "normflows", "diffusers")
SECONDS = 0.05  # a measurement repeats a short call at least this long
Contestant = Callable[..., Any]


@cache
def machine() -> dict[str, Any]:
    """What a number depends on: processor, vector unit, versions, commit."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "")
    return {
        "cpu": model or platform.processor(), "isa": _extension.unit(),
        "torch_isa": torch.backends.cpu.get_cpu_capability(), "python": platform.python_version(),
        "versions": {name: v for name in PACKAGES if (v := _version(name))}, "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """The checkout's commit, with + where it has been changed since."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "..", ":!../docs")
    return git("rev-parse", "--short", "HEAD") + "+" * bool(changed)


def gate(spec: OpSpec, backend: str) -> None:
    """Raises where a value or a gradient is wrong: no number is printed for it."""
    with zoo_kernels.backend(backend):
        for case in spec.cases:
            dtype = next(iter(spec.tolerances))
            testing.values_match_the_float64_reference(spec, case, dtype)
            testing.gradients_match_the_float64_reference(spec, case, dtype)


def under(backend: str, f: Contestant) -> Contestant:
    def call(*args: Any) -> Any:
        with zoo_kernels.backend(backend), torch.no_grad():
            return f(*args)

    return call


def with_backward(f: Contestant) -> Contestant:
    """Also the gradients of the summed outputs for every floating-point tensor."""

    def call(*args: Any) -> Any:
        floats = [a for a in args if isinstance(a, Tensor) and a.is_floating_point()]
        for a in floats:
            a.requires_grad_()
        with torch.enable_grad():
            out = f(*args)
            outputs = out if isinstance(out, tuple) else (out,)
            return torch.autograd.grad(sum(o.sum() for o in outputs), floats)

    return call


def contestants(spec: OpSpec, bench: Bench) -> dict[str, Contestant]:
    """What is timed: the C++ kernel, the reference, the peers."""
    wrap = with_backward if bench.backward else lambda f: f
    named = {"cpp": under("cpp", wrap(spec)), "reference": under("reference", wrap(spec))}
    for name, target in bench.peers.items():
        module, attr = target.split(":")
        peer = getattr(import_module(module), attr)
        named[name] = wrap(peer) if bench.backward else torch.no_grad()(peer)
        if hasattr(peer, "scale"):
            named[name].scale = peer.scale  # type: ignore[attr-defined]
    return named


def first_calls(named: dict[str, Contestant], args: tuple[Any, ...]) -> dict[str, Any]:
    """Each contestant's outputs; one that lacks its package, or does not compile, is left out."""
    outputs = {}
    for name, f in list(named.items()):
        try:
            outputs[name] = f(*args)
        except Exception as error:
            if name in ("cpp", "reference"):
                raise
            said = str(error).splitlines()[0] if str(error) else ""
            print(f"without {name}: {type(error).__name__}: {said}", file=sys.stderr)
            del named[name]
    return outputs


def distance(a: Any, b: Any) -> float | None:
    """Largest |a - b| over the outputs relative to their largest |b|; None for other shapes."""
    pairs = list(zip(*(o if isinstance(o, tuple | list) else (o,) for o in (a, b)), strict=False))
    if any(x.shape != y.shape for x, y in pairs):
        return None
    return max((_gap(x.double(), y.double()) for x, y in pairs if y.numel()), default=0.0)


def _gap(x: Tensor, y: Tensor) -> float:
    apart = (x - y).abs().amax()
    return float(apart / y.abs().amax()) if apart != 0 else 0.0


def saved_bytes(f: Contestant, args: tuple[Any, ...]) -> int:
    """Bytes that one forward pass keeps for the backward one, arguments included."""
    seen: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        f(*args)
    return sum(seen.values())


def measure(f: Contestant, args: tuple[Any, ...]) -> tuple[float, float]:
    """(CPU, wall) milliseconds of one call; short calls are repeated."""
    calls, cpu, wall = 0, time.process_time(), time.perf_counter()
    while calls == 0 or time.perf_counter() - wall < SECONDS:
        f(*args)
        calls += 1
    spent = time.process_time() - cpu, time.perf_counter() - wall
    scale = getattr(f, "scale", lambda *a: 1.0)(*args) / calls * 1e3
    return spent[0] * scale, spent[1] * scale


def row(spec: OpSpec, bench: Bench, rounds: int) -> dict[str, Any]:
    args = bench.make(torch.Generator().manual_seed(0))
    named = contestants(spec, bench)
    outputs = first_calls(named, args)
    apart = {name: distance(out, outputs["reference"]) for name, out in outputs.items()}
    if apart["cpp"] is None or not apart["cpp"] <= 1e-3:
        raise AssertionError(f"{spec.name} {bench.name}: C++ is {apart['cpp']} off: not timed")
    saved = {n: saved_bytes(f, args) for n, f in named.items()} if bench.backward else {}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
    for _ in range(rounds):
        for name, f in named.items():
            times[name].append(measure(f, args))
    cpu = {name: statistics.median(t[0] for t in ts) for name, ts in times.items()}
    wall = {name: statistics.median(t[1] for t in ts) for name, ts in times.items()}
    cost = spec.cost(*args)
    return {
        "op": spec.name, "case": bench.name, "threads": torch.get_num_threads(), "rounds": rounds,
        "cpu_ms": cpu, "wall_ms": wall, "bytes": cost.bytes, "flops": cost.flops,
        "distance": apart, "saved_bytes": saved,
        "scaled": [name for name, f in named.items() if hasattr(f, "scale")],
    } | machine()  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the op's name")
    parser.add_argument("--case", default="", help="part of the case's name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--proof", action="store_true", help="draw whole images by the slow loop")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    out = options.out.open("a") if options.out else sys.stdout
    for spec in zoo_kernels.ops().values():
        benches = [b for b in spec.bench if options.case in b.name]
        if options.only not in spec.name or not benches:
            continue
        gate(spec, "cpp")
        for bench in benches:
            print(json.dumps(row(spec, bench, options.rounds)), file=out, flush=True)
        if options.proof and spec.name == "pixelcnn_sample":
            from peers import pixelcnn_sampler

            print(json.dumps(pixelcnn_sampler.proof(spec) | machine()), file=out, flush=True)


if __name__ == "__main__":
    main()
