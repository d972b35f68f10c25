"""The training loop: configs, schedules, averages, data order, players, evaluation, errors."""

import json
import math
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint

import pytest
import torch
from torch import nn

import zoo_core as zoo
from zoo_core.catalog import components as resolve
from zoo_core.catalog.plugins import Plugins
from zoo_core.catalog.registry import Registry, use
from zoo_core.data.dataset import Dataset, Split
from zoo_core.data.shuffle import epoch_order
from zoo_core.errors import ConfigError, DataError, OutputError
from zoo_core.plugin import Loss, OptimizerSpec, Player, ScheduleSpec, hookimpl
from zoo_core.training.batch_sampler import batch_indices
from zoo_core.training.config import for_player
from zoo_core.training.optim import Ema, make_optimizer, rate_factor
from zoo_core.training.players import PlayerTrainer, make_trainers
from zoo_core.training.step import DivergenceError

ZOO_API = 1
EVENT = zoo.Event((6,), levels=3)


@dataclass(frozen=True)
class Config:
    hidden: int = 8


class Table(zoo.GenerativeModel):
    """Independent categoricals, by a network with dropout."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, EVENT)
        self.embed = nn.Sequential(nn.Linear(1, config.hidden), nn.Dropout(0.25))
        self.head = nn.Linear(config.hidden, 18)

    def log_prob(self, x, cond=None):
        logits = self.head(self.embed(torch.ones(len(x), 1))).view(-1, 6, 3)
        return logits.log_softmax(-1).gather(-1, x.unsqueeze(-1)).squeeze(-1).sum(-1)


class Duel(zoo.GenerativeModel):
    """Two players on two parameters, with unequal turns; it records who acted when."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, EVENT)
        self.a, self.b = nn.Linear(6, 1), nn.Linear(1, 1)
        self.turns = []

    def make_players(self, loss):
        def acts(name):
            def loss_of(batch, rng, step):
                self.turns.append((name, step, rng.rows.tolist()))
                return Loss(self.b(self.a(batch[0].float())).square().mean())

            return loss_of

        return {
            "a": Player(list(self.a.parameters()), acts("a"), steps=2),
            "b": Player(list(self.b.parameters()), acts("b"), every=3),
        }


class NoTest(dict):
    """Splits of which the last must not be read."""

    def __getitem__(self, name):
        assert name != "test", "training read the test split"
        return super().__getitem__(name)


def data(n=60, name="toy", seed=0, event=EVENT, condition=zoo.Condition()):  # noqa: B008
    x = torch.randint(0, 3, (n, 6), generator=torch.Generator().manual_seed(seed))
    x[:, :3] = 2
    cut = n * 2 // 3
    splits = NoTest(train=Split(x[:cut]), valid=Split(x[cut:]), test=Split(x[:1]))
    return Dataset(name, event, condition, splits, "none", "drawn here")


def make(cls=Table, seed=0):
    torch.manual_seed(seed)
    return cls(Config())


SHORT = zoo.TrainConfig(steps=30, batch_size=16, lr=0.05, log_every=10)


def run(model=None, config=SHORT, **kwargs):
    model = model or make()
    return model, zoo.train(model, data(), config, progress=False, **kwargs)


def same(one, two):
    two = dict(two.state_dict())
    return all(torch.equal(v, two[k]) for k, v in one.state_dict().items())


def test_training_lowers_the_loss_and_ends_in_evaluation_mode():
    model = make()
    before = -model.log_prob(data().split("valid").x).mean()
    run(model)
    assert not model.training
    assert -model.log_prob(data().split("valid").x).mean() < before - 1


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    assert same(run()[0], run()[0])
    assert not same(run()[0], run(config=replace(SHORT, seed=1))[0])


def test_training_leaves_torchs_generator_as_it_was():
    torch.manual_seed(5)
    model = Table(Config())
    want = torch.random.get_rng_state()
    run(model)
    assert torch.equal(torch.random.get_rng_state(), want)


def test_dropout_does_not_depend_on_the_state_of_torchs_generator():
    first, second = make(), make()
    run(first)
    torch.manual_seed(1234)
    run(second)
    assert same(first, second)


def test_an_epoch_visits_every_example_once_and_epochs_differ():
    one, two = epoch_order(3, 0, 100), epoch_order(3, 1, 100)
    assert one.sort().values.tolist() == list(range(100))
    assert not torch.equal(one, two)
    assert not torch.equal(one, epoch_order(4, 0, 100))


def test_a_batch_is_a_function_of_the_step():
    rows = [batch_indices(0, t, n=50, size=16) for t in range(6)]
    assert torch.equal(rows[4], batch_indices(0, 4, n=50, size=16))
    assert len(torch.cat(rows[:3]).unique()) == 48  # three batches of an epoch share nothing


