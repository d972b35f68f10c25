"""The gallery: examples/gallery/*.py, executed, as pages with their text, code and pictures.

An example is a script: its docstring is the title and the introduction, `# %%` begins a cell, and
comment lines right after it are text in Markdown. What a cell prints and the figures of matplotlib
it draws follow its code.

python -m tools.site.gallery NAME...    # run examples; their pictures are in build/gallery
"""

import ast
import contextlib
import io
import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.site.cache import ROOT, cached

EXAMPLES = ROOT / "examples" / "gallery"
GROUPS = EXAMPLES / "gallery.toml"
_CELL = re.compile(r"^# %%.*\n", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """Text in Markdown and code, which may be empty; `line` is the code's first line."""

    text: str
    code: str
    line: int


@dataclass(frozen=True)
class Example:
    """An example: its title, its introduction in Markdown, and its cells."""

    name: str
    title: str
    intro: str
    cells: tuple[Cell, ...]

    @classmethod
    def read(cls, path: Path) -> "Example":
        source = path.read_text()
        tree = ast.parse(source)
        title, _, intro = (ast.get_docstring(tree) or "").partition("\n")
        after = tree.body[0].end_lineno or 0  # the docstring
        return cls(path.stem, title.rstrip("."), intro.strip(), tuple(_cells(source, after)))


def _cells(source: str, after: int) -> Iterator[Cell]:
    """The cells below line `after`."""
    rest = "".join(source.splitlines(keepends=True)[after:])
    starts = [0, *(m.end() for m in _CELL.finditer(rest))]
    ends = [*(m.start() for m in _CELL.finditer(rest)), len(rest)]
    for start, end in zip(starts, ends, strict=True):
        lines = rest[start:end].splitlines()
        n = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:n])
        first = after + rest[:start].count("\n") + n + 1
        if code := "\n".join(lines[n:]).strip("\n"):
            first += next(i for i, line in enumerate(lines[n:]) if line)
        if text or code:
            yield Cell(text, code, first)


def examples() -> list[Path]:
    """The scripts of the gallery; those whose name begins with _ are helpers."""
    return sorted(p for p in EXAMPLES.glob("*.py") if p.name[0] != "_")


def groups() -> dict[str, list[str]]:
    """The examples of each group of the gallery, in their order."""
    return dict(tomllib.loads(GROUPS.read_text())["groups"])


def executed(path: Path, cache: Path) -> Path:
    """The folder with the outputs of an example, `cells.json` and its pictures."""
    helpers = "".join(p.read_text() for p in sorted(EXAMPLES.glob("_*.py")))
    return cached(cache, path.stem, path.read_text() + helpers, lambda out: execute(path, out))


def execute(path: Path, out: Path) -> None:
    """Run an example in this process and write its outputs into a folder."""
    import matplotlib

    matplotlib.use("Agg")
    example, space, outputs = Example.read(path), {"__name__": "__main__"}, []
    sys.path.insert(0, str(EXAMPLES))
    started = time.process_time()
    try:
        for i, cell in enumerate(example.cells):
            outputs.append(_run(path, cell, space, out, f"{path.stem}-{i}"))
    finally:
        sys.path.remove(str(EXAMPLES))
    record = {"seconds": time.process_time() - started, "cells": outputs}
    (out / "cells.json").write_text(json.dumps(record))


def _run(path: Path, cell: Cell, space: dict, out: Path, stem: str) -> dict[str, object]:
    """Run a cell; what it printed, and its figures as {file: alternative text}."""
    from matplotlib import pyplot

    printed = io.StringIO()
    code = compile("\n" * (cell.line - 1) + cell.code, str(path), "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, space)
    pictures = {}
    for k, number in enumerate(pyplot.get_fignums()):
        figure = pyplot.figure(number)
        name = f"{stem}-{k}.png"
        figure.savefig(out / name, dpi=144, bbox_inches="tight", metadata={"Software": None})
        pictures[name] = figure.get_label()
    pyplot.close("all")
    return {"printed": printed.getvalue(), "pictures": pictures}


def page(path: Path, outputs: Path) -> str:
    """The page of an example."""
    example, record = Example.read(path), json.loads((outputs / "cells.json").read_text())
    lines = [f"# {example.title}", "", example.intro, ""]
    for cell, output in zip(example.cells, record["cells"], strict=True):
        lines += _blocks(cell, output, example.title)
    where, seconds = path.relative_to(ROOT).as_posix(), record["seconds"]
    lines += ["---", "", f"`{where}`, {seconds:.1f} s of processor time. From a checkout,"]
    lines += [f"`python -m tools.site.gallery {path.stem}` runs it and writes its pictures.", ""]
    return "\n".join(lines)


def _blocks(cell: Cell, output: dict, title: str) -> Iterator[str]:
    if cell.text:
        yield from (cell.text, "")
    if cell.code:
        yield from ("```python", cell.code, "```", "")
    if printed := output["printed"].rstrip():
        yield from ("```text", printed, "```", "")
    for name, text in output["pictures"].items():
        yield from (f"![{text or title}]({name})", "")


def thumbnail(outputs: Path) -> str:
    """The picture that stands for an example, its last one."""
    record = json.loads((outputs / "cells.json").read_text())
    return [name for cell in record["cells"] for name in cell["pictures"]][-1]


def index(outputs: dict[str, Path]) -> str:
    """The page of all examples, in groups."""
    lines = ["# Gallery", "", f"{len(outputs)} examples, run when this site was built.", ""]
    for group, names in groups().items():
        lines += [f"## {group}", "", *cards(names, outputs)]
    helper = (EXAMPLES / "_pictures.py").read_text().splitlines()
    lines += ['??? example "`_pictures.py`, which draws the rows of images"', "", "    ```python"]
    lines += [*(f"    {line}".rstrip() for line in helper), "    ```", ""]
    return "\n".join(lines)


def cards(names: list[str], outputs: dict[str, Path], folder: str = "") -> Iterator[str]:
    """Examples, each with its picture; `folder` leads from the page to the gallery."""
    yield from ('<div class="zoo-cards" markdown>', "")
    for name in names:
        title = Example.read(EXAMPLES / f"{name}.py").title
        picture = f"![{title}]({folder}{thumbnail(outputs[name])}){{ loading=lazy }}"
        yield from (f"[{picture}<span>{title}</span>]({folder}{name}.md)", "")
    yield from ("</div>", "")


def main() -> None:
    """Run examples that are named, `python -m tools.site.gallery NAME...`, by default all."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    out = ROOT / "build" / "gallery"
    for path in [p for p in examples() if p.stem in sys.argv[1:] or not sys.argv[1:]]:
        (out / path.stem).mkdir(parents=True, exist_ok=True)
        execute(path, out / path.stem)
        record = json.loads((out / path.stem / "cells.json").read_text())
        print(f"{path.stem}: {record['seconds']:.1f} s", flush=True)
        for cell in record["cells"]:
            print(cell["printed"], *cell["pictures"])


if __name__ == "__main__":
    main()
