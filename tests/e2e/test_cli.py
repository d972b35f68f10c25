"""The command's verbs that need no data: names, info, global options, errors and exit codes."""

import json
import os
import shlex
import time

import pytest

ROW = [
    "name",
    "arch",
    "tag",
    "family",
    "density",
    "likelihood",
    "status",
    "plugin",
    "params",
    "size",
    "license",
    "source",
    "metrics",
    "license_class",
    "published",
    "untested",
]
SHOWN = "name family density likelihood status params size measured published".split()
SHOWN += ["license", "class", "source"]


def test_list_gives_every_architecture_and_tag_as_json(zoo):
    done = zoo("list", "--json")
    assert done.code == 0
    rows = {row["name"]: row for row in done.json}
    assert all(list(row) == ROW for row in done.json)
    assert list(rows) == ["dice", "dice.classy", "dice.fair", "dice.planned", "fog", "fog.grey"]
    assert rows["dice.fair"] == {
        "name": "dice.fair",
        "arch": "dice",
        "tag": "fair",
        "family": "tiny",
        "density": "explicit/tractable",
        "likelihood": "exact",
        "status": "bundled",
        "plugin": "tiny",
        "params": 17,
        "size": rows["dice.fair"]["size"],
        "license": "CC0-1.0",
        "source": "made for tests",
        "metrics": rows["dice.fair"]["metrics"],
        "license_class": "open",
        "published": [],
        "untested": False,
    }
    assert rows["dice.fair"]["metrics"][0]["relation"] == "equal"
    assert rows["dice.planned"]["status"] == "recipe"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["dice*"], {"dice", "dice.classy", "dice.fair", "dice.planned"}),
        (["--density", "implicit"], {"fog", "fog.grey"}),
        (["--pretrained"], {"dice.classy", "dice.fair", "fog.grey"}),
        (["--license", "cc0*", "*.f*"], {"dice.fair"}),
        (["--family", "nothing"], set()),
    ],
)
def test_list_filters(zoo, arguments, names):
    assert {row["name"] for row in zoo("list", "--json", *arguments).json} == names


def test_the_table_marks_how_a_likelihood_stands_to_log_p(zoo):
    lines = zoo("list", "--long").out.splitlines()
    assert lines[0].split() == SHOWN
    fair = next(line for line in lines if line.startswith("dice.fair"))
    assert " = exact " in fair and "= -181.33 nats" in fair
    assert " none " in next(line for line in lines if line.startswith("fog.grey"))


def test_the_list_is_grouped_by_density_type_and_family(zoo):
    lines = zoo("list").out.splitlines()
    headings = [line for line in lines if ", tiny" in line]
    assert headings == ["explicit/tractable, tiny", "implicit, tiny"]
    assert lines.index("implicit, tiny") > next(
        i for i, line in enumerate(lines) if line.startswith("dice.planned")
    )


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        ("30", "name likelihood"),
        ("70", "name likelihood status measured size"),
        ("200", "name likelihood status measured size params"),
    ],
)
def test_the_list_shows_the_columns_that_the_terminal_has_room_for(zoo, monkeypatch, width, shown):
    monkeypatch.setenv("COLUMNS", width)
    lines = zoo("list").out.splitlines()
    assert lines[0].split() == shown.split()
    assert max(map(len, lines)) <= int(width)


def test_the_list_of_all_official_models_fits_eighty_columns(start):
    with start("-m", "zoo_core", "list", COLUMNS="80") as process:
        lines = process.communicate(timeout=60)[0].splitlines()
    assert len(lines) > 50 and max(map(len, lines)) <= 80


def test_global_options_stand_before_or_after_the_verb(zoo):
    assert zoo("--json", "list").out == zoo("list", "--json").out
    assert zoo("--json", "data").json == zoo("data", "list", "--json").json


def test_without_plugins_only_the_core_is_left(zoo):
    assert zoo("list", "--no-plugins", "--json").json == []
    assert zoo("--no-plugins", "info", "dice").code == 3
    assert zoo("info", "dice").code == 0


def test_info_shows_options_with_their_ranges_and_what_fits(zoo):
    found = zoo("info", "dice.fair", "--json").json
    levels = next(f for f in found["config"] if f["name"] == "levels")
    assert levels == {
        "name": "levels",
        "type": "int",
        "default": 17,
        "required": False,
        "range": "[2, 256]",
        "about": None,
    }
    assert [f["name"] for f in found["config"]] == ["shape", "levels", "classes", "paint"]
    assert next(f for f in found["config"] if f["name"] == "paint")["type"] == "'white' | 'red'"
    assert {"loaded", "direct"} <= {s["name"] for s in found["samplers"]}
    assert {"exact", "tiny_bound"} <= {m["name"] for m in found["likelihoods"]}
    assert found["metrics"][0]["kind"] == "exact"
    assert found["license"] == "CC0-1.0"
    text = zoo("info", "dice.fair").out
    for shown in ("face=3", ">= tiny_bound", "slack=1.0", "[2, 256]", "Cardano", "4.0875"):
        assert shown in text


