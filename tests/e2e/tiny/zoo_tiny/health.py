"""A health check that complains until it was fixed."""

import os
from pathlib import Path

from zoo_core.plugin import Check


def _mark() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "tiny.mended"


def check() -> Check:
    if os.environ.get("TINY_BROKEN") and not _mark().exists():
        return Check("problem", "tiny is broken", "zoo doctor --fix")
    return Check("ok", "tiny is fine")


def fix() -> None:
    if os.environ["TINY_BROKEN"] == "forever":
        raise OSError("no glue left")
    _mark().parent.mkdir(parents=True, exist_ok=True)
    _mark().touch()
