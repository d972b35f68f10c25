"""Cheap files ask for dear work: a hostile `zoo.json` ends in a second and little memory."""

import json
import time
import typing
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import zoo_core as zoo
from zoo_core import config as configs
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import import_target
from zoo_core.errors import ConfigError, IntegrityError, ZooError
from zoo_core.weights.checkpoint import METADATA, WEIGHTS
from zoo_core.weights.memory_guard import memory_guard

SECONDS, MIB = 1.0, 200


@pytest.fixture
def attack(tmp_path):
    """`attack(text)`: load a folder of that `zoo.json` and small weights, within the bounds."""
    save_file({"a": torch.zeros(2)}, tmp_path / WEIGHTS)

    def run(text):
        (tmp_path / METADATA).write_text(text)
        _forget_peak()
        before, seconds = _memory("VmRSS"), time.process_time()
        with pytest.raises(ZooError) as caught:
            zoo.load(str(tmp_path))
        assert time.process_time() - seconds < SECONDS
        assert _memory("VmHWM") - before < MIB << 10
        assert len(str(caught.value)) < 4000
        return caught.value

    return run


def _forget_peak():
    """VmHWM is from here on the most that the process held since now (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def _memory(name):
    """KiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name)))


linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is measured on Linux"
)


def metadata(arch, config):
    return json.dumps({"schema": 1, "arch": arch, "config": config})


@linux
@pytest.mark.parametrize(
    ("arch", "option"), [("vae", "hidden"), ("vae", "channels"), ("hvae", "blocks")]
)
def test_a_long_list_is_refused_before_a_module_is_built(attack, arch, option):
    import_target(current().models.one(arch).spec.target)  # importing it is not measured
    error = attack(metadata(arch, {option: [1] * 100_000}))
    assert isinstance(error, ConfigError)
    assert "100,000 entries" in error.message


def _options():
    """(arch, option, values) for every list and every bounded integer of every architecture."""
    for entry in current().models:
        for name, hint in configs._hints(_config(import_target(entry.spec.target))).items():
            if _lists(hint):
                yield from ((entry.spec.arch, name, [1] * n) for n in (1024, 100_000))
            elif top := _top(hint):
                yield entry.spec.arch, name, top


def _config(model):
    hint = typing.get_type_hints(model.__init__)["config"]
    return next(a for a in typing.get_args(hint) if a is not type(None))


def _lists(hint):
    return typing.get_origin(hint) is tuple or any(map(_lists, typing.get_args(hint)))


def _top(hint):
    """The largest integer that an option takes, if it takes any."""
    if hint is int:
        return 1 << 40
    found = typing.get_args(hint)
    ranges = [a for a in found if isinstance(a, configs.Range)]
    if ranges and int in (found[0], *typing.get_args(found[0])):
        return int(min(ranges[0].high, 1 << 40))
    return next(filter(None, map(_top, found)), None)


@linux
@pytest.mark.slow
def test_no_option_of_any_architecture_costs_more_than_its_file(attack):
    cases = list(_options())
    assert len({arch for arch, _, _ in cases}) > 20
    for arch, option, value in cases:
        attack(metadata(arch, {option: value}))


WIDE = 100_000
FILES = {
    "a wide config": metadata("vae", {f"x{i}": 1 for i in range(WIDE // 2)}),
    "a long name": metadata("vae", {"x" * WIDE * 9: 1}),
    "a long string": metadata("vae", {"hidden": "x" * WIDE * 9}),
    "a long arch": metadata("x" * WIDE * 9, {}),
    "a list of lists": metadata("vae", {"hidden": [[1] * 9] * 20_000}),
    "a number of 5000 digits": metadata("vae", {"latent": 0}).replace("0", "1" + "0" * 5000),
    "many long numbers": metadata("vae", {"latent": [10**4000] * 200}),
    "infinite": metadata("vae", {"latent": 0}).replace("0", "1e999"),
    "no number": metadata("vae", {"latent": float("nan")}),
    "the same key again and again": '{"schema": 1, '
    + '"arch": "vae", ' * 60_000
    + '"config": {}}',
    "deep": metadata("vae", {"hidden": "X"}).replace('"X"', "[" * WIDE + "]" * WIDE),
    "many files": json.dumps(
        {"schema": 1, "arch": "vae", "config": {}, "files": {f"{i}": {} for i in range(WIDE // 2)}}
    ),
    "a long dtype": json.dumps({"schema": 1, "arch": "vae", "config": {}, "dtype": "x" * WIDE}),
    "too long": " " * (2 << 20),
}


@linux
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_metadata_of_any_kind_are_refused_at_once(attack, text):
    import_target(current().models.one("vae").spec.target)
    attack(text)


def test_modules_are_bounded_by_the_tensors_and_weights_by_their_number():
    with pytest.raises(IntegrityError, match="2 tensors"), memory_guard(2, 2, "x"):
        torch.nn.Sequential(*[torch.nn.Identity() for _ in range(10_000)])
    with pytest.raises(IntegrityError, match="2 weights"), memory_guard(2, 2, "x"):
        torch.nn.Linear(1 << 12, 1 << 12)
    with memory_guard(2, 2, "x"):
        assert isinstance(torch.nn.Linear(4, 4), torch.nn.Module)
