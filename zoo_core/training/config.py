"""`TrainConfig`: the options of one training. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from zoo_core import config as configs
from zoo_core.config import Range
from zoo_core.errors import ConfigError

__all__ = ["PLAYER_OPTIONS", "TrainConfig", "for_player"]

_Count = Annotated[int, Range(0, 1 << 31)]
_Positive = Annotated[int, Range(1, 1 << 31)]

PLAYER_OPTIONS = (
    "optimizer",
    "lr",
    "betas",
    "eps",
    "weight_decay",
    "schedule",
    "warmup",
    "final",
    "clip",
    "ema",
)
"""Fields that a player may override."""


@dataclass(frozen=True)
class TrainConfig:
    """Options of one training. A step is one round of all players; 0 turns an option off.

    The learning rate rises linearly over `warmup` optimizer steps and then follows `schedule`
    down to `final * lr`. `clip` bounds the global norm of a player's gradient. `ema` is the decay
    of the averaged weights with which the model is evaluated and saved. `accumulate` splits each
    batch to save memory: gradients are those of the whole batch, but what a model or loss computes
    over a batch (batch normalization, stratified noise levels) is computed per microbatch.

    Every `eval_every` steps and at the end the validation split is scored, by the model's default
    likelihood or by the mean of its loss; `keep_best` returns the weights that scored best, and
    `patience` stops after that many evaluations in a row without an improvement.
    """

    steps: _Positive = 1000
    batch_size: _Positive = 64
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: Annotated[float, Range(0, 10)] = 1e-3
    betas: Annotated[tuple[float, float], Range(0, 0.999999)] = (0.9, 0.999)
    eps: Annotated[float, Range(0, 1)] = 1e-8
    weight_decay: Annotated[float, Range(0, 10)] = 0.0
    schedule: Literal["constant", "cosine", "linear", "exponential"] = "constant"
    warmup: _Count = 0
    final: Annotated[float, Range(0, 1)] = 0.0
    clip: Annotated[float, Range(0, 1e9)] = 0.0
    ema: Annotated[float, Range(0, 0.999999)] = 0.0
    accumulate: _Positive = 1
    precision: Literal["no", "bf16"] = "no"
    seed: Annotated[int, Range(0, (1 << 63) - 1)] = 0
    eval_every: _Count = 0
    evaluate: Literal["likelihood", "loss"] = "likelihood"
    keep_best: bool = False
    patience: _Count = 0
    checkpoint_every: _Count = 0
    log_every: _Positive = 50

    def __post_init__(self) -> None:
        configs.validate(self, where="train.")
        if self.schedule == "exponential" and self.final == 0:
            raise ConfigError(
                "train.final = 0 cannot be reached by an exponential schedule.",
                hint="set train.final, e.g. 0.01, or train.schedule = 'cosine'",
            )
        for name in ("keep_best", "patience"):
            if getattr(self, name) and not self.eval_every:
                raise ConfigError(
                    f"train.{name} needs evaluations, and train.eval_every is 0.",
                    hint="set train.eval_every, e.g. 500",
                )


def for_player(config: TrainConfig, name: str, options: Mapping[str, Any]) -> TrainConfig:
    """The config of one player: `[players.<name>]` over `[train]`; raises `ConfigError`."""
    where = f"players.{name}."
    for key in options:
        if key not in PLAYER_OPTIONS:
            raise ConfigError(
                f"unknown option {where}{key}; options: {', '.join(PLAYER_OPTIONS)}.",
                hint="the other options of [train] apply to all players",
            )
    return configs.from_dict(TrainConfig, {**configs.to_dict(config), **options}, where=where)
