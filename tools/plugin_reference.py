"""docs/reference/plugin-reference.md from the source: hooks, specs, capabilities and docstrings.

python tools/plugin_reference.py           # write it
python tools/plugin_reference.py --check   # fail if it is out of date
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "plugin-reference.md"
HEAD = """# Plugin reference

Made from the source by `python tools/plugin_reference.py`; change the docstrings there. What the
hooks are for: [design](../design.md). How to begin: [plugins](../guides/plugins.md).
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD, "## Hooks\n", "Functions of the plugin's module, marked with `hookimpl`.\n"]
    lines += _hooks(_class("hookspecs.py", "ZooHooks"))
    lines += ["\n## Specs\n", "What the hooks return: frozen dataclasses of `zoo_core`.\n"]
    for node in _classes("specs.py"):
        lines += _dataclass(node)
    lines += ["\n## Capabilities\n", "Protocols of `zoo_core.catalog.capabilities`.\n"]
    for node in _classes("capabilities.py"):
        lines += _protocol(node)
    return "\n".join(lines).rstrip("\n") + "\n"


def _hooks(node: ast.ClassDef) -> Iterator[str]:
    yield "| hook | returns | what |"
    yield "|---|---|---|"
    for hook in (n for n in node.body if isinstance(n, ast.FunctionDef)):
        assert hook.returns is not None
        text = _flat(ast.get_docstring(hook))
        yield f"| `{hook.name}` | `{ast.unparse(hook.returns)}` | {text} |"


def _dataclass(node: ast.ClassDef) -> Iterator[str]:
    """A heading, the docstring, and a row for each field with the docstring below it, if any."""
    yield f"### {node.name}\n"
    yield f"{ast.get_docstring(node)}\n"
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    for i, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign):
            default = f"`{ast.unparse(item.value)}`" if item.value else "required"
            kind = ast.unparse(item.annotation).replace("|", "\\|")
            yield f"| `{ast.unparse(item.target)}` | `{kind}` | {default} | {_below(node, i)} |"
    yield ""


def _protocol(node: ast.ClassDef) -> Iterator[str]:
    yield f"### {node.name}\n"
    yield f"{ast.get_docstring(node)}\n"
    for item in node.body:
        if isinstance(item, ast.AnnAssign):
            yield f"- `{ast.unparse(item)}`".replace("'", "")
        if isinstance(item, ast.FunctionDef):
            returns = f" -> {ast.unparse(item.returns)}" if item.returns else ""
            signature = f"{item.name}({ast.unparse(item.args)}){returns}".replace("'", "")
            text = _flat(ast.get_docstring(item))
            yield f"- `{signature}`{f': {text}' if text else ''}"
    yield ""


def _below(node: ast.ClassDef, i: int) -> str:
    after = node.body[i + 1] if i + 1 < len(node.body) else None
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
        return _flat(str(after.value.value))
    return ""


def _flat(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _classes(file: str) -> list[ast.ClassDef]:
    """Public classes of a module of the core, in their order."""
    tree = ast.parse((ROOT / "zoo_core" / "catalog" / file).read_text())
    return [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]


def _class(file: str, name: str) -> ast.ClassDef:
    return next(n for n in _classes(file) if n.name == name)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit(f"{PAGE.name} is out of date; run python tools/plugin_reference.py")
