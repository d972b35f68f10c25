"""Checkpoints: a resumed training is the uninterrupted one, bit by bit; a kill loses nothing."""

import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo_core as zoo
from zoo_core import sealed
from zoo_core.catalog.plugins import Plugins
from zoo_core.catalog.registry import Registry, use
from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import ConfigError, IntegrityError, OutputError, UsageError, ZooWarning
from zoo_core.plugin import Loss, ModelSpec, Player, hookimpl
from zoo_core.training import loop, state
from zoo_core.training.optim import rate_factor

ZOO_API = 1
EVENT = zoo.Event((6,), levels=3)


@hookimpl
def zoo_models():
    """This file is a plugin, so that its model has a default likelihood."""
    target = f"{__name__}:Both"
    return [
        ModelSpec(
            "both",
            "toys",
            "explicit/tractable",
            target,
            f"{__name__}:Config",
            capabilities=("Density",),
            default_likelihood="exact",
        )
    ]


@dataclass(frozen=True)
class Config:
    hidden: int = 8


@dataclass(frozen=True)
class Fit:
    """The first player lowers -log p with noise on its input; the second follows the first."""

    noise: float = 0.1

    def __call__(self, model, batch, rng, step):
        z = rng.normal((4,), stream="z", step=step)
        nll = -model.log_prob(batch[0], self.noise * z).mean()
        return Loss(nll, {"nats": nll.detach()})


class Both(zoo.GenerativeModel):
    """Categoricals with dropout and batch statistics, and a second player with lazy turns."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, EVENT)
        self.embed = nn.Sequential(
            nn.Linear(4, config.hidden), nn.BatchNorm1d(config.hidden), nn.Dropout(0.25)
        )
        self.head = nn.Linear(config.hidden, 18)
        self.critic = nn.Linear(6, 1)

    def log_prob(self, x, cond=None):
        z = torch.zeros(len(x), 4) if cond is None else cond
        logits = self.head(self.embed(z)).view(-1, 6, 3)
        return logits.log_softmax(-1).gather(-1, x.unsqueeze(-1)).squeeze(-1).sum(-1)

    def make_players(self, loss):
        def criticize(batch, rng, step):
            u = rng.uniform((6,), stream="u", step=step)
            return Loss((self.critic(batch[0] + u) - batch[0].sum(1, True)).square().mean())

        first = [*self.embed.parameters(), *self.head.parameters()]
        return {
            "model": Player(first, lambda *args: loss(self, *args)),
            "critic": Player(list(self.critic.parameters()), criticize, every=2, steps=2),
        }


def data(seed=0):
    x = torch.randint(0, 3, (60, 6), generator=torch.Generator().manual_seed(seed))
    splits = {"train": Split(x[:40]), "valid": Split(x[40:])}
    return Dataset("toy", EVENT, zoo.Condition(), splits, "none", "drawn here")


CONFIG = zoo.TrainConfig(
    steps=24,
    batch_size=16,
    lr=0.3,
    schedule="cosine",
    warmup=3,
    clip=1.0,
    ema=0.9,
    weight_decay=0.01,
    eval_every=3,
    keep_best=True,
    checkpoint_every=6,
    log_every=4,
)


def make():
    torch.manual_seed(0)
    return Both(Config())


def run(out=None, config=CONFIG, *, model=None, **kwargs):
    registry = Registry(Plugins([EntryPoint("toys", __name__, "density_zoo")]))
    model = model or make()
    with use(registry):
        kwargs = {"loss": Fit(), "progress": False, **kwargs}
        result = zoo.train(model, data(), config, out=out, **kwargs)
    return model, result


def interrupt(monkeypatch, out, at):
    """Train until optimizer step `at` of all, then stop as Ctrl-C would."""
    real, count = loop.optimizer_step, iter(range(10**6))

    def optimizer_step(*args):
        if next(count) == at:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "optimizer_step", optimizer_step)
        with pytest.raises(KeyboardInterrupt):
            run(out)


def equal(one, two):
    assert one.keys() == two.keys()
    return all(torch.equal(v, two[k]) for k, v in one.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The training that was never interrupted."""
    out = tmp_path_factory.mktemp("whole")
    return (*run(out), out)


