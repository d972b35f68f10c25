"""Comparisons: ranks within a relation, unequal budgets pointed out, a page that needs no web."""

import base64
import io
import re
import sys
from dataclasses import dataclass, replace
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

import zoo_core as zoo
from zoo_core.evaluation import calls, charts
from zoo_core.evaluation.compare import Budget, ComparedModel, Comparison, compare, warnings
from zoo_core.evaluation.page import html, markdown
from zoo_core.evaluation.report import report, tables


@pytest.fixture
def found(minis):
    """A density, a sampler without one, and a bound, on the moons."""
    moons = zoo.load_dataset("moons", train=400, valid=100, test=150)
    models = [(name, zoo.create(name)) for name in ("mini_flow", "mini_gan")]
    return compare(models, moons)


@pytest.fixture
def lattice(minis):
    """A model with conditionals and one with a bound, on images."""
    data = zoo.load_dataset("ising", size=4, train=400, valid=100, test=120)
    models = [
        ("a<b> & c", zoo.create("mini_ar", side=4)),
        ("other", zoo.create("mini_ar", side=4)),
    ]
    return compare(models, data)


class Page(HTMLParser):
    """Tags and every attribute that could fetch something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text.append(data)


def test_every_model_is_measured_on_the_same_events_with_the_same_seed(found):
    records = [e.record for e in found.entries]
    assert [r["data"]["sha256"] for r in records] == [records[0]["data"]["sha256"]] * 2
    assert {r["seed"] for r in records} == {0}
    assert {r["quality"]["n"] for r in records} == {150}
    assert [e.latents for e in found.entries] == ["exact", "prior only"]
    assert found.record()["models"][1]["rank"] == "-"


STATED = {"relation": "equal", "kind": "k", "events": "bits", "dequantization": "none"}


def ranks(found, *likelihoods):
    """The ranks of models with these likelihoods, each STATED but for what is given."""
    entries = []
    for i, changed in enumerate(likelihoods):
        entries.append(ComparedModel(f"m{i}", None, Budget(1), "none"))
        object.__setattr__(entries[-1], "evaluation", _With({**STATED, **changed}))
    comparison = Comparison(found.data, "test", entries, 0, [])
    return [comparison.rank(e) for e in entries]


def test_likelihoods_are_ranked_among_their_own_relation_alone(found):
    got = ranks(
        found,
        {"nats": -3.0},
        {"nats": -1.0, "relation": "lower"},
        {"nats": -2.0},
        {"nats": -0.5, "relation": "estimate"},
        {"nats": -0.1, "relation": "unrelated"},
    )
    assert got == ["2 of 2 (=)", "1 of 1 (>=)", "1 of 2 (=)", "-", "-"]


@pytest.mark.parametrize(
    "other", [{"events": "reals"}, {"kind": "k(n=2)"}, {"dequantization": "uniform"}]
)
def test_nothing_is_ranked_across_events_kinds_and_dequantizations(found, other):
    got = ranks(found, {"nats": -3.0}, {"nats": -1.0, **other}, {"nats": -2.0})
    assert got == ["2 of 2 (=)", "1 of 1 (=)", "1 of 2 (=)"]


class _With:
    def __init__(self, likelihood):
        self.record = {"likelihood": likelihood}


def test_unequal_budgets_are_pointed_out(found):
    def said(*budgets):
        entries = [ComparedModel(f"m{i}", None, b, "none") for i, b in enumerate(budgets)]
        return " / ".join(warnings(entries))

    equal = Budget(1000, "digits", 60.0)
    assert said(equal, Budget(1090, "digits", 64.0)) == ""
    assert "parameters differ" in said(equal, Budget(1110, "digits", 60.0))
    assert "seconds differ" in said(equal, Budget(1000, "digits", 70.0))
    assert "different data: digits, ising" in said(equal, Budget(1000, "ising", 60.0))
    assert "not recorded of m1" in said(equal, Budget(1000, "digits"))


def test_the_page_asks_for_nothing_from_elsewhere(found):
    page = Page(html(report(found)))
    assert page.tags.count("script") == 0 and page.tags.count("link") == 0
    kinds = {link.partition(";base64,")[0] for link in page.links}
    assert kinds == {"data:image/png", "data:image/svg+xml"}
    text = html(report(found))
    assert not re.search(r"https?://|url\(|@import", text)
    assert "default-src 'none'" in text


def test_a_chart_asks_for_nothing_from_elsewhere():
    chart = charts.histograms([("x", [1.0, 2.0, 3.0])], x_label="x")
    svg = base64.b64decode(chart.partition(",")[2]).decode()
    assert "<script" not in svg and "@import" not in svg
    assert {*re.findall(r'(?:href|src)="([^"#]*)', svg)} == {""}  # only parts of itself
    assert "<dc:date>" not in svg


def test_every_picture_is_described_in_words(found, lattice):
    """The numbers of a chart are in its text, for those who cannot see it."""
    for comparison in (found, lattice):
        alts = re.findall(r'<img[^>]* alt="([^"]*)"', html(report(comparison)))
        assert len(alts) == html(report(comparison)).count("<img") and all(map(str.strip, alts))
        chart = next(alt for alt in alts if "against seconds" in alt)
        assert all(escape(e.name) in chart for e in comparison.entries)


def test_the_page_shows_what_it_must(found, lattice):
    page = html(report(found))
    for title in ("Quality against sampling time", "Likelihood of each event", "Samples from the"):
        assert title in page
    assert page.count("<figure>") == 2 + 1 + 2  # the charts, real, and each model
    assert "Where the bits are" not in page  # points in the plane have no pixels
    maps = html(report(lattice))
    assert "Where the bits are" in maps and maps.count("<figure>") == 2 + 1 + 2 + 1 + 2


class Halving(torch.nn.Module):
    """A network that a sampler calls several times."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x):
        return self.weight * x