def test_info_offers_what_scores_the_events_of_the_weights(zoo):
    """Weights of integers: not the density of reals, which would refuse them."""
    offered = {m["name"] for m in zoo("info", "dice.fair", "--json").json["likelihoods"]}
    assert "exact" in offered and "exact_density" not in offered


def test_info_does_not_offer_likelihoods_to_a_model_without_density(zoo):
    found = zoo("info", "fog", "--json").json
    assert found["likelihoods"] == []
    assert "loaded" not in {s["name"] for s in found["samplers"]}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["lst"], 2, ["no verb 'lst'", "Did you mean list?", "zoo --help"]),
        (["list", "--pretraind"], 2, ["--pretraind", "zoo list --help"]),
        (["list", "--seed", "-1"], 2, ["'-1'", "[0, 2^64)"]),
        (["list", "--seed", str(2**64)], 2, ["[0, 2^64)"]),
        (["info"], 2, ["Missing argument 'NAME'"]),
        (["info", "dyce"], 3, ["unknown model 'dyce'", "Did you mean dice?"]),
        (["info", "dice.fiar"], 3, ["no tag 'fiar'", "fair"]),
        (["info", "other:dice"], 3, ["unknown model 'other:dice'"]),
        (["info", "org/model"], 3, ["'org/model' is not a model name"]),
        (["info", "Bad Name"], 3, ["'Bad Name' is not a model name"]),
        (["info", "glow"], 4, ["density-zoo-flows", "not installed", "zoo plugins install flows"]),
        (["plugins", "disable", "tyny"], 4, ["no plugin 'tyny'", "Did you mean tiny?"]),
    ],
)
def test_a_mistake_is_one_line_with_a_hint_and_its_exit_code(zoo, arguments, code, words):
    done = zoo(*arguments)
    assert done.code == code
    assert done.out == ""
    assert "Traceback" not in done.err
    first, *rest = done.err.splitlines()
    assert first.startswith("zoo: error: ")
    assert all(line.startswith("hint: ") for line in rest)
    for word in words:
        assert word in done.err


def test_an_error_with_json_is_one_json_line_on_stderr(zoo):
    done = zoo("info", "dyce", "--json")
    assert (done.code, done.out) == (3, "")
    found = json.loads(done.err)
    assert found.keys() == {"error", "message", "hint", "exit_code"}
    assert (found["error"], found["exit_code"]) == ("UnknownNameError", 3)


def test_a_traceback_appears_on_request(zoo):
    assert "Traceback" in zoo("info", "dyce", "--traceback").err
    assert "Traceback" in zoo("--traceback", "info", "dyce").err


def test_an_unexpected_error_is_one_line_that_says_how_to_report_it(zoo, monkeypatch):
    monkeypatch.setattr("zoo_core.catalog.registry.Registry.list_models", lambda *a, **k: 1 / 0)
    done = zoo("list")
    assert done.code == 1
    assert "unexpected ZeroDivisionError" in done.err
    assert "--traceback" in done.err
    assert "Traceback" not in done.err


def test_bare_zoo_and_help_list_the_verbs_and_exit_codes(zoo):
    for arguments in ([], ["--help"], ["-h"]):
        done = zoo(*arguments)
        assert done.code == 0
        assert "likelihood" in done.out and "Exit codes" in done.out
    assert zoo("--version").out.split()[0] == "zoo"