@pytest.mark.parametrize(
    ("schedule", "half"),
    [("constant", 1.0), ("cosine", 0.55), ("linear", 0.55), ("exponential", 10**-0.5)],
)
def test_schedules_start_at_the_rate_and_are_where_their_formula_says(schedule, half):
    config = zoo.TrainConfig(lr=2.0, schedule=schedule, final=0.1)
    assert rate_factor(config, 0, 100) == pytest.approx(1.0)
    assert rate_factor(config, 50, 100) == pytest.approx(half)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimizers_take_the_steps_of_torchs_own(name):
    options = {"momentum": 0.5} if name == "sgd" else {}
    config = zoo.TrainConfig(optimizer=name, lr=0.01, weight_decay=0.1, optimizer_options=options)
    classes = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 40)) for _ in range(2))
    optimizers = [
        make_optimizer(config, {"p": ours}),
        classes[name]([theirs], lr=0.01, weight_decay=0.1, **options),
    ]
    for step in range(5):
        for p, optimizer in zip((ours, theirs), optimizers, strict=True):
            p.grad = (p.detach() * (step + 1)).cos()
            optimizer.step()
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@dataclass(frozen=True)
class Slow:
    """A plugin's optimizer: two groups, the second ten times slower."""

    lr: float = 1e-3
    slower: float = 10.0

    def __call__(self, parameters):
        first, *rest = parameters.values()
        groups = [{"params": rest}, {"params": [first], "lr": self.lr / self.slower}]
        return torch.optim.SGD(groups, lr=self.lr, momentum=0.9)


@dataclass(frozen=True)
class Steps:
    """A plugin's schedule."""

    at: float = 0.5

    def __call__(self, u):
        return 1.0 if u < self.at else 0.1


@hookimpl
def zoo_optimizers():
    return [OptimizerSpec("slow", f"{__name__}:Slow")]


@hookimpl
def zoo_schedules():
    return [ScheduleSpec("steps", f"{__name__}:Steps")]


