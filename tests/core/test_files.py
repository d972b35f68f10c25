"""Files and folders are the old ones or the new ones, never half of each."""

import os
import subprocess
import sys

import pytest

from zoo_core import files
from zoo_core.errors import OutputError
from zoo_core.files import atomic_folder, atomic_path, write_atomically


def names(path):
    return sorted(p.name for p in path.iterdir())


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~files._umask()


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("exchange", [True, False], ids=["at once", "one after the other"])
def test_a_folder_is_replaced_whole(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    path = tmp_path / "m"
    for text in ("old", "new"):
        with atomic_folder(path) as folder:
            (folder / text).mkdir()
            (folder / text / "x").write_text(text)
    assert names(path) == ["new"] and names(tmp_path) == ["m"]


@pytest.mark.parametrize("exchange", [True, False], ids=["at once", "one after the other"])
def test_a_folder_that_is_not_finished_leaves_the_old_one(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    path = tmp_path / "m"
    with atomic_folder(path) as folder:
        (folder / "x").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as folder:
        (folder / "x").write_text("new")
        1 / 0  # noqa: B018
    assert (path / "x").read_text() == "old" and names(tmp_path) == ["m"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path, real = tmp_path / "m", os.replace
    with atomic_folder(path) as folder:
        (folder / "x").write_text("old")

    def replace(a, b):
        if str(a).endswith(".part"):
            raise OSError(28, "No space left on device")
        real(a, b)

    monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    monkeypatch.setattr(files.os, "replace", replace)
    with (
        pytest.raises(OutputError, match="No space left on device"),
        atomic_folder(path) as folder,
    ):
        (folder / "x").write_text("new")
    assert (path / "x").read_text() == "old" and names(tmp_path) == ["m"]


KILLED = """
import os, sys
from pathlib import Path
from zoo_core import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])) as place:
    (place / "x" if place.is_dir() else place).write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock; parts stay there")
@pytest.mark.parametrize("writer", ["atomic_folder", "atomic_path"])
def test_what_a_killed_process_left_goes_with_the_next_writing(tmp_path, monkeypatch, writer):
    """While it lives its part stays, though it looks old; after SIGKILL it is cleared away."""
    monkeypatch.setattr(files, "_FRESH", -1)
    path = tmp_path / "m"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, writer, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "writing\n"
        with getattr(files, writer)(path) as place:
            (place / "x" if place.is_dir() else place).write_text("whole")
        assert [n.endswith(".part") for n in names(tmp_path)] == [True, False]
        child.kill()
    assert len(names(tmp_path)) == 2
    write_atomically(tmp_path / "other", b"")
    assert len(names(tmp_path)) == 3, "another name's writing leaves it alone"
    with getattr(files, writer)(path) as place:
        (place / "x" if place.is_dir() else place).write_text("new")
    assert names(tmp_path) == ["m", "other"]


def test_a_part_that_is_fresh_or_a_link_is_left(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / ".m.abcdefgh.part").mkdir()
    (tmp_path / ".n.abcdefgh.part").symlink_to(tmp_path / "victim")
    os.utime(tmp_path / ".n.abcdefgh.part", (0, 0), follow_symlinks=False)
    for name in "mn":
        write_atomically(tmp_path / name, b"")
    assert len(names(tmp_path)) == 5


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    for writer in (atomic_path, atomic_folder):
        with pytest.raises(OutputError, match=r"No space left on device\). \[choose another"):
            with writer(tmp_path / "a") as place:
                (place / "x" if place.is_dir() else place).write_text("x")
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    for writer in (atomic_path, atomic_folder):
        with (
            pytest.raises(OutputError, match="cannot be written"),
            writer(tmp_path / "file" / "a"),
        ):
            raise AssertionError("never entered")


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_on_linux_a_folder_is_there_at_every_moment_of_its_replacement(tmp_path, monkeypatch):
    path, moved = tmp_path / "m", []
    with atomic_folder(path) as folder:
        (folder / "x").write_text("old")
    monkeypatch.setattr(files.os, "replace", lambda a, b: moved.append((a, b)))
    with atomic_folder(path) as folder:
        (folder / "x").write_text("new")
    assert moved == [] and (path / "x").read_text() == "new"


def test_a_folder_is_as_readable_as_the_users_mask_says(tmp_path):
    mask = os.umask(0o022)
    try:
        with atomic_folder(tmp_path / "m") as folder:
            private = folder / "weights"
            private.touch(mode=0o600)
    finally:
        os.umask(mask)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "m" / "weights").stat().st_mode & 0o777 == 0o644
