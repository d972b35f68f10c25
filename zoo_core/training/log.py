"""The log of a training as JSON lines, and the text beside its progress bar."""

import json
import math
from pathlib import Path
from typing import Any

from tqdm import tqdm

from zoo_core.catalog.units import UNITS
from zoo_core.errors import OutputError
from zoo_core.files import write_atomically
from zoo_core.reading import parse_json
from zoo_core.spaces import Event
from zoo_core.text import printable
from zoo_core.uncertainty import finite_or_null

__all__ = ["JsonLines", "show_terms"]


class JsonLines:
    """A file of one JSON object per line, flushed after each; without a path nothing is written.

    A resumed training keeps the lines up to its step, so the log reads as if it had never stopped.
    """

    def __init__(self, path: Path | None, *, keep: int) -> None:
        """Keep the lines of steps up to `keep`."""
        self._path = path
        if path is not None:
            lines = path.read_text().splitlines() if path.exists() else []
            kept = [line for line in lines if _step(line) <= keep]
            write_atomically(path, "".join(f"{line}\n" for line in kept).encode())

    def write(self, **values: Any) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(finite_or_null(values)) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self._path} cannot be written ({error.strerror}).",
                hint="free some space and resume",
            ) from error


def _step(line: str) -> float:
    try:
        return float(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # an incomplete line: the process was killed while writing it


def show_terms(bar: "tqdm[Any]", terms: dict[str, float], event: Event) -> None:
    """Show a step's terms, with bits/dim, or nats/token, where they hold nats."""
    shown = {printable(name): f"{value:.4g}" for name, value in terms.items()}
    if "nats" in terms and event.unit is not None:
        unit = UNITS[event.unit]  # of a loss, which is -log p
        shown[unit.name] = f"{unit.of(-terms['nats'], event.dims):.4f}"
    bar.set_postfix(shown, refresh=False)
