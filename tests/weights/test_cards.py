"""Cards of published weights: cards.toml, licence classes, names, what is listed as pretrained."""

import json
import subprocess
import sys
import time

import pytest
import torch
from carded import card

import zoo_core as zoo
from zoo_core.catalog import licences
from zoo_core.catalog.cards import CARDS, cards_in
from zoo_core.catalog.names import parse
from zoo_core.catalog.registry import use
from zoo_core.errors import ConfigError, IntegrityError, UsageError, ZooWarning


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_a_name_may_hold_hyphens_between_letters():
    assert parse("dit-xl-2.imagenet256").name == "dit-xl-2"
    for wrong in ("dit-", "-dit", "dit--xl", "DiT-xl"):
        with pytest.raises(zoo.ZooError):
            parse(wrong)


def test_a_card_loads_by_name_and_is_listed_with_what_it_says(carded, published, hub, zoo_command):
    with use(carded(card("one", more='opened = "2026-12-01"') + card("two"))):
        model = published("one", "two")
        rows = {r["name"]: r for r in json.loads(zoo_command("list", "mini-ar*", "--json")[1])}
        one = rows["mini-ar-2.one"]
        assert (one["license_class"], one["untested"], one["metrics"]) == ("open", False, [])
        assert one["published"][0]["value"] == 3.75
        told = zoo_command("list", "mini-ar*", "--long")[1]
        assert "bits/dim <= 3.75" in told and "unpinned, untested" in told
        told = zoo_command("info", "mini-ar-2.two")[1]
        assert "published by the source, not measured here" in told and "MIT (open)" in told
        assert hub.asked == []
        assert same(zoo.load("mini-ar-2.two"), model)


def test_a_card_whose_files_nobody_has_opened_is_not_listed_as_pretrained(carded, zoo_command):
    with use(carded(card("one", more='opened = "2026-12-01"') + card("two"))):
        assert zoo.list_models("mini-ar*", pretrained=True) == ["mini-ar-2.one"]
        assert "mini-ar-2.two" in zoo.list_models("mini-ar*", pretrained=False)


def test_models_are_listed_by_the_class_of_their_licence(carded, zoo_command):
    cards = card("a") + card("b", "CC-BY-NC-4.0", "non-commercial")
    with use(carded(cards + card("c", "none stated", "none stated"))):
        for wanted, tag in (("open", "a"), ("non-commercial", "b"), ("none*", "c")):
            rows = json.loads(zoo_command("list", "--license-class", wanted, "--json")[1])
            assert [row["name"] for row in rows if row["arch"] == "mini-ar-2"] == [
                f"mini-ar-2.{tag}"
            ]


def test_a_restricted_licence_is_told_in_one_line_and_loads(carded, published, zoo_command):
    cards = card("b", "CC-BY-NC-4.0", "non-commercial") + card("r", "ours", "research-only")
    with use(carded(cards + card("a"))):
        model = published("b", "r", "a")
        for tag, said in (("b", "CC-BY-NC-4.0, non-commercial"), ("r", "ours, research-only")):
            with pytest.warns(ZooWarning, match=f"mini-ar-2.{tag}: licence {said}") as told:
                assert same(zoo.load(f"mini-ar-2.{tag}"), model)
            assert len(told) == 1
        zoo.load("mini-ar-2.a")  # an open one says nothing: warnings are errors here
        _, _, err = zoo_command("pull", "mini-ar-2.b")
        assert err.count("licence") == 1


