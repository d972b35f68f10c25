"""The training loop: rounds of players over seeded batches, with validation and checkpoints.

The batch, noise and dropout of a step depend on (seed, step) alone, so on the CPU a resumed
training gives the same bits as one that never stopped.
"""

import logging
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor
from tqdm import tqdm

from zoo_core.catalog import components as resolve
from zoo_core.compat import renamed_arguments
from zoo_core.contracts import Diagnoses, Diagnosis
from zoo_core.data.batches import check_fit
from zoo_core.data.conversion import as_dataset
from zoo_core.data.dataset import Dataset
from zoo_core.errors import OutputError, UsageError
from zoo_core.model import GenerativeModel
from zoo_core.modes import being_trained, evaluating
from zoo_core.nn.whole_batch import whole_batch_layers
from zoo_core.text import printable
from zoo_core.training import state
from zoo_core.training.config import TrainConfig
from zoo_core.training.distributed import ProcessGroup, check_launcher
from zoo_core.training.fingerprint import fingerprint, leaves
from zoo_core.training.initialization import initialize
from zoo_core.training.log import JsonLines, show_terms
from zoo_core.training.optim import averaged_weights, swap
from zoo_core.training.players import make_trainers, trainable
from zoo_core.training.setup import Setup
from zoo_core.training.signals import deferred_sigterm
from zoo_core.training.state import Progress
from zoo_core.training.step import DivergenceError, Shared, StepReport, optimizer_step
from zoo_core.training.validation import (
    ValidationScore,
    validate_by_likelihood,
    validate_by_loss,
)