@dataclass(frozen=True)
class Iterated:
    """Calls the network `steps` times, and once more at the end."""

    steps: int = 3

    def __call__(self, model, rng, cond):
        x = 8 * rng.normal(model.event.shape, stream="x")
        for _ in range(self.steps + 1):
            x = model.network(x)
        return x


@dataclass(frozen=True)
class Once:
    """The same with a single step, as a sampler of its own."""

    def __call__(self, model, rng, cond):
        return Iterated(1)(model, rng, cond)

    def with_steps(self, model, steps):
        return Iterated(steps)


def test_quality_is_measured_at_every_number_of_calls(minis):
    moons = zoo.load_dataset("moons", train=200, valid=50, test=60)
    model = zoo.create("mini_gan")
    model.network = Halving()
    protocol = zoo.SampleQuality(moons, scores=["frechet"])
    for own in (Iterated(), Once()):
        points = [
            calls._measured(model, protocol, n, calls.with_steps(own, model, n), 0) for n in (1, 4)
        ]
        assert [(p.sampler, p.steps, p.calls) for p in points] == [
            ("Iterated", 1, 2),
            ("Iterated", 4, 5),
        ]
        assert points[0].quality[0].value.value > points[1].quality[0].value.value
    (only,) = calls.quality_by_calls(model, protocol, (1, 4))  # its own sampler has no steps
    assert only.steps is None and only.headline()["frechet"].n == 60


def test_quality_against_calls_is_a_curve_in_every_report(found):
    quality = found.entries[0].evaluation.quality
    points = [calls.QualityAtCalls("Heun", n, 2 * n - 1, quality) for n in (8, 1)]
    single = [calls.QualityAtCalls("OneStep", None, 1, quality)]
    uncounted = [calls.QualityAtCalls("Direct", None, None, quality)]
    drawn = replace(found, curves=[("a", points), ("b & c", single), ("d", uncounted)])
    title, about = "Quality against calls of the network", report(drawn)
    page, text = html(about), markdown(about)
    alts = [alt for alt in re.findall(r'<img[^>]* alt="([^"]*)"', page) if "against calls" in alt]
    assert len(alts) == 2 and all("at 1, " in alt and "b &amp; c" in alt for alt in alts)
    assert title in page and f"## {title}" in text
    assert "| a | Heun | 8 | 15 |" in text and "| d | Direct | - | - |" in text
    record = drawn.record()["quality_by_calls"]
    assert [p["calls"] for p in record["a"]] == [15, 1]
    assert "quality_by_calls" not in found.record() and title not in html(report(found))


def test_names_cannot_break_the_page(lattice):
    page = html(report(lattice))
    assert "a<b>" not in page and "a&lt;b&gt; &amp; c" in page


def test_maps_sum_to_the_likelihood(lattice):
    for entry in lattice.entries:
        bits = entry.maps.flatten(1).sum(1)
        rows_ = torch.isin(torch.arange(120), _shown(lattice))
        nats = entry.evaluation.likelihood.nats[rows_]
        torch.testing.assert_close(bits.double() * np.log(2), -nats, atol=1e-4, rtol=1e-4)


def _shown(comparison):
    from zoo_core.data.shuffle import choose

    return choose(comparison.seed, 120, len(comparison.shown))


def test_markdown_has_tables_with_a_row_for_each_model_and_a_word_on_each_column(found):
    text = markdown(report(found))
    for section in tables(found):
        header = f"| {' | '.join(section.table.header)} |"
        at = text.splitlines().index(header)
        rows = text.splitlines()[at + 2 : at + 2 + len(found.entries)]
        assert [row.split()[1] for row in rows] == ["mini_flow", "mini_gan"]
        assert {row.count("|") for row in rows} == {header.count("|")}
        assert all(f"- **{name}**: " in text for name in section.table.header)
    assert "real" in text and "not recorded of mini_flow, mini_gan" in text


def test_a_histogram_has_area_one_and_counts_what_lies_beyond():
    values = np.random.default_rng(0).normal(size=500)
    edges, (height,) = charts.densities([values])
    assert (height * np.diff(edges)).sum() == pytest.approx(1)
    assert values.min() < edges[0] and edges[-1] < values.max()


def test_without_the_extra_html_is_refused_before_anything_is_measured(monkeypatch, capsys):
    """And Markdown needs nothing."""
    from zoo_core.cli import main

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("zoo_core.evaluation.compare.compare", None)
    for verb in (["compare", "made.digits"], ["choose", "moons"], ["evaluate", "made.digits"]):
        assert main([*verb, "--out", "x.html"]) == 2
        told = capsys.readouterr().err
        assert "(matplotlib)" in told and "pip install 'density-zoo[report]'" in told


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(lattice, tmp_path, browser, width):
    """It fits a screen and a telephone, its pictures load, and it asks nobody for anything."""
    path = tmp_path / "page.html"
    path.write_text(html(report(lattice)))
    page = browser(width)
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    smallest = "Math.min(...[...document.querySelectorAll('td, th, p, dd')].filter("
    smallest += "e => e.offsetWidth).map(e => parseFloat(getComputedStyle(e).fontSize)))"
    assert page.evaluate(smallest) >= 13
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), float)
    assert (picture < 200).any(2).mean() > 0.005
    assert (page.said, page.asked) == ([], [])


@pytest.mark.slow
def test_a_page_that_asks_somebody_would_have_been_seen(tmp_path, browser):
    path = tmp_path / "curious.html"
    path.write_text('<img src="http://nobody.invalid/x.png">')
    page = browser(390)
    page.goto(path.as_uri())
    assert page.asked == ["nobody.invalid"]