@pytest.mark.parametrize("at", [13, 30, 47])
def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one(whole, monkeypatch, tmp_path, at):
    model, result, out = whole
    interrupt(monkeypatch, tmp_path, at)
    resumed, again = run(tmp_path, resume=True)
    assert equal(model.state_dict(), resumed.state_dict())
    assert (again.value, again.best_step) == (result.value, result.best_step)
    assert 0 < result.best_step < 24  # the best weights came through the checkpoint too
    assert _lines(out) == _lines(tmp_path)


def _lines(out):
    """The log without clocks."""
    text = (out / "log.jsonl").read_text().splitlines()
    return [line for line in text if '"checkpoint"' not in line]


def test_checkpoints_of_resumed_and_uninterrupted_trainings_are_equal(
    whole, monkeypatch, tmp_path
):
    from safetensors.torch import load_file

    interrupt(monkeypatch, tmp_path, 20)
    run(tmp_path, resume=True)
    ours, theirs = (load_file(p / state.CHECKPOINT) for p in (tmp_path, whole[2]))
    kinds = {name.split("/")[0] for name in ours}
    assert kinds == {"model", "ema", "optimizer", "best"}
    assert equal(ours, theirs)


def test_a_finished_training_resumes_to_its_result_at_once(whole, monkeypatch):
    model, result, out = whole
    monkeypatch.setattr(loop, "optimizer_step", lambda *_: pytest.fail("trained again"))
    again, second = run(out, resume=True)
    assert equal(model.state_dict(), again.state_dict())
    assert second == result


def test_resuming_where_nothing_is_starts_from_the_beginning_and_says_so(whole, tmp_path, caplog):
    caplog.set_level("INFO")
    model, _ = run(tmp_path, resume=True)
    assert equal(model.state_dict(), whole[0].state_dict())
    assert f"no checkpoint in {tmp_path}: starting at step 0" in caplog.messages
    with pytest.raises(UsageError, match="out="):
        run(resume=True)


