"""Tables of likelihoods: every number has the sign of its relation, and kinds do not mix."""

import json
import re
from pathlib import Path

import pytest

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.weights.card import headline

ROOT = Path(__file__).parents[2]
LIKELIHOODS = ROOT / "docs" / "studies" / "likelihoods.md"
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "plugins").glob("*/README.md"))
PAGES += sorted((ROOT / "examples").glob("*/README.md"))
SIGNS = {"≤": "<=", "≥": ">=", "≈": "~"}
SIGN = re.compile(r"<=|>=|[≤≥≈~]")
NUMBER = re.compile(r"-?\d+\.\d+")


def tables(page):
    """Rows of cells, the header first, of every table of a page."""
    for block in re.findall(r"(?:^\|.*\|$\n?)+", page.read_text(), re.MULTILINE):
        header, _, *rows = block.strip().splitlines()
        yield [[c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]] for row in (header, *rows)]


def recorded():
    """Test likelihoods of each bundled tag."""
    rows = {}
    for path in ROOT.glob("*/*/src/*/weights/*/zoo.json"):
        metrics = json.loads(path.read_text())["metrics"]
        rows[path.parent.name] = [m for m in metrics if m["split"] == "test" and "nats" in m]
    return rows


RECORDED = recorded()


def sign(header, cell):
    """The sign in a cell before its number, or in the header of its column."""
    before = cell.partition(next(iter(NUMBER.findall(cell)), ""))[0]
    found = SIGN.search(before) or SIGN.search(header)
    return "=" if found is None else SIGNS.get(found[0], found[0])


def stated(name, cell):
    """Signs that a cell's number may have, each with the value, if it is one of the tag's."""
    number = next(iter(NUMBER.findall(cell)), "")
    digits, found = len(number.partition(".")[2]), {}
    for metric in RECORDED.get(name, []):
        kind = LikelihoodKind(metric["kind"], metric["relation"])
        bits, nats = metric["bits_per_dim"], metric["nats"]
        for value, want in ((bits, kind.bits_sign), (-nats, kind.bits_sign), (nats, kind.sign)):
            if number == f"{value:.{digits}f}":
                found[want] = value
    return found


def found_in(page):
    """(column, row's name, sign it has, values by the signs it may have) of all likelihoods."""
    for i, (header, *rows) in enumerate(tables(page)):
        for row in rows:
            name = re.match(r"`([\w.]+)`", row[0])
            for column, cell in list(zip(header, row, strict=True))[1:]:
                may = stated(name[1], cell) if name else {}
                if may:
                    yield (i, column), name[1], sign(column, cell), may


def test_the_tables_are_found():
    per_page = {page.parent.name: len(list(found_in(page))) for page in PAGES}
    assert all(per_page[f] for f in ("vae", "flows", "autoregressive", "diffusion", "zoo-energy"))
    assert len(list(found_in(LIKELIHOODS))) >= 19


@pytest.mark.parametrize("page", PAGES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_number_has_the_sign_of_its_relation(page):
    """A lower bound of log p is an upper bound of bits/dim and of -log p."""
    wrong = [f for f in found_in(page) if f[2] not in f[3]]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_numbers_of_one_relation_stand_together_in_their_column(page):
    columns = {}
    for column, name, has, _ in found_in(page):
        columns.setdefault((column, name.partition(".")[2]), []).append(has)
    for where, signs in columns.items():
        groups = [s for i, s in enumerate(signs) if i == 0 or signs[i - 1] != s]
        assert len(groups) == len(set(groups)), f"{where}: {signs}"


def test_the_page_of_likelihoods_is_sorted_within_each_kind_of_number():
    groups = {}
    for _, name, has, may in found_in(LIKELIHOODS):
        groups.setdefault((name.partition(".")[2], has), []).append(round(may[has], 3))
    assert groups and all(values == sorted(values) for values in groups.values())


def test_a_model_stands_by_its_tightest_bound_of_the_same_events():
    """IWAE is trained on its own bound: by its ELBO it would come last."""
    shown = {name: may[has] for _, name, has, may in found_in(LIKELIHOODS)}
    for name in shown.keys() & RECORDED.keys():
        assert shown[name] == headline(RECORDED[name])["bits_per_dim"]
    assert shown["iwae.digits"] < shown["vae.digits"]
    few = {"split": "test", "relation": "lower", "kind": "iwae", "nats": -1.0, "n": 10}
    all_ = {**few, "kind": "elbo", "nats": -2.0, "n": 100}
    assert headline([all_, few]) is all_  # other events: not to be compared
    assert headline([all_, {**few, "n": 100}])["kind"] == "iwae"
    assert headline([all_, {**few, "n": 100, "relation": "estimate"}]) is all_
