"""`TrainConfig`: the options of one training. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from zoo_core import config as configs
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import OptimizerSpec, ScheduleSpec, import_target
from zoo_core.config import Range
from zoo_core.errors import ConfigError

__all__ = ["EXTENDABLE", "OptimizerConfig", "TrainConfig", "component", "for_player"]

_Count = Annotated[int, Range(0, 1 << 31)]
_Positive = Annotated[int, Range(1, 1 << 31)]

EXTENDABLE = (
    "steps",
    "eval_every",
    "checkpoint_every",
    "log_every",
    "patience",
    "max_seconds",
    "workers",
    "eval_limit",
)
"""Options that a resumed training may change: none of them changes a step already taken."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How parameters are updated: the options in which the players of a training may differ.

    `optimizer` and `schedule` are names of registered components. The learning rate rises linearly
    over `warmup` optimizer steps and then follows `schedule` down to `final * lr`. Their own
    options are `optimizer_options`, e.g. {"momentum": 0.9} of sgd, and `schedule_options`. `clip`
    bounds the global norm of the gradient, and `ema` is the decay of the averaged weights with
    which the model is evaluated and saved; 0 turns each off.
    """

    optimizer: str = "adamw"
    lr: Annotated[float, Range(0, 10)] = 1e-3
    betas: Annotated[tuple[float, float], Range(0, 0.999999)] = (0.9, 0.999)
    eps: Annotated[float, Range(0, 1)] = 1e-8
    weight_decay: Annotated[float, Range(0, 10)] = 0.0
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = "constant"
    warmup: _Count = 0
    final: Annotated[float, Range(0, 1)] = 0.0
    schedule_options: Mapping[str, Any] = field(default_factory=dict)
    clip: Annotated[float, Range(0, 1e9)] = 0.0
    ema: Annotated[float, Range(0, 0.999999)] = 0.0

    def __post_init__(self) -> None:
        configs.validate(self, where="train.")
        current().optimizers.one(self.optimizer)
        schedule = current().schedules.one(self.schedule).spec
        component(schedule, self, ("final",), self.schedule_options)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(OptimizerConfig):
    """Options of one training. A step is one round of all players; 0 turns an option off.

    `accumulate` splits each batch to save memory: gradients are those of the whole batch, but what
    a model or loss computes over a batch (batch normalization, stratified noise levels) is
    computed per microbatch.

    Every `eval_every` steps and at the end the validation split is scored, by the model's default
    likelihood or by the mean of its loss; `keep_best` returns the weights that scored best, and
    `patience` stops after that many evaluations in a row without an improvement. After
    `max_seconds` of one call, a training ends at the next step with a checkpoint, from which
    `resume` goes on. `eval_limit` scores at most so many events, drawn by the seed; 0: all.

    `workers` processes read and transform batches ahead of time, which changes none of them; with
    0, the training does it itself.
    """

    steps: _Positive = 1000
    batch_size: _Positive = 64
    accumulate: _Positive = 1
    precision: Literal["no", "bf16"] = "no"
    seed: Annotated[int, Range(0, (1 << 63) - 1)] = 0
    eval_every: _Count = 0
    evaluate: Literal["likelihood", "loss"] = "likelihood"
    keep_best: bool = False
    patience: _Count = 0
    checkpoint_every: _Count = 0
    log_every: _Positive = 50
    max_seconds: Annotated[float, Range(0, 1e9)] = 0.0
    workers: Annotated[int, Range(0, 256)] = 0
    eval_limit: _Count = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("keep_best", "patience"):
            if getattr(self, name) and not self.eval_every:
                raise ConfigError(
                    f"train.{name} needs evaluations, and train.eval_every is 0.",
                    hint="set train.eval_every, e.g. 500",
                )


def for_player(config: TrainConfig, name: str, options: Mapping[str, Any]) -> TrainConfig:
    """The config of one player: `[players.<name>]` over `[train]`; raises `ConfigError`."""
    shared = {f.name: getattr(config, f.name) for f in fields(OptimizerConfig)}
    own = configs.from_dict(OptimizerConfig, {**shared, **options}, where=f"players.{name}.")
    return replace(config, **vars(own))


def component(
    spec: OptimizerSpec | ScheduleSpec,
    config: OptimizerConfig,
    shared: tuple[str, ...],
    options: Mapping[str, Any],
) -> Any:
    """The optimizer or schedule of a spec, with its options from the config and its own.

    Of the options `shared` by many, those that it has are passed on; the others do not concern it
    (`betas` of sgd, `final` of a constant rate).
    """
    cls = import_target(spec.target)
    known = {f.name for f in fields(cls)}
    values = {name: getattr(config, name) for name in shared if name in known}
    return configs.from_dict(cls, {**values, **options}, where=f"{spec.name}.")