def test_a_resume_with_another_config_data_loss_or_code_lists_what_differs(
    whole, monkeypatch, tmp_path
):
    out = whole[2]
    with pytest.raises(ConfigError, match=r"train\.clip: 1\.0 there, 2\.0 here; train\.lr: 0\.3"):
        run(out, replace(CONFIG, lr=0.1, clip=2.0), resume=True)
    with pytest.raises(ConfigError, match=r"loss\.noise: 0\.1 there, 0\.2 here"):
        run(out, loss=Fit(0.2), resume=True)
    with pytest.raises(ConfigError, match=r"players\.critic\.lr: 'absent' there"):
        run(out, players={"critic": {"lr": 0.1}}, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr("zoo_core.version.__version__", "99.0")
        with pytest.raises(ConfigError, match=r"code\.density-zoo.*here"):
            run(out, resume=True)
    monkeypatch.setitem(globals(), "data", lambda real=data: real(seed=1))
    with pytest.raises(ConfigError, match=r"data\.train.*data\.valid"):
        run(out, resume=True)


def test_a_refused_resume_leaves_model_and_checkpoint_as_they_were(whole):
    file = whole[2] / state.CHECKPOINT
    before, model = file.read_bytes(), make()
    with pytest.raises(ConfigError):
        run(whole[2], replace(CONFIG, lr=0.1), model=model, resume=True)
    assert file.read_bytes() == before
    assert equal(model.state_dict(), make().state_dict())


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty"])
def test_a_damaged_checkpoint_is_named(whole, tmp_path, damage):
    data = (whole[2] / state.CHECKPOINT).read_bytes()
    broken = {"truncated": data[: len(data) // 2], "foreign": b"not a checkpoint", "empty": b""}
    (tmp_path / state.CHECKPOINT).write_bytes(broken[damage])
    with pytest.raises(IntegrityError, match=r"checkpoint.safetensors is damaged"):
        run(tmp_path, resume=True)


@pytest.fixture(scope="module")
def small(whole, tmp_path_factory):
    """A checkpoint, and a function that loads it into a fresh model and its players."""
    from zoo_core.training.players import make_trainers

    path = tmp_path_factory.mktemp("small") / state.CHECKPOINT
    data = (whole[2] / state.CHECKPOINT).read_bytes()
    path.write_bytes(data)
    text, _ = sealed.read(path)
    marks = json.loads(text)["fingerprint"]
    model = make()
    trainers = make_trainers(model, Fit(), CONFIG, {})

    def load():
        return state.load(path, model, trainers, marks, steps=CONFIG.steps)

    def untouched():
        optimized = any(state.flatten_state(a.optimizer, a.parameters) for a in trainers)
        return not optimized and equal(model.state_dict(), make().state_dict())

    return path, data, load, untouched


def test_any_flipped_bit_of_a_checkpoint_is_refused_and_nothing_restored(small):
    """All bits of the header's first half, others at random: offsets, names, numbers, padding."""
    path, data, load, untouched = small
    header = 8 + int.from_bytes(data[:8], "little")
    draw = random.Random(0)
    bits = [draw.randrange(8 * header) for _ in range(300)]
    bits += [draw.randrange(8 * header, 8 * len(data)) for _ in range(300)]
    bits += [*range(64), *range(8 * (header - 8), 8 * header), 8 * len(data) - 1]
    for bit in bits:
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        with pytest.raises(IntegrityError, match=r"checkpoint\.safetensors") as caught:
            load()
        assert caught.value.hint and "delete it" in caught.value.hint
    path.write_bytes(data)
    assert untouched()


def rewritten(path, data, change):
    """The checkpoint with other contents and their right hash, as a forger would write it."""
    path.write_bytes(data)
    text, tensors = sealed.read(path)
    header = json.loads(text)
    change(header, tensors)
    sealed.write(path, tensors, json.dumps(header))


@pytest.mark.parametrize("schema", [None, 1, 3, "2", 2.0, True, [2]])
def test_a_checkpoint_of_another_schema_is_refused(small, schema):
    path, data, load, untouched = small
    rewritten(path, data, lambda header, _: header.update(schema=schema))
    with pytest.raises(IntegrityError, match=r"of schema .*; this version continues 2") as caught:
        load()
    assert "delete it to start anew" in caught.value.hint and untouched()


def test_a_checkpoint_without_a_hash_is_refused(small):
    from safetensors.torch import save_file

    path, data, load, untouched = small
    path.write_bytes(data)
    text, tensors = sealed.read(path)
    save_file(tensors, path, metadata={"zoo": text})
    with pytest.raises(IntegrityError, match="carries no hash") as caught:
        load()
    assert "delete it to start anew" in caught.value.hint and untouched()


PROGRESS = [
    *(("step", v) for v in (-1, 2.5, 2.0, True, None, "3", 25, 1 << 70, [1])),
    *(("seconds", v) for v in (-1.0, math.nan, math.inf, "1", None, True)),
    *(("stopped", v) for v in (0, 1, None, "no")),
    *(("best_step", v) for v in (-2, -1, 24.0, 25, True, None)),
    *(("best_value", v) for v in (math.nan, math.inf, -math.inf, "1", True, None)),
    *(("since_best", v) for v in (-1, 1.0, False, 25, None)),
    ("steps", 3),
]


@pytest.mark.parametrize(("name", "value"), PROGRESS)
def test_a_progress_that_cannot_be_is_refused(small, name, value):
    path, data, load, untouched = small
    rewritten(path, data, lambda header, _: header["progress"].update({name: value}))
    with pytest.raises(
        IntegrityError, match=r"checkpoint\.safetensors: .*\b" + name.split("_")[0]
    ):
        load()
    assert untouched()


@pytest.mark.parametrize("name", sorted(vars(state.Progress()).keys() - {"best"}))
def test_a_progress_that_lacks_a_number_is_refused(small, name):
    path, data, load, untouched = small
    rewritten(path, data, lambda header, _: header["progress"].pop(name))
    with pytest.raises(IntegrityError, match=rf"progress\.{name} is missing"):
        load()
    assert untouched()


STRANGE = [
    *(
        (kind, what)
        for kind in ("model/", "ema/", "best/")
        for what in ("another shape", "another name", "another type", "absent")
    ),
    ("optimizer/", "another shape"),
    ("optimizer/", "another name"),  # absent is what never had a gradient; torch casts the type
]


@pytest.mark.parametrize(("kind", "what"), STRANGE)
def test_tensors_of_another_model_are_refused_before_any_is_restored(small, kind, what):
    path, data, load, untouched = small

    def change(_, tensors):
        name = max(n for n in tensors if n.startswith(kind) and tensors[n].ndim == 2)
        value = tensors.pop(name)
        if what == "another shape":
            tensors[name] = value.new_zeros(3, 2)
        if what == "another name":
            tensors[f"{kind}x"] = value
        if what == "another type":
            tensors[name] = value.double()

    rewritten(path, data, change)
    with pytest.raises(IntegrityError, match=rf"does not fit the model: .*{kind}"):
        load()
    assert untouched()


def test_a_score_that_is_no_number_is_never_the_best(monkeypatch, tmp_path):
    real, count = loop.validate_by_likelihood, iter(range(100))

    def validate_by_likelihood(*args, **options):
        found = real(*args, **options)
        first = next(count) == 0
        return replace(found, value=math.nan) if first else found

    monkeypatch.setattr(loop, "validate_by_likelihood", validate_by_likelihood)
    _, result = run(tmp_path)
    assert result.best_step > 3 and math.isfinite(result.value)
    assert run(tmp_path, resume=True)[1] == result


def test_a_full_disk_keeps_the_previous_checkpoint(monkeypatch, tmp_path):
    real, writes = sealed.save_file, iter(range(100))

    def save_file(*args, **kwargs):
        if next(writes) == 1:
            raise OSError(28, "No space left on device")
        real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(sealed, "save_file", save_file)
        with pytest.raises(OutputError, match="No space left"):
            run(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [state.CHECKPOINT, "log.jsonl"]
    assert run(tmp_path, resume=True)[1].steps == 24


def die_while_writing(out):
    """In a child process: half of the second checkpoint is written when SIGKILL comes."""
    real, writes = sealed.save_file, iter(range(100))

    def save_file(tensors, path, **kwargs):
        real(tensors, path, **kwargs)
        if next(writes) == 1:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    sealed.save_file = save_file
    run(out)


def in_a_child(function, *arguments):
    """Call a function of this module with paths, in a process of its own."""
    child = (
        "import importlib.util, pathlib, sys\n"
        f"spec = importlib.util.spec_from_file_location({__name__!r}, {str(Path(__file__))!r})\n"
        "module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        f"module.{function}(*map(pathlib.Path, {[str(a) for a in arguments]!r}))\n"
    )
    return subprocess.run([sys.executable, "-c", child], capture_output=True, timeout=120)


def be_terminated(out):
    """In a child: SIGTERM comes in the middle of step 8, two steps after a checkpoint."""
    real, count = loop.optimizer_step, iter(range(10**6))

    def optimizer_step(*args):
        if next(count) == 21:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args)

    loop.optimizer_step = optimizer_step
    run(out)


def test_sigterm_waits_for_a_checkpoint_of_the_step_under_way(whole, tmp_path):
    ended = in_a_child("be_terminated", tmp_path)
    assert ended.returncode == -signal.SIGTERM, ended.stderr.decode()
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "checkpoint" and last["step"] % CONFIG.checkpoint_every
    resumed, _ = run(tmp_path, resume=True)
    assert equal(resumed.state_dict(), whole[0].state_dict())


def test_a_training_whose_sigterm_is_handled_is_interrupted_and_not_finished(tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(signal.getsignal))
    real, count = loop.optimizer_step, iter(range(10**6))

    def optimizer_step(*args):
        if next(count) == 5:
            signal.raise_signal(signal.SIGTERM)
        return real(*args)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "optimizer_step", optimizer_step)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(heard) == 1 and (tmp_path / state.CHECKPOINT).exists()


def test_a_kill_in_the_middle_of_writing_a_checkpoint_loses_nothing(whole, tmp_path):
    died = in_a_child("die_while_writing", tmp_path)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))
    resumed, _ = run(tmp_path, resume=True)
    assert equal(resumed.state_dict(), whole[0].state_dict())
    assert sorted(p.name for p in tmp_path.iterdir()) == [state.CHECKPOINT, "log.jsonl"]