HUB = "--revision --token --cache-dir --endpoint --accept-license"
OPTIONS = {
    "list": "PATTERN --density --family --license --license-class --pretrained --no-pretrained "
    "--long",
    "info": "NAME",
    "sample": "NAME -n --out --sampler --set --cond --fixed --trace --batch-size "
    f"--shards --shard {HUB}",
    "likelihood": "NAME --data --data-option --split --method --set --cond --limit --map "
    f"--batch-size --out --shards --shard {HUB}",
    "evaluate": "NAME --data --data-option --split --only --method --set --limit --sampler "
    "--sampler-set --samples --features --metrics --inception-weights --batch-size --out --record "
    f"--verify --drawn {HUB}",
    "compare": "NAMES --data --data-option --split --samples --features --metrics --limit --out "
    f"--bytes --steps --study --minutes {HUB}",
    "choose": "DATA --data-option --minutes --samples --bytes --out",
    "compress": "DATA --model --out --data-option --split --limit --block --verify --codecs "
    f"{HUB}",
    "decompress": f"PATH --out --model --block {HUB}",
    "pull": f"NAMES --pin --plan {HUB}",
    "convert": "SOURCE OUT --converter --set --license --memory --seconds "
    "--revision --token --cache-dir --endpoint",
    "export": f"NAME --out --batch {HUB}",
    "push": "FOLDER REPO --private --create-pr --dry-run --samples --token --endpoint",
    "serve": "FOLDER --host --port --certfile --keyfile",
    "cache": "",
    "cache list": "--cache-dir",
    "cache remove": "NAME --cache-dir",
    "cache prune": "--cache-dir",
    "cache verify": "REPO --cache-dir",
    "train": "RECIPE --recipe --from --out --resume --set",
    "data": "",
    "data list": "",
    "data info": "NAME --set --grid",
    "plugins": "",
    "plugins list": "--all",
    "plugins info": "NAME",
    "plugins enable": "NAME",
    "plugins disable": "NAME",
    "plugins doctor": "NAME",
    "plugins check": "NAME",
    "plugins install": "NAMES -e --editable --index-url --find-links --hash --require-hashes "
    "--upgrade --pre --allow-source --no-build-isolation --dry-run -y --yes",
    "plugins uninstall": "NAME --dry-run -y --yes",
    "plugins new": "NAME --out",
    "plugins sync": "--dry-run -y --yes",
    "doctor": "--fix",
    "demo": "--host --port --open",
    "completion": "SHELL",
}
GLOBAL = {"--json", "--quiet", "--offline", "--traceback", "--no-plugins", "--device", "--seed"}


def _commands(command, path=()):
    """Every command below `command` with its path."""
    import click

    if path:
        yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from _commands(command.get_command(context, name), (*path, name))


def _spellings(command):
    for param in command.params:
        named = param.param_type_name == "option"
        yield from ([*param.opts, *param.secondary_opts] if named else [param.name.upper()])


def test_the_options_are_the_frozen_ones():
    """A new or renamed option is a promise to users: it is made here as well."""
    from zoo_core.cli.app import root

    found = {path: set(_spellings(command)) for path, command in _commands(root)}
    assert found == {path: GLOBAL | set(names.split()) for path, names in OPTIONS.items()}


def _examples():
    from zoo_core.cli.app import root

    for path, command in _commands(root):
        if hasattr(command, "example"):
            yield pytest.param(path, command, id=path)


@pytest.mark.parametrize(("path", "command"), [*_examples()])
def test_the_help_of_a_verb_ends_with_an_example_that_parses(zoo, path, command):
    """A misspelt option, number or choice in an example would be a usage error."""
    import click

    from zoo_core.cli.app import root

    parent = click.Context(root, **root.context_settings)
    words = shlex.split(command.example.removeprefix('eval "$(').removesuffix(')"'))
    called = ["zoo", *path.split()]
    assert words[: len(called)] == called
    command.make_context(path, words[len(called) :], parent=parent)
    assert zoo(*path.split(), "--help").out.endswith(f"\nExample:\n  {command.example}\n")


@pytest.mark.parametrize(("value", "bold"), [(None, True), ("", True), ("0", False), ("1", False)])
def test_no_color_means_no_escapes_even_on_a_terminal(start, value, bold):
    """no-color.org: whatever its value, unless that is empty."""
    code = (
        "import sys; sys.stdout.isatty = lambda: True;"
        "from zoo_core.cli import main; sys.exit(main(['list']))"
    )
    with start("-c", code, **({} if value is None else {"NO_COLOR": value})) as process:
        out, _ = process.communicate(timeout=60)
    assert ("\x1b[" in out) is bold


def test_help_and_list_are_fast(shell, capsys):
    """0.3 s warm is the aim; processor time is held to it, which a busy machine stretches less."""
    for verb in (["--help"], ["list"], ["list", "--json", "--pretrained"]):
        wall, used = zip(*(_time(shell, verb) for _ in range(3)), strict=True)
        with capsys.disabled():
            print(f" [zoo {' '.join(verb)}: {min(wall):.2f} s, {min(used):.2f} s used]", end="")
        assert min(used) < 0.4


def _time(shell, verb):
    """Wall time and processor time of one run."""
    before, start = os.times(), time.perf_counter()
    assert shell(*verb).code == 0
    after = os.times()
    used = after.children_user + after.children_system
    return time.perf_counter() - start, used - before.children_user - before.children_system


@pytest.mark.parametrize("verb", ["list", "plugins", "data"])
def test_looking_around_imports_nothing_heavy(start, verb):
    code = (
        f"import sys; from zoo_core.cli import main; code = main([{verb!r}, '--json']);"
        "heavy = {'torch', 'numpy', 'huggingface_hub', 'accelerate', 'PIL', 'tqdm'};"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr); sys.exit(code)"
    )
    with start("-c", code) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)
    assert err.strip() == "[]"


def test_a_reader_that_has_enough_ends_the_command_quietly(start):
    with start("-m", "zoo_core", "list", "--json") as process:
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr.read() == ""
