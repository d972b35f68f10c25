"""What the processes of `test_distributed.py` run; it is launched by torch's own launcher."""

import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import nn

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.data.dataset import Dataset, Split
from zoo_core.plugin import Loss, Player, batch_mean
from zoo_core.testing.subjects import tiny

EVENT = zoo.Event((5,))
N = 45


@dataclass(frozen=True)
class Config:
    hidden: int = 8


class Game(zoo.GenerativeModel):
    """A generator against a critic with unequal schedules, a lazy penalty and batch statistics."""

    def __init__(self, config: Config | None = None) -> None:
        config = config or Config()
        super().__init__(config, EVENT)
        self.generator = nn.Linear(3, 5)
        self.critic = nn.Sequential(
            nn.Linear(5, config.hidden, bias=False),
            nn.BatchNorm1d(config.hidden),
            nn.SiLU(),
            nn.Dropout(0.3),
        )
        self.value = nn.Linear(config.hidden, 1)
        self.scale = nn.Parameter(torch.ones(()))  # used by the lazy penalty alone

    @torch.no_grad()
    def data_dependent_init(self, batch, rng):
        assert len(batch[0]) == len(rng) == 16  # on every process
        start = batch[0].mean(0) + rng.normal((5,), stream="s").mean(0)
        self.generator.bias.copy_(start)

    def make_players(self, loss):
        def score(x):
            return self.value(self.critic(x))

        def fake(rng, step):
            z = rng.normal((3,), stream="z", step=step).to(self.dtype)
            return self.generator(z)

        def penalty(x):
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
            return batch_mean(slope.square().sum(1)).sqrt()  # no mean of each part's

        def critic(batch, rng, step):
            total = (score(fake(rng, step)) - score(batch[0])).sigmoid().mean()
            if step % 2 == 0:
                total = total + self.scale.square() * penalty(batch[0])
            return Loss(total, {"total": total})

        def generator(batch, rng, step):
            return Loss(-score(fake(rng, step)).mean())

        ours = [*self.critic.parameters(), *self.value.parameters(), self.scale]
        return {
            "critic": Player(ours, critic, steps=2),
            "generator": Player(list(self.generator.parameters()), generator, every=2),
        }


CONFIG = zoo.TrainConfig(
    steps=12,
    batch_size=15,
    accumulate=2,
    lr=0.02,
    clip=0.5,
    ema=0.9,
    eval_every=4,
    evaluate="loss",
    checkpoint_every=6,
    log_every=1,
)

TEN = zoo.TrainConfig(steps=10, batch_size=15, accumulate=2, lr=1e-3)
FIRST = zoo.TrainConfig(steps=1, batch_size=15, optimizer="sgd")

CASES = {
    "made": ("made", {"dropout": 0.2}, None),
    "glow": ("glow", {}, None),
    "free_bits": ("hvae", {}, ("elbo", {"free_bits": 0.4})),
    "dcgan": ("dcgan", {}, None),
    "wgan_gp": ("wgan_gp", {}, None),
    "ddpm": ("ddpm", {}, None),
    "transport": ("flow_matching", {}, ("flow_matching", {"coupling": "optimal_transport"})),
}
"""Architecture, config, and loss: what is drawn or computed over the whole batch."""


def model_of(case: str) -> zoo.GenerativeModel:
    arch, options, _ = CASES.get(case, (case, {}, None))
    spec = current().model(arch).spec
    torch.manual_seed(0)
    return tiny(replace(spec, tiny=tuple({**dict(spec.tiny), **options}.items())))


def loss_of(model: zoo.GenerativeModel, case: str):
    from zoo_core.catalog import components

    name, options = CASES.get(case, (None, None, None))[2] or (None, {})
    return components.loss(model, name, options)


def data_of(model: zoo.GenerativeModel) -> Dataset:
    event, condition = model.event, model.condition
    drawn = torch.Generator().manual_seed(1)
    shape = (N, *event.shape)
    if event.discrete:
        x = torch.randint(event.levels, shape, generator=drawn)
    else:
        x = torch.rand(shape, generator=drawn, dtype=torch.float64)
    y = None if condition.kind == "none" else torch.arange(N) % condition.classes
    return Dataset("toy", event, condition, {"train": Split(x, y)}, "none", "drawn here")