# Extending a training, and ending it by the clock.


def constant(**options):
    return replace(CONFIG, schedule="constant", eval_every=0, keep_best=False, **options)


def test_more_steps_and_other_intervals_continue_to_the_bits_of_a_longer_training(tmp_path):
    longer, _ = run(tmp_path / "whole", constant(steps=32))
    run(tmp_path, constant())
    other = constant(steps=32, checkpoint_every=5, log_every=3, max_seconds=1e6)
    extended, result = run(tmp_path, other, resume=True)
    assert result.steps == 32
    assert equal(longer.state_dict(), extended.state_dict())


def test_a_schedule_is_laid_over_the_new_length_with_a_warning(whole, tmp_path):
    shutil.copytree(whole[2], tmp_path / "run")
    with pytest.warns(ZooWarning, match="was 24 and is 30: from step 24 on, the schedule cosine"):
        _, result = run(tmp_path / "run", replace(CONFIG, steps=30), resume=True)
    rates = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    last = [r["lr"] for r in rates if r["event"] == "train" and r["player"] == "model"][-1]
    assert result.steps == 30
    assert last == pytest.approx(CONFIG.lr * rate_factor(CONFIG, 29, 30))


def test_fewer_steps_than_were_taken_are_refused(whole):
    with pytest.raises(ConfigError, match=r"has taken 24 steps; train\.steps = 20 is fewer"):
        run(whole[2], replace(CONFIG, steps=20), resume=True)


