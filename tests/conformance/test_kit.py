"""The kit finds what is wrong: each broken model fails the checks of the law it breaks, alone."""

from importlib.metadata import EntryPoint

import pytest
import zoo_broken.models
import zoo_broken.reals  # noqa: F401  # they note their faults
from zoo_broken.faults import FAULTS

from zoo_core.catalog.plugins import Plugins
from zoo_core.catalog.registry import Registry
from zoo_core.errors import UnknownNameError, UsageError
from zoo_core.testing import CHECKS, conformance, run_checks, subjects

BROKEN = Registry(Plugins([EntryPoint("broken", "zoo_broken.plugin", "density_zoo")], disabled=()))
CORRECT = (
    *("coins", "stretch", "latent", "blob", "labelled", "optional", "guided", "cube", "waiting"),
    *("drops", "sloped", "heavytailed", "step", "farmodes", "reallatent", "flippable"),
)


@pytest.fixture(scope="module")
def results():
    return run_checks("broken", BROKEN)


def with_status(results, status):
    """Messages of the checks that ended so, by model and check."""
    found = {result.subject: {} for result in results}
    for result in results:
        if result.status == status:
            found[result.subject][result.check] = result.message
    return found


@pytest.fixture(scope="module")
def failed(results):
    return with_status(results, "failed")


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_model_fails_no_check(failed, name):
    assert failed[name] == {}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_fails_the_checks_of_its_law_and_no_other(failed, fault):
    assert set(failed[fault.lower()]) == FAULTS[fault], failed[fault.lower()]


def test_what_no_check_can_tell_is_said_to_be_inconclusive(results):
    found = with_status(results, "inconclusive")
    assert {name: set(found[name]) for name in CORRECT if found[name]} == {
        "step": {"check_slope_of_log_p_fits_the_samples"},
        "farmodes": {"check_density_integrates_to_one"},
    }
    assert "jumps in x_0" in found["step"]["check_slope_of_log_p_fits_the_samples"]
    told = found["farmodes"]["check_density_integrates_to_one"]
    assert "effective sample size" in told and "fewer dimensions or modes" in told


def test_every_fault_is_declared_by_the_plugin(failed):
    assert set(failed) == {"broken", *CORRECT, *map(str.lower, FAULTS)}


def plugin_failures(install, registry_of, source, **files):
    registry = registry_of(install(source, **files))
    return {r.check: r.message for r in run_checks("acme", registry) if r.status == "failed"}


SOUND = """
import zoo_core as zoo
from zoo_core.plugin import LikelihoodSpec, ModelSpec, Pretrained, hookimpl
ZOO_API = 1
@hookimpl
def zoo_likelihoods():
    return [LikelihoodSpec("acme_score", "{module}_code:Score",
                               zoo.LikelihoodKind("guess", "estimate"), requires=("Density",))]
"""
SCORE = """
from dataclasses import dataclass
import zoo_core as zoo
@dataclass(frozen=True)
class Score:
    kind = zoo.LikelihoodKind("guess", "estimate")
    def __call__(self, model, x, cond, rng):
        return model.log_prob(x, cond)
"""


def test_a_sound_plugin_fails_no_check(install, registry_of):
    assert plugin_failures(install, registry_of, SOUND, code=SCORE) == {}


@pytest.mark.parametrize(
    ("source", "code", "check", "message"),
    [
        ("import torch\n" + SOUND, SCORE, "imports_neither_torch_nor_numpy", "imports torch"),
        (
            "import time; t = time.process_time()\nwhile time.process_time() < t + 0.3: pass\n"
            + SOUND,
            SCORE,
            "loads_in_200_ms",
            "takes 0.",
        ),
        ("import time; time.sleep(0.5)\n" + SOUND, SCORE, "loads_in_200_ms", "takes 0.5"),
        ("print('hello')\n" + SOUND, SCORE, "prints_nothing", "prints 'hello'"),
        ("import sys; print('hm', file=sys.stderr)\n" + SOUND, SCORE, "prints_nothing", "'hm'"),
        ("import atexit; atexit.register(print, 'bye')\n" + SOUND, SCORE, "prints_nothing", "bye"),
        (SOUND, SCORE.replace('"estimate"', '"lower"'), "frozen", r"spec says guess"),
        (SOUND, SCORE.replace("(frozen=True)", ""), "frozen", "no frozen dataclass"),
        (SOUND, SCORE.replace("class Score", "class Other"), "frozen", "cannot be imported"),
        (SOUND.replace("zoo_likelihoods", "zoo_likelyhoods"), SCORE, "plugin_loads", "Did you"),
        (SOUND.replace("acme_score", "Acme"), SCORE, "plugin_loads", "no legal likelihood name"),
        (SOUND.replace("Density", "Densty"), SCORE, "frozen", "Did you mean Density"),
        (
            SOUND.replace('"acme_score"', '"exact"'),
            SCORE,
            "names_are_its_own",
            "density-zoo:exact",
        ),
    ],
)
def test_a_fault_of_a_plugin_is_caught(install, registry_of, source, code, check, message):
    failures = plugin_failures(install, registry_of, source, code=code)
    (name,) = [name for name in failures if check in name]
    assert message in failures[name]


MODEL = """
from zoo_core.plugin import ModelSpec, Pretrained, hookimpl
ZOO_API = 1
@hookimpl
def zoo_models():
    return [ModelSpec("acme", "f", "implicit", "zoo_broken.models:Coins",
                          "zoo_broken.models:Config", capabilities=("Density",))]
"""


