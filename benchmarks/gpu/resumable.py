"""What a piece has found so far, kept on disk: a call that is cut off loses one item at most."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 540
UNFINISHED, LOST = 3, 4
"""Exit status of a call or piece that goes on in the next, and in another process."""
ATTEMPTS = 2
"""Calls that may be cut off within one item before it counts as failed."""


class OutOfTime(Exception):
    """The rest is for the next call."""


class DeviceLost(Exception):
    """After an illegal access every call fails: the rest is for another process."""


@cache
def environment(device: str) -> dict[str, str]:
    """What the numbers depend on."""
    made = {"torch": version("torch"), "triton": version("triton"), "device": "cpu"}
    if device.startswith("cuda"):
        import torch

        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        made |= {"device": torch.cuda.get_device_name(), "driver": done.stdout.strip(),
                 "cuda": str(torch.version.cuda)}  # fmt: skip
    return made


@dataclass
class Results:
    """Entries of one piece. Those that were made elsewhere than the first say where."""

    path: Path
    device: str
    tiny: bool
    deadline: float
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    finished: bool = False
    seconds: float = 0.0
    first: dict[str, str] | None = None
    """The environment of the first call."""

    def __post_init__(self) -> None:
        if self.path.exists():
            stored = json.loads(self.path.read_text())
            if stored["tiny"] != self.tiny:
                kind = "tiny" if stored["tiny"] else "full"
                raise ValueError(f"{self.path} holds {kind} measurements; name another folder")
            self.first, self.entries = stored["environment"], stored["entries"]
            self.attempts, self.seconds = stored["attempts"], stored["seconds"]
            self.finished = stored["finished"]

    def each(self, key: str, item: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Run and keep `item` unless its entry is there; a failure is an entry as well."""
        if key in self.entries:
            return self.entries[key]
        if self.attempts.get(key, 0) >= ATTEMPTS:
            return self._keep(key, {"failed": f"was cut off in {ATTEMPTS} calls"}, 0.0)
        if time.monotonic() > self.deadline:
            raise OutOfTime
        self._attempt(key, 1)
        start = time.monotonic()
        try:
            entry = item()
        except OutOfTime:
            self._attempt(key, -1)  # ended of its own accord, e.g. with a checkpoint
            raise
        except Exception as error:
            entry = {"failed": f"{type(error).__name__}: {error}"[:600]}
        entry = self._keep(key, entry, time.monotonic() - start)
        if "failed" in entry:
            self._check_device(key)
        return entry

    def failed(self) -> list[str]:
        return [key for key, entry in self.entries.items() if "failed" in entry]

    def forget_failures(self) -> None:
        """So that they are tried again."""
        for key in (failed := self.failed()):
            del self.entries[key]
        if failed:
            self.attempts, self.finished = {}, False
            self._write()

    def finish(self) -> None:
        """Nothing is left to do."""
        self.finished = True
        self._write()

    def _attempt(self, key: str, by: int) -> None:
        self.attempts[key] = self.attempts.get(key, 0) + by
        self._write()

    def _keep(self, key: str, entry: dict[str, Any], took: float) -> dict[str, Any]:
        here = environment(self.device)
        self.entries[key] = entry | ({} if self.first in (None, here) else {"environment": here})
        del self.attempts[key]
        self.seconds += took
        self._write()
        print(f"{key}: {json.dumps(entry)} ({took:.1f} s)", flush=True)
        return self.entries[key]

    def _check_device(self, key: str) -> None:
        if self.device.startswith("cuda"):
            import torch

            try:
                torch.cuda.synchronize()
            except RuntimeError as error:
                raise DeviceLost(f"after {key}: {error}"[:300]) from None

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.first = self.first or environment(self.device)
        whole = {
            "environment": self.first, "tiny": self.tiny, "finished": self.finished,
            "seconds": round(self.seconds, 3), "attempts": self.attempts, "entries": self.entries,
        }  # fmt: skip
        fresh = self.path.with_suffix(".tmp")
        fresh.write_text(json.dumps(whole, indent=1) + "\n")
        fresh.replace(self.path)