def test_weights_without_a_licence_load_only_if_that_is_accepted_which_is_remembered(
    carded, published, hub, zoo_command
):
    cards = card("x", "none stated", "none stated") + card("y", "none stated", "none stated")
    with use(carded(cards)):
        model = published("x", "y")
        with pytest.raises(UsageError, match="states no licence") as caught:
            zoo.load("mini-ar-2.x")
        assert "accept_license=True" in caught.value.hint and hub.asked == []
        code, _, err = zoo_command("pull", "mini-ar-2.x", "--plan")
        assert code == 2 and "--accept-license" in err and hub.asked == []
        assert zoo_command("pull", "mini-ar-2.x", "--accept-license", "--quiet")[0] == 0
        assert same(zoo.load("mini-ar-2.x"), model)
        with pytest.raises(UsageError, match=r"mini-ar-2\.y"):
            zoo.load("mini-ar-2.y")
        assert same(zoo.load("mini-ar-2.y", accept_license=True), model)
    with use(carded(card("x", "none stated", "none stated", 'citation = "a"'))):
        zoo.load("mini-ar-2.x", offline=True)
    with use(carded(card("x", "none stated", "none stated").replace("org/them", "org/other"))):
        with pytest.raises(UsageError, match="states no licence"):
            zoo.load("mini-ar-2.x")


def test_a_damaged_record_of_accepted_licences_is_named(carded, published):
    with use(carded(card("x", "none stated", "none stated"))):
        published("x")
        zoo.load("mini-ar-2.x", accept_license=True)
        licences._path().write_text("[]")
        with pytest.raises(ConfigError, match=r"licences\.json is no table"):
            zoo.load("mini-ar-2.x")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Apache-2.0", "open"),
        ("cc-by-sa-4.0", "open"),
        ("CC-BY-NC-SA-4.0", "non-commercial"),
        ("unstated", "none stated"),
        ("", "none stated"),
        ("apple-amlr", None),
        ("MITx", None),
    ],
)
def test_the_class_of_a_licence_follows_from_its_spdx_name(name, found):
    assert licences.class_of(name) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a", "cannot be read"),
        ("a = 1", "a card is a table"),
        ("[a]\nt = 1", "a card is a table"),
        ('[a.t]\nrepo = "me/m"', "license is required"),
        ('[a.t]\nrepo = "me/m"\nlicense = "MIT"\nsource = "s"', "license_class is required"),
        ('[a.t]\nlicense = "MIT"\nsource = "s"\nlicense_class = "open"', "repo is required"),
        (card("t", more="sourse = 1"), "unknown option"),
        (card("t", license_class="free"), "it must be one of"),
        (card("t", more="config = 1"), "config = 1; it must be a table"),
        (card("t", more='files = [{ path = "w", urls = ["https://x/w"] }]'), "not both"),
    ],
)
def test_a_malformed_card_is_refused_by_its_name(tmp_path, text, told):
    (tmp_path / CARDS).write_text(text)
    with pytest.raises(ConfigError, match=told):
        cards_in(tmp_path)


def test_a_plugin_keeps_its_models_and_bundled_weights_where_its_cards_are_malformed(carded):
    with use(carded("[a")) as registry:
        assert zoo.list_models("mini-ar*") == ["mini-ar-2"]
        assert CARDS in str([r.problems for r in registry.plugins.records.values()])
    with use(carded(card("one") + card("two").replace("mini-ar-2", "mini-ar-3"))) as registry:
        assert zoo.list_models("mini-ar*") == ["mini-ar-2", "mini-ar-2.one"]
        problems = str([r.problems for r in registry.plugins.records.values()])
        assert "no model of the plugin is mini-ar-3" in problems


def test_files_of_another_config_than_the_card_states_are_refused(carded, published):
    more = "config = { side = 2, hidden = 8 }"
    with use(carded(card("one", more=more) + card("two", more=more.replace("8", "9")))):
        model = published("one", "two")
        assert same(zoo.load("mini-ar-2.one"), model)
        with pytest.raises(IntegrityError, match="hidden = 8, not 9"):
            zoo.load("mini-ar-2.two")


def test_cards_are_read_without_torch_and_quickly(tmp_path):
    (tmp_path / CARDS).write_text("".join(card(f"t{i}") for i in range(50)))
    code = f"""
import sys
from pathlib import Path
from zoo_core.catalog.cards import cards_in
assert len(cards_in(Path({str(tmp_path)!r}))["mini-ar-2"]) == 50
assert not {{"torch", "numpy"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    start = time.perf_counter()
    cards_in(tmp_path)
    assert time.perf_counter() - start < 0.5
