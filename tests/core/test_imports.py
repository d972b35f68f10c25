"""What an import costs: neither the core nor a listing imports torch or numpy."""

import os
import subprocess
import sys

import pytest

CHECK = "; import sys; print(sorted({'torch', 'numpy', 'triton'} & sys.modules.keys()))"
LIGHT = {
    "the package": "import zoo_core",
    "the hooks and specs": "from zoo_core import hookimpl, ModelSpec, Range, Event, ZooError",
    "a list": "import zoo_core; assert 'mini_ar' in zoo_core.list_models('mini*')",
    "an info": "import zoo_core; assert zoo_core.info('mini_gan').spec.family == 'miniature'",
    "a wrong name": "import zoo_core\ntry: zoo_core.load('mini_flw')\n"
    "except zoo_core.UnknownNameError: pass\nelse: raise AssertionError\nimport sys",
}


@pytest.fixture
def path(tmp_path):
    """`sys.path` of a child, with the miniature family as an installed distribution."""
    info = tmp_path / "zoo_mini-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-mini\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[density_zoo]\nmini = zoo_mini.plugin\n")
    return os.pathsep.join([str(tmp_path), *(p for p in sys.path if p)])


def run(code, path):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "ZOO_PLUGINS": "mini"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("what", LIGHT)
def test_it_imports_neither_torch_nor_numpy(path, what):
    done = run(LIGHT[what] + CHECK, path)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
    assert done.stderr == ""


def test_the_check_above_can_fail(path):
    done = run("from zoo_core import GenerativeModel" + CHECK, path)
    assert "'torch'" in done.stdout


def test_every_public_name_resolves():
    import zoo_core

    for name in zoo_core.__all__:
        assert getattr(zoo_core, name) is not None
    assert set(zoo_core.__all__) <= set(dir(zoo_core))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        zoo_core.nonsense  # noqa: B018


def test_public_names_are_the_same_to_type_checkers_and_at_run_time():
    import zoo_core

    assert sorted(zoo_core._HOMES) == sorted(zoo_core.__all__)
    assert sorted(zoo_core.__all__) == sorted(set(zoo_core.__all__))
