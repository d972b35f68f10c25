"""Files that are either the old ones or the new ones, never half of each.

What is being written is a hidden sibling, `.name.*.part`, and locked. One that nobody holds is of
a process that was killed, and goes with the next writing of the same name.
"""

import ctypes
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from zoo_core.errors import OutputError, UsageError
from zoo_core.uncertainty import finite_or_null

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "NoHomeError",
    "atomic_folder",
    "atomic_path",
    "cache_dir",
    "config_dir",
    "expanded",
    "temporary_folder",
    "user_folder",
    "write_atomically",
    "write_json",
    "writing",
]

_FRESH = 60.0
"""Seconds for which a sibling may be there before its lock."""


class NoHomeError(UsageError):
    """This process has no home folder: `HOME` is not set and the system knows none."""


def cache_dir() -> Path:
    """Where downloads and derived files of this user are kept: `$ZOO_CACHE` or the XDG cache."""
    if explicit := os.environ.get("ZOO_CACHE"):
        return Path(explicit)
    return user_folder("XDG_CACHE_HOME", ".cache") / "density-zoo"


def config_dir() -> Path:
    """Where the settings of this user are kept: `$XDG_CONFIG_HOME/density-zoo`."""
    return user_folder("XDG_CONFIG_HOME", ".config") / "density-zoo"


def user_folder(variable: str, name: str) -> Path:
    """The folder that a variable of the environment says, or `~/<name>`; else `NoHomeError`."""
    return Path(os.environ[variable]) if os.environ.get(variable) else expanded("~") / name


def expanded(path: str | Path) -> Path:
    """A path whose `~` is replaced by the user's home; `NoHomeError` where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise NoHomeError(
            f"{str(path)!r} needs a home folder, and this process has none.",
            hint="set HOME, or XDG_CACHE_HOME and XDG_CONFIG_HOME",
        ) from None


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling to write; it replaces `path` if the block succeeds.

    Raises `OutputError` where the folder cannot be written or is full; nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        with _held(temporary):
            yield temporary
            _sync(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file, or leave what was there."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any, *, sort_keys: bool = False) -> None:
    """Write JSON to read by eye, or leave what was there; numbers that are not finite are null."""
    text = json.dumps(finite_or_null(value), indent=2, sort_keys=sort_keys)
    write_atomically(path, f"{text}\n".encode())


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary sibling folder to fill; it becomes `path` if the block succeeds.

    An existing folder at `path` is replaced whole: it stays until the new one is complete.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        temporary = Path(
            tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        )
    except OSError as error:
        raise _unwritable(path, error) from error
    old = temporary.with_suffix(".old")
    try:
        with _held(temporary):
            yield temporary
            _settle(temporary)
            if path.exists() and not _exchange(temporary, path):
                os.replace(path, old)
            if not path.exists():
                os.replace(temporary, path)
    except OSError as error:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of the system's for the block; `OutputError` where that is full or missing."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    except OSError as error:
        raise OutputError(
            f"a temporary file cannot be written ({error.strerror or error}).",
            hint="free some space, or name a folder on another disk: TMPDIR",
        ) from error


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Inside the block what the disk refuses is an `OutputError` that names the cache's folder."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"the cache {folder} cannot be written ({error.strerror or error}).",
            hint="free some space, or name another folder: --cache-dir or HF_HUB_CACHE",
        ) from error


def _clear(path: Path) -> None:
    """Remove what writers of `path` left that were killed; what is fresh or held stays."""
    for left in path.parent.glob(f".{escape(path.name)}.{'?' * 8}.part"):
        with _held(left) as ours:
            if ours and time.time() - left.lstat().st_mtime > _FRESH:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Inside the block other processes see that a file or folder is in use; False if they do so.

    A lock ends with its process, however that ends. Where there are none, nothing is held.
    """
    handle = None
    try:
        if fcntl is not None:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = handle is not None
    except OSError:
        held = False
    try:
        yield held
    finally:
        if handle is not None:
            os.close(handle)


def _settle(folder: Path) -> None:
    """Everything in a folder on the disk, and as readable as the user's mask says."""
    for file in folder.rglob("*"):
        if file.is_file():
            os.chmod(file, 0o666 & ~_umask())  # some writers make files only their owner reads
            _sync(file)
    os.chmod(folder, 0o777 & ~_umask())


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step, so that a kill at any moment leaves a whole one at both.

    Linux alone can (renameat2); elsewhere False, and nothing has happened.
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(a), here, os.fsencode(b), swap) == 0


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written ({error.strerror or error}).",
        hint="choose another path or free some space",
    )