def test_a_plugins_optimizer_and_schedule_are_used_with_their_options(tmp_path):
    with use(Registry(Plugins([EntryPoint("mine", __name__, "density_zoo")]))):
        config = replace(
            SHORT,
            steps=8,
            optimizer="slow",
            schedule="steps",
            lr=0.5,
            optimizer_options={"slower": 5.0},
            schedule_options={"at": 0.25},
            log_every=1,
            max_seconds=1e-9,
        )
        straight, _ = run(config=replace(config, max_seconds=0.0))
        run(config=config, out=tmp_path)
        model, _ = run(config=replace(config, max_seconds=0.0), out=tmp_path, resume=True)
        (trainer,) = make_trainers(model, resolve.loss(model, "nll", {}), config, {})
        trainer.set_rate(4)
    rates = [g["lr"] for g in trainer.optimizer.param_groups]
    assert rates == pytest.approx([0.05, 0.01])
    for a, b in zip(straight.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_warmup_rises_linearly_to_the_rate():
    config = zoo.TrainConfig(lr=1.0, schedule="cosine", warmup=4)
    rates = [rate_factor(config, t, 100) for t in range(5)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_averages_follow_their_recursion():
    p = nn.Parameter(torch.zeros(1))
    ema = Ema({"p": p}, decay=0.5)
    want = 0.0
    for t in range(20):
        p.data.fill_(float(t))
        ema.update(t)
        decay = min(0.5, (1 + t) / (10 + t))
        want = decay * want + (1 - decay) * t
    assert float(ema.averages["p"]) == pytest.approx(want, rel=1e-6)


def test_the_averaged_weights_are_what_a_training_returns():
    raw, averaged = run()[0], run(config=replace(SHORT, ema=0.99))[0]
    assert not same(raw, averaged)
    few = replace(SHORT, ema=1e-6)  # an average that forgets at once is the weights themselves
    assert torch.allclose(run(config=few)[0].head.weight, raw.head.weight, atol=1e-5)


def test_clipping_bounds_the_gradient(tmp_path):
    _, _ = run(config=replace(SHORT, optimizer="adam", clip=1e-3, log_every=1), out=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(line["grad_norm"] > 1e-3 for line in lines if line["event"] == "train")
    assert not same(run()[0], run(config=replace(SHORT, clip=1e-3))[0])


def test_accumulated_gradients_are_those_of_the_whole_batch():
    config = replace(SHORT, steps=1, optimizer="adam")

    def plain():
        model = make()
        model.embed[1].p = 0.0
        return model

    whole, parts = plain(), plain()
    run(whole, config)
    run(parts, replace(config, accumulate=3))
    assert torch.allclose(whole.head.weight, parts.head.weight, atol=1e-6)


class Centred(Table):
    """It starts from the mean of the events it is shown, and records which those were."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.centre, self.shown = nn.Parameter(torch.zeros(6)), []

    @torch.no_grad()
    def data_dependent_init(self, batch, rng):
        self.shown.append(rng.rows.tolist())
        self.centre.copy_(batch[0].float().mean(0))


@pytest.mark.parametrize("accumulate", [1, 5])
def test_a_start_from_data_sees_the_whole_first_batch_once(accumulate, tmp_path):
    config = replace(SHORT, steps=2, accumulate=accumulate, checkpoint_every=1, ema=0.999, lr=0.0)
    model, _ = run(make(Centred), config, out=tmp_path)
    first = PlayerTrainer("model", None, config, {}, None, None).indices(0, n=40).tolist()
    assert model.shown == [first]
    want = data().split("train").x[first].float().mean(0)
    torch.testing.assert_close(model.centre.detach(), want)  # so do averages begin there
    resumed, _ = run(make(Centred), config, out=tmp_path, resume=True)
    assert resumed.shown == [] and torch.equal(resumed.centre, model.centre)


def test_a_start_from_data_sees_enough_events_where_batches_are_small():
    model, _ = run(make(Centred), replace(SHORT, steps=1, batch_size=2))
    assert [len(rows) for rows in model.shown] == [16]


def test_bf16_computes_in_bf16_and_keeps_float32_weights():
    seen = []

    def loss(model, batch, rng, step):
        seen.append(model.embed(torch.ones(1, 1)).dtype)
        return Loss(-model.log_prob(*batch).float().mean())

    model, _ = run(config=replace(SHORT, steps=2, precision="bf16"), loss=loss)
    assert seen == [torch.bfloat16] * 2
    assert model.dtype == torch.float32


def test_players_act_in_turn_with_batches_of_their_own():
    model, _ = run(make(Duel), replace(SHORT, steps=4), loss=lambda *_: None)
    assert [(name, step) for name, step, _ in model.turns] == [
        *[("a", 0), ("a", 1), ("b", 0)],
        *[("a", 2), ("a", 3)],
        *[("a", 4), ("a", 5)],
        *[("a", 6), ("a", 7), ("b", 1)],
    ]
    rows = {(name, step): rows for name, step, rows in model.turns}
    assert rows["a", 0] != rows["a", 1]
    assert rows["a", 0] != rows["b", 0]


def test_a_player_changes_only_its_own_parameters():
    model = make(Duel)
    before = model.b.weight.detach().clone()
    run(model, SHORT, loss=lambda *_: None, players={"b": {"lr": 0.0}})
    assert torch.equal(model.b.weight, before)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_only_the_parameters_that_match_are_trained():
    model = make()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    run(model, parameters=("head.*",))
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert changed == ["head.weight", "head.bias"]
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ConfigError, match=r"'tail.\*' matches none.*embed"):
        run(model, parameters=("tail.*",))


def test_a_loss_sees_the_noise_of_its_examples_and_its_steps():
    seen = []

    def loss(model, batch, rng, step):
        seen.append((rng.rows, rng.normal((2,), stream="z", step=step)))
        return Loss(-model.log_prob(*batch).mean())

    run(config=replace(SHORT, steps=5), loss=loss)
    first = dict(zip(seen[0][0].tolist(), seen[0][1], strict=True))
    again = dict(zip(seen[3][0].tolist(), seen[3][1], strict=True))
    shared = first.keys() & again.keys()
    assert shared
    assert not any(torch.equal(first[i], again[i]) for i in shared)


def test_the_loss_on_valid_is_that_of_the_last_step():
    seen = []

    def loss(model, batch, rng, step):
        if not model.training:
            seen.append(step)
        return Loss(-model.log_prob(*batch).mean())

    run(config=replace(SHORT, eval_every=15, evaluate="loss"), loss=loss)
    assert set(seen) == {SHORT.steps}


def test_the_best_weights_on_valid_are_kept():
    config = replace(SHORT, steps=60, lr=0.3, eval_every=5)
    model, result = run(config=replace(config, keep_best=True))
    last, _ = run(config=config)
    x = data().split("valid").x
    with torch.no_grad():
        value, end = (-float(m.log_prob(x).double().mean()) for m in (model, last))
    assert value == pytest.approx(result.value, abs=1e-5)
    assert value < end
    assert result.best_step < result.steps == 60


def test_patience_stops_a_training_that_does_not_improve():
    config = replace(SHORT, steps=200, lr=0.0, eval_every=2, patience=3)
    _, result = run(config=config)
    assert result.stopped_early
    assert result.steps == 2 * (1 + 3)


def test_the_log_holds_losses_and_scores_as_json_lines(tmp_path):
    run(config=replace(SHORT, eval_every=15), out=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["event"] == "train"]
    assert [line["step"] for line in train] == [10, 20, 30]
    assert all(math.isfinite(line["loss"]) and line["terms"]["nats"] > 0 for line in train)
    assert [line["step"] for line in lines if line["event"] == "valid"] == [15, 30]


def test_progress_is_silent_where_there_is_no_terminal(capfd):
    zoo.train(make(), data(), SHORT, progress=True)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_loss_that_is_not_finite_stops_before_it_does_harm(tmp_path):
    def loss(model, batch, rng, step):
        nll = -model.log_prob(*batch).mean()
        return Loss(nll * (math.nan if step == 7 else 1.0), {"nats": nll.detach()})

    model = make()
    with pytest.raises(DivergenceError) as caught:
        run(model, replace(SHORT, checkpoint_every=5), loss=loss, out=tmp_path)
    text = str(caught.value)
    assert "step 7" in text
    assert "'model'" in text
    assert "nats = " in text
    assert str(tmp_path / "checkpoint.safetensors") in text
    assert all(p.isfinite().all() for p in model.parameters())


def test_an_infinite_gradient_of_a_finite_loss_is_refused_too():
    def loss(model, batch, rng, step):
        return Loss((model.head.weight.sum() * 0).sqrt())

    model = make()
    with pytest.raises(DivergenceError, match=r"loss is 0 and its gradient's norm"):
        run(model, loss=loss)
    assert all(p.isfinite().all() for p in model.parameters())


def test_an_output_folder_with_a_checkpoint_is_not_overwritten(tmp_path):
    run(out=tmp_path)
    with pytest.raises(OutputError, match="resume"):
        run(out=tmp_path)


def test_an_unwritable_output_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run(out=tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, r"train.steps = 0 is out of range; it must lie in \[1,"),
        ({"lr": "fast"}, "train.lr = 'fast'; it must be of type float"),
        ({"lr": math.nan}, "finite"),
        ({"optimizer": "adamm"}, "unknown optimizer 'adamm'. Did you mean adam"),
        ({"schedule": "cos"}, "unknown schedule 'cos'"),
        ({"optimizer_options": 3}, "must be a table"),
        ({"schedule_options": {"half": 1}}, "unknown option constant.half; options: none"),
        ({"schedule": "exponential"}, "final"),
        ({"keep_best": True}, "eval_every"),
        ({"ema": 1.0}, "out of range"),
    ],
)
def test_configs_out_of_range_or_of_the_wrong_type_are_refused(values, message):
    with pytest.raises((ConfigError, zoo.UnknownNameError), match=message):
        zoo.TrainConfig(**values)


def test_unknown_players_and_options_are_refused():
    with pytest.raises(ConfigError, match=r"unknown player 'modle'.*Did you mean model"):
        run(players={"modle": {"lr": 0.1}})
    with pytest.raises(ConfigError, match="unknown option players.model.steps"):
        for_player(SHORT, "model", {"steps": 3})


def test_data_and_batches_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"train.batch_size = 41; it must lie in \[1, 40\]"):
        run(config=replace(SHORT, batch_size=41))
    with pytest.raises(DataError, match=r"0\.\.2.*0\.\.3"):
        zoo.train(make(), data(event=zoo.Event((6,), levels=4)), SHORT)
    model = make()
    model.condition = zoo.Condition("classes", classes=3)
    with pytest.raises(DataError, match="needs a class"):
        zoo.train(model, data(), SHORT)


def test_several_losses_without_a_likelihood_choose_no_best():
    config = replace(SHORT, eval_every=5, keep_best=True)
    with pytest.raises(ConfigError, match="no likelihood but 2 players"):
        run(make(Duel), config, loss=lambda *_: None)


def test_a_launchers_precision_must_be_the_configs(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(zoo.ZooError, match="fp16"):
        run()


def test_ten_lines_of_a_users_own_train_a_model():
    from zoo_core.training.losses import NLL

    model, x = make(), data().split("train").x
    players = model.players(NLL())
    optimizers = {name: torch.optim.Adam(p.parameters, lr=0.05) for name, p in players.items()}
    losses = []
    for step in range(60):
        rows = torch.randperm(len(x))[:16]
        for name, player in players.items():
            loss = player.loss((x[rows], None), zoo.Rng(0, rows), step)
            optimizers[name].zero_grad()
            loss.total.backward()
            optimizers[name].step()
            losses.append(loss.total.item())
    assert sum(losses[-5:]) < sum(losses[:5]) - 5
