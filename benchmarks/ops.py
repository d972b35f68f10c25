"""Rows of the kernels: every op against its reference and its named peers.

An op whose laws fail is not timed, nor a call whose result is not the reference's. Peers live in
benchmarks/peers/<op>.py and are named by the op's Bench; "x compiled" is "x" by torch.compile.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import torch
from contest import Row, compete, machine
from torch import Tensor

import zoo_kernels
from zoo_kernels import testing
from zoo_kernels._examples import Bench
from zoo_kernels._spec import OpSpec

PACKAGES = ("nflows", "zuko", "normflows", "diffusers")
Contestant = Callable[..., Any]


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


def row(spec: OpSpec, bench: Bench, rounds: int) -> Row:
    args = bench.make(torch.Generator().manual_seed(0))
    named = contestants(spec, bench)
    cost = spec.cost(*args)
    timed = compete(
        {name: partial(f, *args) for name, f in named.items()}, like="reference",
        equal={"cpp": 1e-3}, rounds=rounds, memory=bench.backward,
        scale={n: f.scale(*args) for n, f in named.items() if hasattr(f, "scale")},
    )  # fmt: skip
    return {"op": spec.name, "case": bench.name, "bytes": cost.bytes, "flops": cost.flops,
            **timed, **machine(PACKAGES)}  # fmt: skip


def rows(only: str, case: str, rounds: int, *, proof: bool) -> Iterator[Row]:
    """Of the ops whose name contains `only`; `proof` adds whole images by the slow loop."""
    for spec in zoo_kernels.ops().values():
        benches = [b for b in spec.bench if case in b.name]
        if only not in spec.name or not benches:
            continue
        gate(spec, "cpp")
        yield from (row(spec, bench, rounds) for bench in benches)
        if proof and spec.name == "pixelcnn_sample":
            from peers import pixelcnn_sampler

            yield pixelcnn_sampler.proof(spec) | machine(PACKAGES)