@pytest.mark.parametrize(
    ("source", "check", "message"),
    [
        (MODEL.replace("Coins", "Coyns"), "check_targets_are_a_model_and_its_config", "Coyns"),
        (MODEL.replace("Config", "Coins"), "check_targets_are_a_model_and_its_config", "frozen"),
        (MODEL.replace("Coins", "Config"), "check_targets_are_a_model_and_its_config", "Generat"),
        (
            MODEL.replace("capabilities", "default_likelihood='exat', capabilities"),
            "check_likelihood_is_of_the_declared_kind",
            "Did you mean exact",
        ),
        (
            MODEL.replace("capabilities", "tiny=(('coins', 0),), capabilities"),
            "check_builds_from_defaults",
            "acme.coins = 0 is out of range",
        ),
    ],
)
def test_a_model_that_cannot_even_be_made_is_a_result_not_a_crash(
    install, registry_of, source, check, message
):
    failures = plugin_failures(install, registry_of, source)
    assert message in failures[check]


def test_expected_failures_must_name_checks_that_exist_and_plugins_that_are_loaded():
    with pytest.raises(UsageError, match="Did you mean check_samples_are_events"):
        conformance("broken", expected_failures={"check_samples_are_event": "?"}, registry=BROKEN)
    with pytest.raises(UnknownNameError, match="Did you mean broken"):
        subjects("brokn", BROKEN)


def test_an_expected_failure_is_strict(parameters):
    marks = {c.id: c.marks for c in parameters}
    (mark,) = marks["samplesfloats-check_samples_are_events"]
    assert (mark.name, mark.kwargs) == ("xfail", {"reason": "known", "strict": True})
    assert not marks["coins-check_samples_are_events"]


@pytest.fixture
def parameters():
    """The parameters that `conformance` gives to pytest."""
    expected = {"samplesfloats-check_samples_are_events": "known"}
    test = conformance("broken", expected_failures=expected, registry=BROKEN)
    (mark,) = test.pytestmark
    return mark.args[1]


def test_names_of_checks_are_unique_sentences():
    names = [check.__name__ for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("check_") for name in names)


def test_bundled_weights_are_held_to_their_golden_tensors(install, registry_of, tmp_path):
    """They pass as saved; a bias that is off, with its hash recorded, or no golden file fail."""
    import json

    import torch
    from safetensors.torch import load_file, save_file

    import zoo_core as zoo
    from zoo_core.catalog.registry import use
    from zoo_core.weights import golden
    from zoo_core.weights.checkpoint import GOLDEN, METADATA, WEIGHTS, sha256

    package = install.site / "zoo_bundled"
    package.mkdir()
    (package / "model.py").write_text(
        "from zoo_broken.models import Coins\nclass Mine(Coins):\n    pass\n"
    )
    source = MODEL.replace("zoo_broken.models:Coins", "zoo_bundled.model:Mine")
    keywords = "default_likelihood='exact', paper='a paper', capabilities"
    registry = registry_of(install(source.replace("capabilities", keywords)))
    folder = package / "weights" / "acme.x"
    with use(registry):
        model = zoo.create("acme")
        model.save(folder, golden=golden.record(model), license="CC0-1.0", source="tests")
        assert zoo.list_models(pretrained=True) == ["acme.x"]

    def failed():
        return {r.check: r.message for r in run_checks("acme", registry) if r.status == "failed"}

    check = "check_bundled_weights_match_their_golden_tensors"
    assert failed() == {}
    save_file({"odds": load_file(folder / WEIGHTS)["odds"] + torch.ones(3)}, folder / WEIGHTS)
    metadata = json.loads((folder / METADATA).read_text())
    metadata["files"][WEIGHTS]["sha256"] = sha256(folder / WEIGHTS)
    (folder / METADATA).write_text(json.dumps(metadata))
    assert "differ from the golden ones" in failed()[check]
    (folder / GOLDEN).unlink()
    assert "cannot be read" in failed()[check]


TAG = """pretrained=(Pretrained("x", "me/m", {license!r}, {source!r}, {revision!r}, {pins!r},
                          metrics={metrics!r}),), paper={paper!r}, capabilities"""
STATED = {
    "license": "MIT",
    "source": "them",
    "revision": None,
    "pins": (),
    "metrics": (("fid", 3.17),),
    "paper": "https://arxiv.org/abs/2006.11239",
}
PINS = (("zoo.json", "0" * 64),)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, None),
        ({"revision": "a" * 40, "pins": PINS}, None),
        ({"license": "unstated"}, "acme.x states no license"),
        ({"source": ""}, "acme.x states no source"),
        ({"paper": ""}, "neither a recipe nor a paper"),
        ({"revision": "main", "pins": PINS}, "a pinned tag has a commit"),
        ({"revision": "a" * 40, "pins": (("zoo.json", "0"),)}, "a SHA-256 a file"),
        ({"metrics": (("nats", -90.0),)}, "reports nats without `kind`"),
        (
            {"metrics": (("nats", -90.0), ("kind", "elbo"), ("relation", "lower"))},
            None,
        ),
    ],
)
def test_registered_tags_state_what_they_are(install, registry_of, changed, message):
    source = MODEL.replace("capabilities", TAG.format(**{**STATED, **changed}))
    failures = plugin_failures(install, registry_of, source)
    told = failures.get("check_tags_state_what_they_are")
    assert told is None if message is None else message in told
