"""Launch settings by measurement: every candidate of every kernel, right first and then timed.

Writes tuned-sm_<NN>.json beside the results; kernels/zoo_kernels/tuned/sm_<NN>.json is where it
goes once it has been looked at. A candidate whose results are off is an entry that says so; one
that is not at least MARGIN faster than the default is not taken.
"""

import json
from itertools import product
from typing import Any

import torch
from contest import distance
from gpu_speed import FAR, REPEATS, larger, tiny
from ops import with_backward
from timing import copies, milliseconds

import zoo_kernels
from zoo_kernels import _tuning
from zoo_kernels._examples import Bench
from zoo_kernels._spec import OpSpec

BLOCKS, WARPS = (64, 128, 256, 512, 1024, 2048), (1, 2, 4, 8)
TILES = {"BM": (64, 128), "MAX_TILE": (32, 64, 128), "num_warps": (4, 8), "num_stages": (2, 3, 4)}
MARGIN = 0.03
ROWS = {  # kernel: (op, whether its backward pass is timed as well)
    "coupling.values": ("coupling_forward", False),
    "coupling.backward": ("coupling_forward", True),
    "denoise.step": ("denoise_step", False),
    "masked_conv.wide": ("masked_conv", False),
    "mixture.log_prob": ("mixture_log_prob", False),
    "mixture.backward": ("mixture_log_prob", True),
    "rng.draw": ("rng_normal", False),
    "spline.values": ("spline_forward", False),
    "spline.backward": ("spline_forward", True),
}


def candidates(kernel: str) -> list[dict[str, int]]:
    """The default first, then every other."""
    default = dict(_tuning.DEFAULTS[kernel])
    choices = TILES if "BM" in default else {"BLOCK": BLOCKS, "num_warps": WARPS}
    every = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    return [default, *(c for c in every if c != default)]


def rows(kernel: str) -> tuple[OpSpec, list[Bench]]:
    """The op, and its benchmarked rows of the forward pass; the backward pass has the same."""
    spec = zoo_kernels.ops()[ROWS[kernel][0]]
    return spec, [bench for bench in spec.bench if not bench.backward]


def bf16(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The wide tiles of the convolution are those of half precision."""
    low = torch.bfloat16
    return tuple(a.to(low) if torch.is_tensor(a) and a.is_floating_point() else a for a in args)


def tried(kernel: str, chosen: dict[str, int], results: Any) -> dict[str, Any]:
    """Milliseconds of each row with these settings."""
    made = {}
    spec, benches = rows(kernel)
    for bench in benches[: 1 if results.tiny else None]:
        times = (
            1 if results.tiny else next(n for k, n in REPEATS.items() if spec.name.startswith(k))
        )
        args = larger(spec, bench, times)
        if results.tiny:
            args = tiny(args, spec.cases[0].rows, spec.name)
        if kernel == "masked_conv.wide":
            args = bf16(args)
        sets = copies(args, results.device)
        wrap = with_backward if ROWS[kernel][1] else lambda f: torch.no_grad()(f)
        wanted = wrap(spec.reference)(*sets[0])
        with zoo_kernels.backend("triton"), _tuning.trying(kernel, chosen):
            call = wrap(spec)
            apart = distance(call(*sets[0]), wanted)
            if not (apart or 0.0) <= FAR:
                raise AssertionError(f"{bench.name}: {apart} from the reference: not timed")
            made[bench.name] = milliseconds(call, sets, results.device)
    return made


def best(kernel: str, entries: dict[str, Any]) -> dict[str, int] | None:
    """The settings of the least geometric mean over rows, if it is worth leaving the default."""
    default, *others = candidates(kernel)
    base = entries.get(name(kernel, default), {})
    ratios = []
    for chosen in others:
        found = entries.get(name(kernel, chosen), {"failed": ""})
        if "failed" in found or "failed" in base or not found:
            continue
        logs = [torch.tensor(found[row] / base[row]).log().item() for row in base]
        ratios.append((sum(logs) / len(logs), chosen))
    least, chosen = min(ratios, key=lambda r: r[0], default=(0.0, default))
    return chosen if least < -MARGIN else None


def name(kernel: str, chosen: dict[str, int]) -> str:
    return f"{kernel} " + " ".join(f"{k}={v}" for k, v in chosen.items())


def run(results: Any) -> None:
    kernels = ["rng.draw", "denoise.step"] if results.tiny else list(_tuning.DEFAULTS)
    for kernel in kernels:
        for chosen in candidates(kernel)[: 3 if results.tiny else None]:
            key = name(kernel, chosen)
            results.each(key, lambda k=kernel, c=chosen: tried(k, c, results))
    table = {k: found for k in kernels if (found := best(k, results.entries))}
    _tuning.check(table, "the measured table")
    path = results.path.with_name(f"tuned-{_tuning._arch()}.json")
    path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    print(f"{path}: {len(table)} of {len(kernels)} kernels leave their defaults")
