"""Every op beside its peers in one run, as shares of the ceilings; timed only where it is right.

Inputs are the benchmark rows of the OpSpecs with their batch made larger; peers are those of the
CPU benchmark where they run on the device, and the reference, eager and compiled.
"""

import json
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from contest import distance, saved_bytes
from ops import with_backward
from resumable import OutOfTime
from timing import copies, milliseconds, move, replayed

import zoo_kernels
from zoo_kernels._examples import Bench
from zoo_kernels._spec import OpSpec

REPEATS = {"spline": 64, "coupling": 64, "mixture": 64, "masked": 8, "denoise": 64, "rng": 1}
SHORT_MS = 0.2  # calls shorter than this are timed by graph replay as well
FAR = 2e-2  # a result further than this from the reference is not timed
NOT_HERE = ("pixelcnn_sample",)


def repeated(a: torch.Tensor, times: int) -> torch.Tensor:
    """`times` copies of the batch, in the order that a's dimensions have in memory."""
    order = sorted(range(a.dim()), key=lambda i: (-a.stride(i), i))
    back = [order.index(i) for i in range(a.dim())]
    copies = [times if i == 0 else 1 for i in order]
    return a.permute(order).repeat(copies).permute(back)


def larger(spec: OpSpec, bench: Bench, times: int) -> tuple[Any, ...]:
    """The row's arguments with every batch repeated; random numbers get more elements a row."""
    args = list(bench.make(torch.Generator().manual_seed(0)))
    if spec.name.startswith("rng"):
        seed, _, numel, *counter = args
        return seed, torch.arange(64 * (64 if times > 1 else 1)), numel, *counter
    batched = spec.cases[0].rows if times > 1 else ()
    for i in batched:
        if isinstance(args[i], torch.Tensor):
            args[i] = repeated(args[i], times)
    return tuple(args)


def tiny(args: tuple[Any, ...], rows: tuple[int, ...], name: str) -> tuple[Any, ...]:
    """The first row of each batch, for the interpreter."""
    if name.startswith("rng"):
        seed, indices, _, *counter = args
        return seed, indices[:1], 512, *counter
    return tuple(a[:1] if i in rows and torch.is_tensor(a) else a for i, a in enumerate(args))


def contestants(spec: OpSpec, bench: Bench, compiled: bool) -> dict[str, Callable[..., Any]]:
    def forced(f: Callable[..., Any], backend: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            with zoo_kernels.backend(backend):
                return f(*args)

        return call

    wrap = with_backward if bench.backward else lambda f: torch.no_grad()(f)
    named = {"triton": forced(wrap(spec), "triton"), "reference": wrap(spec.reference)}
    if compiled:
        named["reference compiled"] = wrap(torch.compile(spec.reference, dynamic=False))
    for name, target in bench.peers.items():
        if "compiled" not in name or compiled:
            module, attr = target.split(":")
            named.setdefault(name, wrap(getattr(import_module(module), attr)))
    return named


def ceilings(results: Any) -> tuple[float, float]:
    """(gigabytes, teraflops) a second, from gpu_ceilings' file beside this one's."""
    path = results.path.with_name("ceilings.json")
    if not path.exists():
        print(f"{path} is missing: the piece `ceilings` comes first")
        raise OutOfTime
    entries = json.loads(path.read_text())["entries"].values()
    found: dict[str, float] = {k: v for entry in entries for k, v in entry.items()}
    return found["gigabytes_per_second"], found["teraflops"]


def shares(spec: OpSpec, args: tuple[Any, ...], ms: float, top: tuple[float, float]) -> Any:
    cost = spec.cost(*args)
    moved, done = cost.bytes / ms / 1e6, cost.flops / ms / 1e9
    return {"gigabytes_per_second": moved, "of_copy": moved / top[0], "of_product": done / top[1]}


def row(spec: OpSpec, bench: Bench, results: Any) -> dict[str, Any]:
    device, times = results.device, next(n for k, n in REPEATS.items() if spec.name.startswith(k))
    args = larger(spec, bench, 1 if results.tiny else times)
    if results.tiny:
        args = tiny(args, spec.cases[0].rows, spec.name)
    sets = copies(args, device)
    named = contestants(spec, bench, compiled=not results.tiny)
    wanted = named["reference"](*sets[0])
    made: dict[str, Any] = {"ms": {}, "graph_ms": {}, "distance": {}, "left_out": {}}
    for name, f in named.items():
        try:
            made["distance"][name] = distance(f(*sets[0]), wanted)
            if name == "triton" and not (made["distance"][name] or 0.0) <= FAR:
                raise AssertionError(f"{made['distance'][name]} from the reference: not timed")
            if bench.backward:
                made.setdefault("saved_bytes", {})[name] = saved_bytes(partial(f, *sets[0]))
            made["ms"][name] = milliseconds(f, sets, device)
            if device == "cuda" and made["ms"][name] < SHORT_MS and not bench.backward:
                made["graph_ms"][name] = replayed(f, sets)
        except Exception as error:
            if name == "triton":
                raise
            made["left_out"][name] = f"{type(error).__name__}: {error}"[:200]
    best = made["graph_ms"].get("triton", made["ms"]["triton"])
    if not bench.backward:
        made |= shares(spec, move(args, "cpu"), best, ceilings(results))
    return made | {"ratio": {n: t / made["ms"]["triton"] for n, t in made["ms"].items()}}


def run(results: Any) -> None:
    ceilings(results)
    for name, spec in zoo_kernels.ops().items():
        benches = () if name in NOT_HERE or not spec.triton else spec.bench
        for bench in benches[:1] if results.tiny else benches:
            results.each(f"{name} {bench.name}", lambda s=spec, b=bench: row(s, b, results))
