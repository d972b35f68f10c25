"""What `zoo info` says of a model, and a picture of its samples by the command that draws it."""

import contextlib
import io
import json
import math
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tools.site.cache import cached
from zoo_core.cli import main as zoo

Info = Mapping[str, Any]
PICTURE, SPEED = "samples.png", "speed.json"
FEW_CALLS = "dpmpp_2m"
"""The sampler that draws the pictures of models which it fits: 20 calls of the network."""
_LARGE = 1024  # values of an event; fewer such events are drawn


@cache
def about(name: str) -> Info:
    """What `zoo info NAME --json` says."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = zoo(["--json", "--offline", "info", name])
    assert code == 0, f"zoo info {name}: {printed.getvalue()}"
    return dict(json.loads(printed.getvalue()))


def sample_command(name: str) -> list[str]:
    """The command, without `zoo`, that draws a picture of the model's samples."""
    info = about(name)
    shape, fits = info["event"]["shape"], [s["name"] for s in info["samplers"]]
    few = FEW_CALLS in fits
    size = math.prod(shape)
    n = 2000 if size == 2 else 8 if few and size > _LARGE else 16
    sampler = ["--sampler", FEW_CALLS] if few else []
    return ["sample", name, "-n", str(n), *sampler, *_cond(info["condition"]), "--seed", "0"]


def _cond(condition: Info) -> list[str]:
    """All classes in turn, of a group those of its first part; nothing without a condition."""
    parts = condition.get("parts") or {}
    if parts:
        first, *others = ((part, spec["names"]) for part, spec in parts.items())
        texts = [f"{first[0]}={','.join(first[1])}", *(f"{p}={names[0]}" for p, names in others)]
        return ["--cond", ",".join(texts)]
    classes = condition.get("classes")
    return ["--cond", ",".join(map(str, range(classes)))] if classes else []


def drawn(name: str, cache: Path) -> Path:
    """The folder with the picture of a model's samples, and the time that drawing took."""
    command = sample_command(name)
    return cached(cache, name, " ".join(command), lambda out: draw(name, out))


def draw(name: str, out: Path) -> None:
    """Run the command of a model's picture in this process."""
    started = time.process_time()
    command = [*sample_command(name), "--out", str(out / PICTURE)]
    with contextlib.redirect_stdout(io.StringIO()):
        code = zoo(["--quiet", "--offline", *command])
    assert code == 0, f"zoo {' '.join(command)}: exit code {code}"
    (out / SPEED).write_text(json.dumps({"seconds": time.process_time() - started}))
