"""The site: links between files of the repository, the menu, a reference of all public names."""

import inspect
import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from zoo_core import errors
from zoo_core.catalog.registry import current

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tools.site import gallery, reference  # noqa: E402
from tools.site.menu import menu  # noqa: E402
from tools.site.pages import SiteError, relinked, sources  # noqa: E402

ERRORS = "|".join(n for n in errors.__all__ if n.endswith("Error"))
NAMES = [n for package in reference.STUBS for n in reference.public_names(package)]
OBJECTS = {n.path: getattr(import_module(n.package), n.name) for n in NAMES}
FUNCTIONS = {path: inspect.unwrap(o) for path, o in OBJECTS.items() if inspect.isfunction(o)}
CLASSES = {path: o for path, o in OBJECTS.items() if inspect.isclass(o)}


def test_every_link_between_files_of_the_repository_leads_to_one():
    files = sources()
    for source in (s for s in files if s.endswith(".md")):
        relinked((ROOT / source).read_text(), source, files, "")


def test_a_link_to_another_file_is_text_until_there_is_an_address():
    text = "See [the code](../setup.py), [this](design.md#hooks) and `[no](link.md)`."
    where = (
        "docs/development.md",
        {"docs/design.md": "design.md", "docs/development.md": "d/d.md"},
    )
    plain = "See the code, [this](../design.md#hooks) and `[no](link.md)`."
    assert relinked(text, *where, "") == plain
    address = "https://example.org/zoo"
    linked = plain.replace("the code", f"[the code]({address}/blob/main/setup.py)")
    assert relinked(text, *where, address) == linked
    with pytest.raises(SiteError, match=r"nowhere.*no docs/missing\.md"):
        relinked("[x](missing.md)", *where, "")


def test_a_page_that_no_tab_holds_is_an_error(tmp_path):
    site = tomllib.loads((ROOT / "zensical.toml").read_text())
    (tmp_path / "guides").mkdir()
    (tmp_path / "guides" / "training.md").write_text("# Training\n")
    assert menu(site, tmp_path) == [{"Guides": [{"Training": "guides/training.md"}]}]
    (tmp_path / "stray.md").write_text("# Stray\n")
    with pytest.raises(SiteError, match=r"no tab.*stray\.md"):
        menu(site, tmp_path)


def test_every_public_name_is_on_a_page_of_the_reference():
    text = "\n".join(text for _, text in reference.pages())
    users = {n.name for n in reference.public_names("zoo_core")}
    documented = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    shared = {n.path for n in NAMES if n.package == "zoo_core.plugin" and n.name in users}
    assert {n.path for n in NAMES} - shared - documented == set()
    hooks = [n for n in vars(import_module("zoo_core.catalog.hookspecs").ZooHooks) if "zoo_" in n]
    page = (ROOT / "docs" / "reference" / "plugin-reference.md").read_text()
    assert [hook for hook in hooks if hook not in page] == []


def test_every_public_function_class_and_method_has_a_docstring():
    lacking = [path for path, o in (FUNCTIONS | CLASSES).items() if not _documented(o)]
    for path, cls in CLASSES.items():
        lacking += [f"{path}.{k}" for k in vars(cls) if not k.startswith("_") and _bare(cls, k)]
    assert lacking == []


def test_public_functions_name_the_errors_that_they_raise():
    for path, function in FUNCTIONS.items():
        raised = set(re.findall(rf"raise ({ERRORS})\b", inspect.getsource(function)))
        assert {e for e in raised if e not in function.__doc__} == set(), path


def test_public_functions_of_tensors_state_shapes():
    takes = {p: f for p, f in FUNCTIONS.items() if "Tensor" in str(f.__annotations__)}
    assert len(takes) > 20
    lacking = [p for p, f in takes.items() if not re.search(r"\([A-Z0-9n*][^)]*\)", f.__doc__)]
    assert lacking == []


def test_every_architecture_states_its_paper():
    rows = [row for row in current().list_models("*") if row.tag is None]
    assert [row.name for row in rows if not row.spec.paper] == []


def test_the_gallery_has_every_example_in_one_group():
    named = [name for names in gallery.groups().values() for name in names]
    assert sorted(named) == sorted(p.stem for p in gallery.examples())
    assert len(named) >= 15


def test_an_example_is_split_into_text_and_code(tmp_path):
    script = tmp_path / "sum.py"
    script.write_text('"""A sum\n\nOf two.\n"""\n\na = 1\n\n# %%\n# Then *b*.\nprint(a + 1)\n')
    example = gallery.Example.read(script)
    assert (example.title, example.intro) == ("A sum", "Of two.")
    assert [(c.text, c.code, c.line) for c in example.cells] == [
        ("", "a = 1", 6),
        ("Then *b*.", "print(a + 1)", 10),
    ]


def _documented(o):
    return bool(o.__doc__) and not o.__doc__.startswith(f"{o.__name__}(")  # a dataclass's own


def _bare(cls, name):
    """Whether a method or property of ours lacks a docstring, here and in what it overrides."""
    value = vars(cls)[name]
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    if not inspect.isfunction(function) or function.__module__ == "zoo_core.compat":
        return False
    return not any(getattr(getattr(base, name, None), "__doc__", None) for base in cls.__mro__)
