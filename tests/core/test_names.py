"""Names: what they may look like, and what is said of those that mean nothing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo_core as zoo
from zoo_core.catalog.names import HubName, Name, is_path, parse
from zoo_core.catalog.references import parse_model
from zoo_core.errors import UnknownNameError, ZooError, ZooWarning, did_you_mean

WORD = st.from_regex(r"[a-z][a-z0-9_]{0,8}(-[a-z0-9_]{1,4})?", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
DIST = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
REVISION = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)


@given(st.builds(Name, WORD, st.none() | TAG, st.none() | DIST, st.none() | REVISION))
def test_a_name_is_read_back_from_its_spelling(name):
    assert parse(str(name)) == name


@given(st.text(max_size=20))
def test_any_text_is_a_name_or_is_refused_by_a_zoo_error(text):
    try:
        found = parse_model(text)
    except ZooError as error:
        assert error.exit_code == 3
    else:
        assert isinstance(found, Name | HubName | Path)


@pytest.mark.parametrize("text", ["./m", "/m", "~/m", "../m", "C:\\m", "c:/m", "\\\\host\\m"])
def test_a_path_starts_like_one(text):
    assert is_path(text)
    assert isinstance(parse_model(text), Path)


@pytest.mark.usefixtures("minis")
def test_a_folder_that_is_there_is_a_path_unless_its_name_is_registered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/mini_ar/model", "My-Model", "mine", "mini_ar", "mini_ar.digits"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    for name in ("runs/mini_ar/model", "My-Model", "mine"):
        assert parse_model(name) == Path(name)
    for name in ("mini_ar", "mini_ar.digits"):
        with pytest.warns(ZooWarning, match=rf"write './{name}' for the file here"):
            assert parse_model(name) == parse(name)
    assert parse_model("hf://mine/runs") == HubName("mine/runs")


@pytest.mark.usefixtures("minis")
def test_a_saved_model_loads_by_the_path_that_training_prints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zoo.create("mini_ar").save("runs/mine/model")
    assert zoo.load("runs/mine/model").spec.arch == "mini_ar"


def test_the_hub_is_named_by_its_scheme():
    assert parse_model("hf://me/My-Model@v1") == HubName("me/My-Model", "v1")


A_NAME = (
    " [a name is [dist:]name[.tag][@revision] in lower case, e.g. 'made', 'made.digits', "
    "'density-zoo-autoregressive:made.digits']"
)
MALFORMED = [
    ("", "'' is not a model name." + A_NAME),
    ("Made", "'Made' is not a model name." + A_NAME),
    ("made.", "'made.' is not a model name." + A_NAME),
    ("made..digits", "'made..digits' is not a model name." + A_NAME),
    ("made@", "'made@' is not a model name." + A_NAME),
    ("made digits", "'made digits' is not a model name." + A_NAME),
    (
        "me/model",
        "'me/model' could be a folder or a Hub repository. [write './me/model' for the folder "
        "or 'hf://me/model' for the repository]",
    ),
    ("a\0b", "'a\\x00b' is not a model name. [a name is one line of text]"),
    ("a\nb", "'a\\nb' is not a model name. [a name is one line of text]"),
]


@pytest.mark.parametrize(("text", "message"), MALFORMED)
def test_a_malformed_name_is_refused_with_the_spellings_that_work(text, message):
    with pytest.raises(UnknownNameError) as caught:
        parse_model(text)
    assert str(caught.value) == message


UNKNOWN = [
    (
        "mini_flw",
        "unknown model 'mini_flw'. Did you mean mini_flow or mini_ar or mini_vae? [zoo list]",
    ),
    ("zzz", "unknown model 'zzz'. [zoo list]"),
    (
        "mini_flow.digits",
        "'mini_flow.digits': mini_flow has no tag 'digits'; tags: none. [zoo list]",
    ),
    (
        "nobody:mini_flow",
        "unknown model 'nobody:mini_flow'. Did you mean mini_flow or mini_ar or "
        "mini_diffusion? [zoo list]",
    ),
    (
        "glow",
        "arch 'glow' is in density-zoo-flows, which is not installed. [zoo plugins install flows]",
    ),
    (
        "mini_flow@v2",
        "'mini_flow@v2': only weights on the Hub have revisions. [drop @v2; the "
        "version of the plugin fixes the rest]",
    ),
]


@pytest.mark.usefixtures("minis")
@pytest.mark.parametrize(("text", "message"), UNKNOWN)
def test_an_unknown_model_is_answered_with_the_closest_known(text, message):
    with pytest.raises(ZooError) as caught:
        zoo.info(text)
    assert str(caught.value) == message


@pytest.mark.usefixtures("minis")
def test_components_answer_unknown_names_alike():
    model = zoo.create("mini_ar")
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'dirct'. Did you mean direct\?"):
        model.sample(1, sampler="dirct")
    with pytest.raises(UnknownNameError, match=r"unknown likelihood 'exct'. Did you mean exact"):
        model.log_likelihood(model.sample(1), method="exct")
    with pytest.raises(UnknownNameError, match="a sampler has neither tags nor revisions"):
        model.sample(1, sampler="direct.fast")
    with pytest.raises(UnknownNameError, match=r"unknown loss 'nl'"):
        model.players("nl")


@pytest.mark.usefixtures("minis")
def test_an_architecture_and_a_tag_are_not_taken_for_each_other():
    with pytest.raises(UnknownNameError, match=r"names an architecture; pretrained: none"):
        zoo.load("mini_ar")


def test_suggestions_are_close_or_absent():
    assert did_you_mean("glw", ["glow", "made"]) == "Did you mean glow?"
    assert did_you_mean("zzz", ["glow", "made"]) == ""
