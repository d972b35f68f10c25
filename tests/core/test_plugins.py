"""Plugins are isolated: a broken one costs one line in the log, and the rest of the zoo works."""

import pytest

import zoo_core as zoo
from zoo_core.catalog.plugins import Plugins, config_path, disabled_in_config, set_enabled
from zoo_core.catalog.registry import use
from zoo_core.catalog.specs import DensityType
from zoo_core.errors import PluginError
from zoo_core.plugin import SamplerSpec

GOOD = """
import zoo_core as zoo
from zoo_core.plugin import ModelSpec, SamplerSpec, hookimpl
ZOO_API = 1
@hookimpl
def zoo_density_types():
    return [zoo.DensityType("explicit/{}", "s", "l", "s")]
"""


def good(name="good"):
    return GOOD.replace("{}", name)


BROKEN = {
    "fails to import": ("import no_such_module", "failed", "ModuleNotFoundError"),
    "exits at import": ("raise SystemExit(3)", "failed", "SystemExit: 3"),
    "is no Python": ("def", "failed", "SyntaxError"),
    "states no API": ("x = 1", "incompatible", "states no ZOO_API; this core speaks ZOO_API = 1"),
    "is of another API": ("ZOO_API = 2", "incompatible", "is written for ZOO_API = 2"),
    "has a hook that takes arguments": (
        good() + "@hookimpl\ndef zoo_models(pm): return []",
        "failed",
        "PluginValidationError",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_costs_one_line_and_nothing_else(install, registry_of, caplog, fault):
    source, status, error = BROKEN[fault]
    registry = registry_of(install(source, name="bad"), install(good(), name="good"))
    records = registry.plugins.records
    assert (records["bad"].status, records["good"].status) == (status, "ok")
    assert error in records["bad"].error
    assert [e.spec.name for e in registry.density_types if "good" in e.spec.name] == [
        "explicit/good"
    ]
    assert [e.plugin.name for e in registry.density_types if e.plugin.name == "bad"] == []
    (line,) = caplog.messages
    assert line.startswith(f"plugin 'bad' {status} (")
    assert line.endswith("; see: zoo plugins doctor bad")
    assert ("Traceback" in records["bad"].traceback) == (status == "failed")


@pytest.mark.parametrize("fault", BROKEN)
def test_strict_mode_raises_or_records_what_is_broken(install, registry_of, monkeypatch, fault):
    source, status, _ = BROKEN[fault]
    monkeypatch.setenv("ZOO_STRICT_PLUGINS", "1")
    point = install(source, name="bad")
    if status == "failed":
        with pytest.raises((Exception, SystemExit)) as caught:
            registry_of(point)
        assert not isinstance(caught.value, AssertionError)
    else:
        assert registry_of(point).plugins.records["bad"].status == status


HOOKS = {
    "raises": ("raise ValueError('no')", "zoo_samplers raised ValueError: no"),
    "exits": ("raise SystemExit(1)", "zoo_samplers raised SystemExit: 1"),
    "returns nothing": ("pass", "zoo_samplers raised TypeError"),
    "raises half way": (
        "yield SamplerSpec('a', 'm:a')\n    raise ValueError('late')",
        "zoo_samplers raised ValueError: late",
    ),
    "returns a stranger": ("return ['ddim']", "returned 'ddim', not a SamplerSpec"),
    "names illegally": (
        "return [SamplerSpec('A b', 'm:a')]",
        "'A b' is no legal sampler name",
    ),
    "gives a list for a tuple": (
        "return [SamplerSpec('a', 'm:a', requires=['Density'])]",
        "ill-typed SamplerSpec 'a'",
    ),
    "gives a number for a name": (
        "return [SamplerSpec(3, 'm:a')]",
        "ill-typed SamplerSpec 3: name = 3; it must be of type str",
    ),
    "says it twice": (
        "return [SamplerSpec('a', 'm:a'), SamplerSpec('a', 'm:b')]",
        "sampler 'a' is declared twice",
    ),
}


@pytest.mark.parametrize("fault", HOOKS)
def test_a_hook_that_is_wrong_loses_only_itself(install, registry_of, caplog, fault):
    body, problem = HOOKS[fault]
    source = good("still_there") + f"@hookimpl\ndef zoo_samplers():\n    {body}\n"
    registry = registry_of(install(source, name="half"))
    record = registry.plugins.records["half"]
    assert record.status == "ok"
    assert any(problem in text for text in record.problems), record.problems
    assert "explicit/still_there" in [e.spec.name for e in registry.density_types]
    assert "direct" in [e.spec.name for e in registry.samplers]
    (line,) = caplog.messages
    assert line.startswith("plugin 'half' ")


@pytest.mark.parametrize("fault", HOOKS)
def test_strict_mode_raises_at_a_hook_that_is_wrong(install, registry_of, fault):
    source = good() + f"@hookimpl\ndef zoo_samplers():\n    {HOOKS[fault][0]}\n"
    with pytest.raises((Exception, SystemExit)):
        registry_of(install(source), strict=True)


def test_a_misspelt_hook_is_answered_with_a_suggestion(install, registry_of, caplog):
    source = good() + "@hookimpl\ndef zoo_model(): return []"
    registry = registry_of(install(source))
    (problem,) = registry.plugins.records["acme"].problems
    assert problem.startswith("unknown hook 'zoo_model'. Did you mean zoo_models")
    assert problem in caplog.text


def test_an_unknown_hook_that_is_marked_optional_is_no_problem(install, registry_of):
    """A plugin may implement hooks of later cores and still serve this one."""
    source = good() + "@hookimpl(optionalhook=True)\ndef zoo_of_tomorrow(): return []"
    record = registry_of(install(source)).plugins.records["acme"]
    assert (record.status, record.problems) == ("ok", [])


def test_two_plugins_of_one_name_are_refused_before_either_is_imported(install, registry_of):
    points = [install("raise SystemExit", dist=dist) for dist in ("zoo-a", "zoo-b")]
    record = registry_of(*points).plugins.records["acme"]
    assert record.status == "conflict"
    assert "declared by zoo-a, zoo-b; uninstall all but one" in record.error
    assert record.traceback == ""


def test_no_plugin_takes_the_place_of_the_core(install, registry_of):
    records = registry_of(install(good(), name="builtin")).plugins.records
    assert records["builtin"].status == "conflict"


def test_an_unknown_density_type_is_named_with_the_closest(install, registry_of):
    source = good() + (
        "@hookimpl\ndef zoo_models():\n"
        "    return [ModelSpec('m', 'f', 'explicit/tractible', 'm:M', 'm:C')]"
    )
    (problem,) = registry_of(install(source)).plugins.records["acme"].problems
    assert "unknown density type 'explicit/tractible'. Did you mean explicit/tractable" in problem


def test_unreadable_weights_of_one_plugin_do_not_break_the_list(install, registry_of, tmp_path):
    package = install.site / "zoo_bad_tags"
    (package / "weights" / "bad.x").mkdir(parents=True)
    (package / "weights" / "bad.x" / "zoo.json").write_text("{")
    source = good() + (
        "@hookimpl\ndef zoo_models():\n"
        "    return [ModelSpec('bad', 'f', 'implicit', 'zoo_bad_tags.m:M', 'm:C')]"
    )
    with use(registry_of(install(source))) as registry:
        assert zoo.list_models("bad*") == ["bad"]
        assert "tags of 'bad'" in registry.plugins.records["acme"].problems[0]


def test_a_disabled_plugin_is_not_imported(install, registry_of):
    point = install("raise SystemExit", name="off")
    record = registry_of(point, disabled=["off"]).plugins.records["off"]
    assert (record.status, record.error) == ("disabled", "zoo plugins enable off")


@pytest.mark.parametrize(
    ("variable", "value", "loaded", "why"),
    [
        ("ZOO_DISABLE_PLUGINS", "b, c", {"a"}, "in ZOO_DISABLE_PLUGINS"),
        ("ZOO_PLUGINS", "a,b", {"a", "b"}, "not in ZOO_PLUGINS"),
        ("ZOO_PLUGINS", "", set(), "not in ZOO_PLUGINS"),
    ],
)
def test_the_environment_says_what_is_loaded(install, monkeypatch, variable, value, loaded, why):
    monkeypatch.setenv(variable, value)
    records = Plugins([install(good(), name=name) for name in "abc"]).records
    assert {name for name in "abc" if records[name].status == "ok"} == loaded
    assert {records[name].error for name in set("abc") - loaded} == {why}


def test_a_plugin_is_disabled_and_enabled_in_the_users_config(install, monkeypatch):
    install("raise SystemExit", name="off")
    set_enabled("off", False)
    assert disabled_in_config() == ["off"]
    assert config_path().is_file()
    assert Plugins().records["off"].status == "disabled"
    set_enabled("off", True)
    assert disabled_in_config() == []
    with pytest.raises(PluginError, match=r"no plugin 'of' is installed; .*"):
        set_enabled("of", False)


@pytest.mark.parametrize("text", ["disabled = 3", "disabled = [3]", "nonsense"])
def test_a_damaged_config_is_an_error_that_names_the_file(text):
    config_path().parent.mkdir(parents=True)
    config_path().write_text(text)
    with pytest.raises(PluginError, match=r"plugins.toml cannot be read"):
        disabled_in_config()


def test_specs_that_plugins_give_reach_the_registry_as_they_are(install, registry_of):
    source = good("new") + "@hookimpl\ndef zoo_samplers(): return [SamplerSpec('s', 'm:S')]"
    registry = registry_of(install(source))
    found = {e.spec for kind in ("density type", "sampler") for e in registry.by_kind[kind]}
    assert {DensityType("explicit/new", "s", "l", "s"), SamplerSpec("s", "m:S")} <= found