def trained(case: str) -> dict[str, torch.Tensor]:
    """The state of a tiny model after ten steps in float64."""
    model = model_of(case).double()
    zoo.train(model, data_of(model), TEN, loss=loss_of(model, case))
    return model.state_dict()


class Stepped(Exception):
    """The first optimizer step is about to be taken."""


def first_gradient(case: str) -> dict[str, torch.Tensor]:
    """The first player's gradients in float32, by their place."""
    gradients = {}

    def step(optimizer, closure=None):
        for i, p in enumerate(optimizer.param_groups[0]["params"]):
            if p.grad is not None:
                gradients[str(i)] = p.grad.clone()
        raise Stepped

    model = model_of(case)
    with patch.object(torch.optim.SGD, "step", step), contextlib.suppress(Stepped):
        zoo.train(model, data_of(model), FIRST, loss=loss_of(model, case))
    return gradients


def play(out: Path, seed: int = 0, config=CONFIG, *, resume=False, data_seed=1, hidden=8):
    """The game, from parameters that may differ between processes."""
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(data_seed)).double() + 1
    splits = {"train": Split(x[:40]), "valid": Split(x[40:])}
    data = Dataset("toy", EVENT, zoo.Condition(), splits, "none", "drawn here")
    torch.manual_seed(seed)
    model = Game(Config(hidden)).double()
    zoo.train(model, data, config, loss=lambda *_: None, out=out, resume=resume)
    return model.state_dict()


def together(out: Path, cases: list[str]) -> None:
    """Trainings whose results are compared with those of one process."""
    rank = int(os.environ["RANK"])
    for case in cases:
        save(out / f"{case}.ten.{rank}.safetensors", trained(case))
        save(out / f"{case}.first.{rank}.safetensors", first_gradient(case))
    save(out / f"game.{rank}.safetensors", play(out / "game", seed=rank))
    half = replace(CONFIG, steps=6)
    play(out / "half", config=half)
    refusals(out, rank)


def refusals(out: Path, rank: int) -> None:
    """Processes that are not of one training."""
    messages = {}
    for name, options in {
        "data": {"data_seed": 1 + rank},
        "batch": {"config": replace(CONFIG, batch_size=15 + rank)},
        "model": {"hidden": 8 + rank},
        "step": {"config": replace(CONFIG, accumulate=14)},
    }.items():
        try:
            play(out / f"refused.{name}", **options)
        except zoo.ZooError as error:
            messages[name] = error.message
    (out / f"refusals.{rank}.json").write_text(json.dumps(messages))


def save(path: Path, state: dict[str, torch.Tensor]) -> None:
    save_file({k: v.contiguous().clone() for k, v in state.items()}, path)


def lonely(scenario: str, out: Path) -> None:
    """Trainings that end otherwise than by their last step."""
    config = replace(CONFIG, steps=1 << 30, eval_every=0, checkpoint_every=0)
    if scenario == "out_of_time":
        config = replace(config, max_seconds=1.0)  # the processes' clocks differ
    if scenario == "full_disk":
        config = replace(config, checkpoint_every=3)
        with patch("zoo_core.training.state.save", full_disk):
            play(out, config=config)
    if scenario == "main_hangs":
        config = replace(config, checkpoint_every=3)
        with patch("zoo_core.training.state.save", stop):
            play(out, config=config)
    play(out, config=config)


def full_disk(path: Path, *args) -> None:
    raise zoo.OutputError(f"{path} cannot be written (No space left on device).")


def stop(*args) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    import two_processes  # not as __main__: a checkpoint states the class of its model

    first, *rest = sys.argv[1:]
    if first == "--":
        two_processes.lonely(rest[0], Path(rest[1]))
    else:
        two_processes.together(Path(first), rest[0].split(","))
