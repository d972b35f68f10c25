"""Launch settings of the Triton kernels, by architecture: measured once, shipped, never searched.

`tuned/sm_<NN>.json` maps kernels to settings that replace the defaults on such a card:

    {"spline.values": {"BLOCK": 256, "num_warps": 4}}

benchmarks/gpu/gpu_tune.py measures and writes such tables. A card without one and the interpreter
take the defaults. No call measures anything, so two runs launch alike and give equal bits.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from zoo_kernels._dispatch import interpreted

__all__ = ["DEFAULTS", "Settings", "check", "settings", "trying"]

Settings = Mapping[str, int]

DEFAULTS: dict[str, Settings] = {
    "coupling.values": {"BLOCK": 1024, "num_warps": 4},
    "coupling.backward": {"BLOCK": 1024, "num_warps": 4},
    "denoise.step": {"BLOCK": 256, "num_warps": 4},
    "masked_conv.wide": {"BM": 128, "MAX_TILE": 64, "num_warps": 8, "num_stages": 3},
    "mixture.log_prob": {"BLOCK": 128, "num_warps": 4},
    "mixture.backward": {"BLOCK": 128, "num_warps": 4},
    "rng.draw": {"BLOCK": 256, "num_warps": 4},
    "spline.values": {"BLOCK": 128, "num_warps": 4},
    "spline.backward": {"BLOCK": 128, "num_warps": 4},
}
"""What the kernels were written for; the budgets of benchmarks/aot.py are about these. MAX_TILE is
the largest tile of channels."""
_POWERS = [1 << i for i in range(15)]

_folder = Path(__file__).with_name("tuned")
_tried: dict[str, Settings] = {}


def settings(kernel: str, **interpreter: int) -> Settings:
    """How a kernel is launched on this machine's card; `interpreter` says what differs there."""
    if kernel in _tried:
        return _tried[kernel]
    if interpreted():
        return {**DEFAULTS[kernel], **interpreter}
    return _table(_arch()).get(kernel, DEFAULTS[kernel])


@contextmanager
def trying(kernel: str, chosen: Settings) -> Iterator[None]:
    """Inside the block a kernel is launched with these settings, everywhere in the process."""
    check({kernel: chosen}, "trying")
    before = _tried.get(kernel)
    _tried[kernel] = chosen
    try:
        yield
    finally:
        del _tried[kernel]
        if before is not None:
            _tried[kernel] = before


def check(table: Mapping[str, Settings], where: str) -> None:
    """Raise `ValueError` unless a table holds kernels, all of their settings, and powers of 2."""
    for kernel, chosen in table.items():
        if kernel not in DEFAULTS or chosen.keys() != DEFAULTS[kernel].keys():
            known = {name: sorted(wanted) for name, wanted in DEFAULTS.items()}
            raise ValueError(f"{where}: {kernel} with {sorted(chosen)}; there are {known}")
        for name, value in chosen.items():
            legal = (
                range(1, 9) if name == "num_stages" else _POWERS[: 5 if "warps" in name else 15]
            )
            if type(value) is not int or value not in legal:
                raise ValueError(f"{where}: {kernel}.{name} = {value!r}; legal: {[*legal]}")


@cache
def _table(arch: str) -> dict[str, Settings]:
    path = _folder / f"{arch}.json"
    if not path.exists():
        return {}
    found: dict[str, Settings] = json.loads(path.read_text())
    check(found, path.name)
    return found


@cache
def _arch() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"
