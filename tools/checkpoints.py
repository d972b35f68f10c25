"""docs/guides/checkpoints.md from the official plugins' cards and tools/missing_checkpoints.toml.

python -m tools.checkpoints           # write it
python -m tools.checkpoints --check   # fail if it is out of date
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from zoo_core.catalog.plugins import Plugins, discover
from zoo_core.catalog.registry import ModelInfo, Registry, use
from zoo_core.catalog.specs import Pretrained
from zoo_core.cli.list import published_text

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guides" / "checkpoints.md"
MISSING = Path(__file__).with_name("missing_checkpoints.toml")
HEAD = """# Published checkpoints

Made by `python -m tools.checkpoints` from the `cards.toml` of each plugin and
`tools/missing_checkpoints.toml`. How they load: [weights](weights.md).

An **untested** name is one whose real files nobody has opened here: what was tested is in the last
column. It loads like any other, and `zoo list --pretrained` omits it. Published numbers are those
of the source; nobody has measured them here.

## Names
"""
LACK = """
## Not yet here

Checkpoints that are known, and what is missing for a name:
"""


def page() -> str:
    """The whole page."""
    own = [point for point in discover() if (point.dist and _official(point.dist.name))]
    with use(Registry(Plugins(own, disabled=(), strict=True))) as registry:
        rows = [row for row in registry.list_models() if row.tag and row.tag.hub]
        lines = [HEAD, *_table(_NAMES, map(_row, rows)), LACK]
    missing = tomllib.loads(MISSING.read_text())["missing"]
    keys = ("names", "where", "license", "class", "needs")
    lines += _table(_LACKS, ([row[key] for key in keys] for row in missing))
    return "\n".join(lines) + "\n"


_NAMES = ("name", "from", "licence (class)", "status", "published", "tested against")
_LACKS = ("checkpoint", "where", "licence", "class", "needs")


def _official(dist: str) -> bool:
    return dist.startswith("density-zoo-")


def _row(info: ModelInfo) -> list[str]:
    assert info.tag is not None and info.tag.hub is not None
    card = info.tag.hub
    numbers = [f"{published_text(n)} ({n['data']})" for n in info.tag.published]
    status = card.status + (", untested" if card.untested else "")
    licence = f"{card.license} ({info.tag.license_class})"
    return [f"`{info.name}`", _place(card), licence, status, "; ".join(numbers), card.checked]


def _place(card: Pretrained) -> str:
    if card.repo is not None:
        return f"`hf://{card.repo}`"
    return ", ".join(f"<{file.urls[0]}>" for file in card.files)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(header)
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit(f"{PAGE.name} is out of date: python -m tools.checkpoints")
