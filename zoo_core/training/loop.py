"""The training loop: rounds of players over seeded batches, evaluated, logged, checkpointed.

A step's batch, noise and dropout depend on (seed, step) alone, so a resumed training continues
to the same bits (on the CPU) as one that never stopped.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor
from tqdm import tqdm

from zoo_core.catalog import components as resolve
from zoo_core.contracts import Diagnoses
from zoo_core.data.batches import check_fit
from zoo_core.data.dataset import Dataset
from zoo_core.errors import ConfigError, OutputError, UsageError
from zoo_core.model import GenerativeModel
from zoo_core.sampling import evaluating
from zoo_core.text import printable
from zoo_core.training import state
from zoo_core.training.config import TrainConfig
from zoo_core.training.data import check_batch_size
from zoo_core.training.distributed import Processes, check_launcher
from zoo_core.training.fingerprint import fingerprint
from zoo_core.training.log import JsonLines, postfix
from zoo_core.training.optim import averaged
from zoo_core.training.players import Actor, make_actors, trainable
from zoo_core.training.signals import termination_deferred
from zoo_core.training.start import start
from zoo_core.training.state import Progress
from zoo_core.training.step import NonFiniteError, Report, optimize
from zoo_core.training.validation import Valid, by_likelihood, by_loss, scores_by_likelihood

__all__ = ["TrainResult", "check", "train"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """How a training went; the model itself holds the weights to use.

    `best_step` is the step those weights are of. `valid` is their score where there was one.
    """

    steps: int
    best_step: int
    value: float | None
    seconds: float
    stopped_early: bool
    checkpoint: Path | None


def train(
    model: GenerativeModel,
    dataset: Dataset,
    config: TrainConfig | None = None,
    *,
    loss: Any = None,
    players: Mapping[str, Mapping[str, Any]] | None = None,
    parameters: Sequence[str] = ("*",),
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> TrainResult:
    """Train a model in place on the `train` split; `valid` is for choices, `test` is not read.

    `loss` is a registered name or an object, by default the architecture's own. `players` are
    options of single players over `config`, `parameters` shell patterns of what is trained.
    With `out`, a checkpoint and a log are written there, and `resume` continues from them. The
    model ends in evaluation mode with its averaged weights (`ema`), or the best (`keep_best`).
    """
    config = config or TrainConfig()
    if resume and out is None:
        raise UsageError(
            "resume needs the folder to continue from.", hint="give out=...", command="--out"
        )
    check_fit(model, dataset)
    check_launcher(config.precision)
    processes = Processes(model.device)
    processes.share(model.to(processes.device))
    objective = resolve.loss(model, loss, {})
    with trainable(model, parameters), _forked(model.device):
        actors = make_actors(model, objective, config, players or {})
        run = _Run(model, dataset, config, objective, actors, processes)
        marks = fingerprint(model, dataset, objective, config, players or {}, parameters)
        run.open(None if out is None else Path(out), marks, resume=resume)
        if resume and run.at.step == 0 and processes.main:
            _logger.info("no checkpoint in %s: starting at step 0", printable(str(out)))
        run.go(progress)
        return run.finish()


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
        actors = make_actors(model, loss, config, players)
        _Run(model, dataset, config, loss, actors, Processes(model.device))


def _refuse_checkpoint(out: Path | None, *, resume: bool) -> None:
    if out is not None and (out / state.CHECKPOINT).exists() and not resume:
        raise OutputError(
            f"{out} holds the checkpoint of a training.",
            hint="continue it with resume=True (--resume), or choose another folder",
        )


class _Run:
    """One training under way."""

    def __init__(
        self,
        model: GenerativeModel,
        data: Dataset,
        config: TrainConfig,
        objective: Any,
        actors: Sequence[Actor],
        processes: Processes,
    ) -> None:
        self.model, self.config, self.actors, self.processes = model, config, actors, processes
        self.split = data.split("train")
        check_batch_size(config.batch_size, len(self.split.x), processes.world)
        self.valid = data.split("valid") if config.eval_every else None
        self.objective, self.warned = objective, set[str]()
        self.shown = data.splits.get("valid", self.split)
        self.likelihood = config.evaluate == "likelihood" and scores_by_likelihood(model)
        if (config.keep_best or config.patience) and not self.likelihood and len(actors) > 1:
            raise ConfigError(
                "keep_best and patience need one score, and this model has no likelihood but "
                f"{len(actors)} players' losses.",
                hint="set train.keep_best = false and train.patience = 0",
            )
        self.at = Progress()

    def open(self, out: Path | None, marks: Mapping[str, Any], *, resume: bool) -> None:
        """Start, or continue from the checkpoint in `out`."""
        self.marks = marks
        self.checkpoint = None if out is None else out / state.CHECKPOINT
        _refuse_checkpoint(out, resume=resume)
        if self.checkpoint is not None and self.checkpoint.exists():
            self.at = state.load(
                self.checkpoint, self.model, self.actors, marks, steps=self.config.steps
            )
        if self.at.step == 0:
            start(self.model, self.actors, self.split, self.processes)
        if self.checkpoint is not None and self.processes.main:
            state.clean(self.checkpoint)
        if self.processes.agree(self.at.step) != self.at.step:  # also: all have looked by now
            raise OutputError(
                f"{out} holds another checkpoint for process {self.processes.rank} than for the "
                "main one.",
                hint="choose a folder that all processes share",
            )
        log = out / "log.jsonl" if out is not None and self.processes.main else None
        self.log = JsonLines(log, keep=self.at.step)

    def go(self, progress: bool) -> None:
        """The loop; SIGTERM ends it after a step, and the process after a checkpoint."""
        self.model.train()
        config, total = self.config, self.config.steps
        hide = None if progress and self.processes.main else True
        with (
            self._termination() as ended,
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
                if last or due or self.at.stopped or ended():
                    self._save()
                bar.update()
                if ended():
                    break
        if self.at.step < total and not self.at.stopped:
            raise KeyboardInterrupt  # a handler of the program's own has let it live

    def _termination(self) -> AbstractContextManager[Callable[[], bool]]:
        """Of several processes none can leave the others waiting: they end at once."""
        return termination_deferred() if self.processes.world == 1 else nullcontext(lambda: False)

    def finish(self) -> TrainResult:
        """Leave the model with the weights to use."""
        at = self.at
        if at.best:
            self.model.load_state_dict(at.best)
        else:
            for ema in self._emas():
                ema.swap()
        self.model.zero_grad(set_to_none=True)
        self.model.eval()
        best = at.best_step if at.best else at.step
        return TrainResult(at.step, best, at.best_value, at.seconds, at.stopped, self.checkpoint)

    def _round(self) -> Iterator[Report]:
        """Every player whose turn it is takes its steps."""
        for actor in self.actors:
            for step in actor.steps(self.at.step):
                try:
                    yield optimize(
                        self.model, actor, self.actors, self.split, step, self.processes
                    )
                except NonFiniteError as error:
                    raise self._stopped(error) from None

    def _evaluate(self) -> None:
        """Score the averaged weights on `valid`; the main process decides for all."""
        scored = self._scored() if self.processes.main else None
        value = self.processes.agree(None if scored is None else scored.value)
        at = self.at
        if _better(value, at.best_value):
            at.best_step, at.best_value, at.since_best = at.step, value, 0
            if self.config.keep_best:
                with averaged(self._emas()):
                    at.best = _copy(self.model)
        else:
            at.since_best += 1
        at.stopped = bool(self.config.patience) and at.since_best >= self.config.patience
        if scored is not None:
            best = at.best_step == at.step
            self.log.write(step=at.step, event="valid", best=best, **scored.record())
            _logger.info("step %d: valid %s", at.step, scored)

    def _scored(self) -> Valid:
        assert self.valid is not None
        with averaged(self._emas()):
            if self.likelihood:
                return by_likelihood(self.model, self.valid)
            return by_loss(
                self.model,
                self.valid,
                {a.name: a.player for a in self.actors},
                seed=self.config.seed,
                batch_size=self.config.batch_size,
                step=self.config.steps,
            )

    def _report(self, reports: Sequence[Report], bar: "tqdm[Any]") -> None:
        terms = {"loss": 0.0}
        for report in reports:
            self.log.write(step=self.at.step, event="train", **report.record())
            name = "loss" if len(self.actors) == 1 else report.player
            terms |= {name: report.loss} | report.terms
        postfix(bar, terms, self.model.event.dims)

    def _diagnose(self) -> None:
        """Log what the loss says of the averaged weights; a warning is logged once."""
        if not (isinstance(self.objective, Diagnoses) and self.processes.main):
            return
        with averaged(self._emas()), evaluating(self.model):
            found = self.objective.diagnose(self.model, self.shown)
        self.log.write(step=self.at.step, event="diagnosis", **found.record())
        if found.warning and found.warning not in self.warned:
            self.warned.add(found.warning)
            _logger.warning("step %d: %s", self.at.step, printable(found.warning))

    def _save(self) -> None:
        if self.checkpoint is not None and self.processes.main:
            state.save(self.checkpoint, self.model, self.actors, self.at, self.marks)
            self.log.write(step=self.at.step, event="checkpoint", seconds=self.at.seconds)

    def _stopped(self, error: NonFiniteError) -> NonFiniteError:
        where = "no checkpoint was written"
        if self.checkpoint is not None and self.checkpoint.exists():
            where = f"the last checkpoint is {self.checkpoint}"
        return NonFiniteError(
            f"training stopped in step {self.at.step}: {error.message} Nothing was updated by "
            f"it; {where}.",
            hint=error.hint,
            command=error.command,
        )

    def _emas(self) -> list[Any]:
        return [a.ema for a in self.actors if a.ema is not None]


def _better(value: float | None, best: float | None) -> TypeGuard[float]:
    """Whether a score is the best so far: NaN, which is never lower, and infinity are none."""
    return value is not None and math.isfinite(value) and (best is None or value < best)


def _copy(model: torch.nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}


@contextmanager
def _forked(device: torch.device) -> Iterator[None]:
    """Torch's generators come back as they were: training seeds them anew in each step."""
    devices = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    with torch.random.fork_rng(devices=devices):
        yield
