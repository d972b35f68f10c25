"""The rows of benchmarks/models on the card: train steps, scoring and sampling beside their peers.

A call is timed by events; the most memory is what it takes above what was there before it. Peers
that are not installed are left out by name, and a result that is not ours' is not timed.
"""

from typing import Any

import models
import torch
from contest import distance
from timing import milliseconds, move

FAR = 2e-2
"""Relative distance that is allowed where a row states a smaller one: TF32 convolutions."""


def row(bench: models.Bench, results: Any) -> dict[str, Any]:
    with models.on(results.device):
        if reason := bench.unless():
            return {"left_out": reason}
    made: dict[str, Any] = {"ms": {}, "peak_bytes": {}, "distance": {}, "left_out": {}}
    ours, wanted = next(iter(bench.contestants)), None
    for name, build in bench.contestants.items():
        if results.tiny and "compiled" in name:
            continue
        try:
            with models.on(results.device):
                call = build()
                (got,) = move((call(),), "cpu")
                wanted = got if name == ours else wanted
                made["distance"][name] = apart = distance(got, wanted)
                if name in bench.equal and not (apart or 0.0) <= max(FAR, bench.equal[name]):
                    raise AssertionError(f"{apart} from ours: not timed")
                ms = milliseconds(call, [()], results.device)
                made["ms"][name] = ms * bench.scale.get(name, 1)
                made["peak_bytes"][name] = peak(call, results.device)
        except Exception as error:
            if name == ours:
                raise
            made["left_out"][name] = f"{type(error).__name__}: {error}"[:200]
    return made | {"ratio": {n: ms / made["ms"][ours] for n, ms in made["ms"].items()}}


def peak(call: models.Call, device: str) -> int | None:
    """Bytes that a call takes for itself at most."""
    if device == "cpu":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def chosen(benches: tuple[models.Bench, ...], tiny: bool) -> tuple[models.Bench, ...]:
    """All; of a dry run a train step, or the first."""
    if not tiny:
        return benches
    steps = [b for b in benches if "train" in b.name]
    return (*steps, *benches)[:1]


def run(results: Any) -> None:
    for family, module in models.families().items():
        for bench in chosen(module.BENCHES, results.tiny):
            results.each(f"{family} {bench.name}", lambda b=bench: row(b, results))