__all__ = ["TrainResult", "check", "train"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """Steps, score and duration of a training; the model itself holds the weights to use.

    `best_step` is the step that those weights are of, `value` their validation score if there is
    one, `seconds` the time of the steps.
    """

    steps: int
    best_step: int
    value: float | None
    seconds: float
    stopped_early: bool
    checkpoint: Path | None
    timed_out: bool = False
    """Whether it ended by `max_seconds`, before its last step."""


@renamed_arguments(dataset="data")
def train(
    model: GenerativeModel,
    data: Any,
    config: TrainConfig | None = None,
    *,
    transforms: Any = (),
    loss: Any = None,
    players: Mapping[str, Mapping[str, Any]] | None = None,
    parameters: Sequence[str] = ("*",),
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> TrainResult:
    """Train a model in place on the `train` split; `valid` is for choices, `test` is not read.

    `data` is a `Dataset`, the name or path of one, or what `as_dataset` takes: an array (N, *S), a
    pair (x, y), a map-style data set of torch or Hugging Face, an object with `len` and
    `batch(rows)`. `transforms` are applied to its batches, e.g. `["flip", {"shift": 2}]`.

    `loss` is a registered name or an object, by default the architecture's own. `players` are
    options of single players that override `config`; `parameters` are shell patterns of the
    parameters to train. With `out`, a checkpoint and a log are written to that folder, and
    `resume` continues from them, also with more steps or other intervals (`EXTENDABLE`).
    `progress` shows a bar on stderr, if that is a terminal. The model ends in evaluation mode with
    its averaged weights (`ema`), or the best (`keep_best`). Raises `UsageError` to resume without
    `out`, and `DataError` for data that do not fit the model.

        result = train(model, "folder:pictures", TrainConfig(steps=2000, lr=3e-4), out="run")
    """
    config = config or TrainConfig()
    if resume and out is None:
        raise UsageError(
            "resume needs the folder to continue from.", hint="give out=...", command="--out"
        )
    dataset = _dataset(model, data, transforms)
    check_fit(model, dataset)
    model.condition = model.condition.called_as(dataset.condition)
    check_launcher(config.precision)
    group = ProcessGroup(model.device)
    model.to(group.device)
    objective = resolve.loss(model, loss, {})
    with (
        trainable(model, parameters),
        _preserved_rng(model.device),
        group.watched(),
        being_trained(model),
        whole_batch_layers(model) if group.world_size > 1 else nullcontext(),
    ):
        trainers = make_trainers(model, objective, config, players or {})
        identity = fingerprint(model, dataset, objective, config, players or {}, parameters)
        group.agree({**leaves(identity), "resume": resume})
        group.broadcast_parameters(model)
        folder = None if out is None else Path(out)
        setup = Setup(model, dataset, config, objective, trainers, group)
        return _Run(setup, folder, identity, resume=resume).run(progress)


def _dataset(model: GenerativeModel, data: Any, transforms: Any) -> Dataset:
    """Data as a data set; arrays and other examples are taken for events of the model."""
    if isinstance(data, str | Dataset):
        return as_dataset(data, transforms=transforms)
    return as_dataset(data, event=model.event, condition=model.condition, transforms=transforms)


def check(
    model: GenerativeModel,
    dataset: Dataset,
    config: TrainConfig,
    *,
    loss: Any,
    players: Mapping[str, Mapping[str, Any]],
    parameters: Sequence[str],
    out: Path,
    resume: bool,
) -> None:
    """Raise what `train` would raise before its first step, and change nothing."""
    check_fit(model, dataset)
    check_launcher(config.precision)
    _refuse_checkpoint(out, resume=resume)
    with trainable(model, parameters):
        trainers = make_trainers(model, loss, config, players)
        Setup(model, dataset, config, loss, trainers, ProcessGroup(model.device))


def _refuse_checkpoint(out: Path | None, *, resume: bool) -> None:
    if out is not None and (out / state.CHECKPOINT).exists() and not resume:
        raise OutputError(
            f"{out} holds the checkpoint of a training.",
            hint="continue it with resume=True (--resume), or choose another folder",
        )


class _Run:
    """One training: created at its first step or at the checkpoint in `out`, then run once."""

    def __init__(
        self,
        setup: Setup,
        out: Path | None,
        identity: Mapping[str, Any],
        *,
        resume: bool,
    ) -> None:
        self.setup, self.identity = setup, identity
        self.model, self.config, self.group = setup.model, setup.config, setup.group
        self.trainers, self.shown_warnings = setup.trainers, set[str]()
        self.timed_out = False
        self.checkpoint = None if out is None else out / state.CHECKPOINT
        _refuse_checkpoint(out, resume=resume)
        self.at = self._start()
        if resume and self.at.step == 0 and self.group.is_main:
            _logger.info("no checkpoint in %s: starting at step 0", printable(str(out)))
        steps = self.group.gather(self.at.step)  # and a barrier: all have loaded
        if others := [rank for rank, step in enumerate(steps) if step != steps[0]]:
            raise OutputError(
                f"{out} holds another checkpoint for process {others[0]} than for the main one.",
                hint="choose a folder that all processes share",
            )
        self.shared = Shared.of(setup, range(self.at.step, self.config.steps))
        log = out / "log.jsonl" if out is not None and self.group.is_main else None
        self.log = JsonLines(log, keep=self.at.step)

    def _start(self) -> Progress:
        """Restore the checkpoint if there is one; otherwise initialize from data."""
        at = Progress()
        if self.checkpoint is not None and self.checkpoint.exists():
            at = state.load(
                self.checkpoint,
                self.model,
                self.trainers,
                self.identity,
                steps=self.config.steps,
            )
            at.stopped = self._out_of_patience(at)
        if at.step == 0:
            initialize(
                self.model, self.setup.objective, self.trainers, self.setup.split, self.group
            )
        if self.checkpoint is not None and self.group.is_main:
            state.remove_partial_files(self.checkpoint)
        return at

    def run(self, progress: bool) -> TrainResult:
        """Take the remaining steps and leave the model with the weights to use."""
        self._loop(progress)
        return self._finish()

    def _loop(self, progress: bool) -> None:
        """The loop; SIGTERM ends it after a step, and the process after a checkpoint."""
        self.model.train()
        config, total = self.config, self.config.steps
        begun, ended = time.monotonic(), False
        hide = None if progress and self.group.is_main else True
        with (
            deferred_sigterm() as terminated,
            tqdm(total=total, initial=self.at.step, unit="step", disable=hide) as bar,
        ):
            while self.at.step < total and not self.at.stopped:
                started = time.monotonic()
                reports = list(self._round())
                self.at.step += 1
                last = self.at.step == total
                if last or self.at.step % config.log_every == 0:
                    self._report(reports, bar)
                    self._diagnose()
                if config.eval_every and (last or self.at.step % config.eval_every == 0):
                    self._evaluate()
                self.at.seconds += time.monotonic() - started
                due = config.checkpoint_every and self.at.step % config.checkpoint_every == 0
                late = bool(config.max_seconds) and time.monotonic() - begun >= config.max_seconds
                late, ended = self.group.any(late, terminated())
                self.timed_out = late and not (last or self.at.stopped)
                if last or due or self.at.stopped or self.timed_out or ended:
                    self._save()
                bar.update()
                if self.timed_out or ended:
                    break
            if ended and not terminated():
                signal.raise_signal(signal.SIGTERM)  # which another process received
        if self.at.step < total and not self.at.stopped and not self.timed_out:
            raise KeyboardInterrupt  # the program's own SIGTERM handler did not end it

    def _out_of_patience(self, at: Progress) -> bool:
        return bool(self.config.patience) and at.since_best >= self.config.patience

    def _finish(self) -> TrainResult:
        at = self.at
        if at.best:
            self.model.load_state_dict(at.best)
        else:
            swap(self.model, self._emas())
        self.model.zero_grad(set_to_none=True)
        self.model.eval()
        best = at.best_step if at.best else at.step
        return TrainResult(
            at.step,
            best,
            at.best_value,
            at.seconds,
            at.stopped,
            self.checkpoint,
            self.timed_out,
        )

    def _round(self) -> Iterator[StepReport]:
        """Each player whose turn it is takes its steps."""
        for trainer in self.trainers:
            for step in trainer.steps(self.at.step):
                try:
                    yield optimizer_step(self.shared, trainer, step)
                except DivergenceError as error:
                    raise self._stopped(error) from None

    def _evaluate(self) -> None:
        """Score the averaged weights on `valid`; each process takes a part of it."""
        score = self._validate()
        at, value = self.at, score.value
        if _better(value, at.best_value):
            at.best_step, at.best_value, at.since_best = at.step, value, 0
            if self.config.keep_best:
                with averaged_weights(self.model, self._emas()):
                    at.best = _copy(self.model)
        else:
            at.since_best += 1
        at.stopped = self._out_of_patience(at)
        if self.group.is_main:
            best = at.best_step == at.step
            self.log.write(step=at.step, event="valid", best=best, **score.record())
            _logger.info("step %d: valid %s", at.step, score)

    def _validate(self) -> ValidationScore:
        valid, config = self.setup.valid, self.config
        assert valid is not None
        with averaged_weights(self.model, self._emas()):
            if self.setup.by_likelihood:
                return validate_by_likelihood(
                    self.model, valid, self.group, limit=config.eval_limit, seed=config.seed
                )
            return validate_by_loss(
                self.model,
                valid,
                {a.name: a.player for a in self.trainers},
                self.group,
                seed=config.seed,
                batch_size=config.batch_size,
                step=config.steps,
                limit=config.eval_limit,
            )

    def _report(self, reports: Sequence[StepReport], bar: "tqdm[Any]") -> None:
        terms = {"loss": 0.0}
        for report in reports:
            self.log.write(step=self.at.step, event="train", **report.record())
            name = "loss" if len(self.trainers) == 1 else report.player
            terms |= {name: report.loss} | report.terms
        show_terms(bar, terms, self.model.event)

    def _diagnose(self) -> None:
        """Log the loss's diagnosis of the averaged weights; a warning is logged once."""
        objective = self.setup.objective
        if not isinstance(objective, Diagnoses):
            return
        diagnosis = self.group.on_main(lambda: self._diagnosis(objective))
        if not self.group.is_main:
            return
        self.log.write(step=self.at.step, event="diagnosis", **diagnosis.record())
        if diagnosis.warning and diagnosis.warning not in self.shown_warnings:
            self.shown_warnings.add(diagnosis.warning)
            _logger.warning("step %d: %s", self.at.step, printable(diagnosis.warning))

    def _diagnosis(self, objective: Diagnoses) -> Diagnosis:
        with averaged_weights(self.model, self._emas()), evaluating(self.model):
            return objective.diagnose(self.model, self.setup.diagnosed)

    def _save(self) -> None:
        if self.checkpoint is not None:
            self.group.on_main(self._write_checkpoint)

    def _write_checkpoint(self) -> None:
        assert self.checkpoint is not None
        state.save(self.checkpoint, self.model, self.trainers, self.at, self.identity)
        self.log.write(step=self.at.step, event="checkpoint", seconds=self.at.seconds)

    def _stopped(self, error: DivergenceError) -> DivergenceError:
        where = "no checkpoint was written"
        if self.checkpoint is not None and self.checkpoint.exists():
            where = f"the last checkpoint is {self.checkpoint}"
        return DivergenceError(
            f"training stopped in step {self.at.step}: {error.message} Nothing was updated by "
            f"it; {where}.",
            hint=error.hint,
            command=error.command,
        )

    def _emas(self) -> list[Any]:
        return [a.ema for a in self.trainers if a.ema is not None]


def _better(value: float | None, best: float | None) -> TypeGuard[float]:
    """Whether a score is finite and lower than the best so far."""
    return value is not None and math.isfinite(value) and (best is None or value < best)


def _copy(model: torch.nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}


@contextmanager
def _preserved_rng(device: torch.device) -> Iterator[None]:
    """Restore torch's generators after the block: training reseeds them in each step."""
    devices = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    with torch.random.fork_rng(devices=devices):
        yield
