"""Times every op against its reference and its named peers; JSON lines on stdout or in a file.

    python benchmarks/ops.py [--only rng] [--rounds 5] [--out results.jsonl]

One thread, one process, interleaved rounds, median, process CPU time beside wall time. An op whose
laws fail is not timed. Peers live in benchmarks/peers/<op>.py.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import zoo_kernels
from zoo_kernels import testing
from zoo_kernels._spec import Bench, OpSpec

sys.path.insert(0, str(Path(__file__).parent))


def machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "")
    return {"cpu": model or platform.processor(), "isa": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__}  # fmt: skip


def gate(spec: OpSpec, backend: str) -> None:
    """Raises where a value is wrong: no number is printed for it."""
    with zoo_kernels.backend(backend):
        for case in spec.cases:
            testing.values_match_the_float64_reference(spec, case, next(iter(spec.tolerances)))


def under(backend: str, f: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        with zoo_kernels.backend(backend), torch.no_grad():
            return f(*args)

    return call


def with_backward(f: Callable[..., Any]) -> Callable[..., Any]:
    """Also the gradients of the summed outputs for every floating-point tensor."""

    def call(*args: Any) -> Any:
        floats = [a for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()]
        for a in floats:
            a.requires_grad_()
        with torch.enable_grad():
            out = f(*args)
            outputs = out if isinstance(out, tuple) else (out,)
            return torch.autograd.grad(sum(o.sum() for o in outputs), floats)

    return call


def contestants(spec: OpSpec, bench: Bench) -> dict[str, Callable[..., Any]]:
    """What is timed: the C++ kernel, the reference, the peers."""
    wrap = with_backward if bench.backward else lambda f: f
    named = {"cpp": under("cpp", wrap(spec)), "reference": under("reference", wrap(spec))}
    for name, target in bench.peers.items():
        module, attr = target.split(":")
        try:
            peer = getattr(import_module(module), attr)
        except ModuleNotFoundError as missing:
            print(f"{spec.name}: without {name}: no module {missing.name}", file=sys.stderr)
            continue
        named[name] = wrap(peer)
    return named


def measure(f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[float, float]:
    """(CPU, wall) milliseconds of one call; short calls are repeated."""
    calls, cpu, wall = 0, time.process_time(), time.perf_counter()
    while calls == 0 or time.perf_counter() - wall < 0.02:
        f(*args)
        calls += 1
    spent = time.process_time() - cpu, time.perf_counter() - wall
    scale = getattr(f, "scale", lambda *a: 1.0)(*args) / calls * 1e3
    return spent[0] * scale, spent[1] * scale


def row(spec: OpSpec, bench: Bench, rounds: int) -> dict[str, Any]:
    args = bench.make(torch.Generator().manual_seed(0))
    named = contestants(spec, bench)
    for f in named.values():
        f(*args)
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
        "ratio": {name: cpu[name] / cpu["cpp"] for name in cpu if name != "cpp"},
        "scaled": [name for name, f in named.items() if hasattr(f, "scale")],
    } | machine()  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    out = options.out.open("a") if options.out else sys.stdout
    for spec in zoo_kernels.ops().values():
        if options.only in spec.name and spec.bench:
            gate(spec, "cpp")
            for bench in spec.bench:
                print(json.dumps(row(spec, bench, options.rounds)), file=out, flush=True)


if __name__ == "__main__":
    main()