def test_more_patience_continues_a_training_that_stopped(monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "_better", lambda value, best: best is None)
    config = replace(CONFIG, patience=2)
    assert run(tmp_path, config)[1].stopped_early
    _, result = run(tmp_path, replace(config, patience=4), resume=True)
    assert (result.stopped_early, result.steps) == (True, 15)


def test_a_training_out_of_time_ends_at_a_step_and_resumes_to_the_same_bits(
    whole, monkeypatch, tmp_path
):
    clock = itertools.count()
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    config = replace(CONFIG, max_seconds=20.0)
    calls = []
    while not calls or calls[-1].timed_out:
        model, result = run(tmp_path, config, resume=bool(calls))
        calls.append(result)
    assert 2 < len(calls) < 24
    assert equal(model.state_dict(), whole[0].state_dict())
    assert (result.steps, result.best_step) == (24, whole[1].best_step)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "optimizer_options": {"momentum": 0.9, "nesterov": True}},
        {"optimizer": "sgd"},
    ],
)
def test_every_optimizer_resumes_to_the_same_bits(monkeypatch, tmp_path, options):
    config = replace(CONFIG, steps=12, lr=0.05, **options)
    straight, _ = run(config=config)
    run(tmp_path, replace(config, schedule="cosine", max_seconds=1e-9))
    resumed, result = run(tmp_path, config, resume=True)
    assert result.steps == 12
    assert equal(straight.state_dict(), resumed.state_dict())
