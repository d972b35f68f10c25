"""`zoo compare --study toy`: the families on data with known p(x), with equal budgets.

Two tasks: a mixture of 8 Gaussians in the plane, and the Ising model. For each, every installed
family that brings a recipe `<arch>.toy_mixture` or `<arch>.toy_ising` trains one model: as many
parameters as the others (to within 10 %, by the recipe; a difference is pointed out), and as many
CPU seconds, which a short calibration turns into steps. Then each is compared with the truth:

    log p known:   gap = E_p[log p(x) - log q(x)], which is KL(p || q) if log q is exact, more if
                   it is a lower bound
    samples alone: the energy E_q[log p(x)] against E_p[log p(x)], modes or magnetization

A model over cells (a grid over the plane) is a density that is constant in each cell.

Shapes: N events, D values.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zoo_core.building import build
from zoo_core.catalog.registry import ModelInfo, current
from zoo_core.data import load_dataset
from zoo_core.data.batches import labelled
from zoo_core.data.dataset import Dataset
from zoo_core.data.toys import Gaussians
from zoo_core.errors import UnknownNameError, UsageError
from zoo_core.evaluation.feature_set import Estimate
from zoo_core.evaluation.speed import first_image, timed_sample
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.training.validation import has_likelihood
from zoo_core.uncertainty import finite_or_null
from zoo_core.workflows.calibrated import calibrated_steps, run_stage, without_validation
from zoo_core.workflows.recipe import Recipe, load_recipe
from zoo_core.workflows.study_statistics import Statistic, statistics

__all__ = [
    "MINUTES",
    "TASKS",
    "Study",
    "Task",
    "TaskResult",
    "candidates",
    "run_study",
]

MINUTES = 0.5
_SAMPLES = 1_000
_TOLERANCE = 0.10


@dataclass(frozen=True, eq=False)
class TaskResult:
    """A candidate trained on a task, compared with the truth."""

    name: str
    family: str
    density: str
    parameters: int
    steps: int
    cpu_seconds: float
    kind: str
    relation: str | None
    gap: Estimate | None
    statistics: list[Statistic]
    seconds_per_sample: float
    first_sample_seconds: float
    evaluations: int | None
    samples: Tensor
    """Points in the plane (N, 2), or images (N, 1, L, L)."""


@dataclass(frozen=True, eq=False)
class Task:
    """A data set with a known distribution, and the results of the candidates on it.

    `absent` are the families that bring no recipe tagged `tag`.
    """

    tag: str
    title: str
    data: Dataset
    results: list[TaskResult]
    absent: list[str]


@dataclass(frozen=True, eq=False)
class Study:
    """The results of the study, and where the budgets were not equal."""

    tasks: list[Task]
    minutes: float
    seed: int
    seconds: float
    warnings: list[str]

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "minutes": self.minutes,
            "seed": self.seed,
            "seconds": self.seconds,
            "warnings": self.warnings,
            "problems": [
                {
                    "tag": p.tag,
                    "title": p.title,
                    "absent": p.absent,
                    "outcomes": [_record(o) for o in p.results],
                }
                for p in self.tasks
            ],
        }


TASKS = {
    "toy_mixture": ("8 Gaussians in the plane (sd 0.2)", "gaussians", {"sd": 0.2}),
    "toy_ising": ("the Ising model, 8x8, coupling 0.4", "ising", {}),
}


def candidates(tag: str, preferred: Sequence[str] | None = None) -> dict[str, ModelInfo]:
    """One model per family for a task: a preferred architecture, else the first by name."""
    chosen: dict[str, ModelInfo] = {}
    for info in current().list_models(f"*.{tag}"):
        prefer = preferred is not None and info.spec.arch in preferred
        if info.tag is not None and info.tag.recipe and (prefer or info.spec.family not in chosen):
            chosen[info.spec.family] = info
    return chosen


def run_study(
    preferred: Sequence[str] | None = None,
    *,
    minutes: float = MINUTES,
    samples: int = _SAMPLES,
    seed: int = 0,
    progress: bool = False,
) -> Study:
    """Train one model per family on each task and compare it with the truth.

    `preferred` are architectures to take instead of the first of their family; `minutes` are CPU
    minutes of training per model.
    """
    if not 0 < minutes <= 60:
        raise UsageError(f"minutes = {minutes}; give CPU minutes for each model, up to 60.")
    archs = {i.spec.arch for tag in TASKS for i in current().list_models(f"*.{tag}")}
    for arch in preferred or ():
        if arch not in archs:
            raise UnknownNameError(
                f"{arch!r} has no recipe for the study.", hint=f"of: {', '.join(sorted(archs))}"
            )
    start = time.perf_counter()
    tasks = [_task(tag, preferred, minutes, samples, seed, progress) for tag in TASKS]
    notes = [note for p in tasks for note in _warnings(p)]
    return Study(tasks, minutes, seed, time.perf_counter() - start, notes)


def _task(
    tag: str, preferred: Sequence[str] | None, minutes: float, n: int, seed: int, progress: bool
) -> Task:
    title, name, options = TASKS[tag]
    truth = load_dataset(name, **options)
    chosen = candidates(tag, preferred)
    results = [
        _train_and_measure(info, truth, minutes, n, seed, progress) for info in chosen.values()
    ]
    families = {e.spec.family for e in current().models}
    return Task(tag, title, truth, results, sorted(families - chosen.keys()))


def _train_and_measure(
    info: ModelInfo, truth: Dataset, minutes: float, n: int, seed: int, progress: bool
) -> TaskResult:
    assert info.tag is not None and info.tag.recipe is not None
    recipe = load_recipe(info.tag.recipe)
    data = load_dataset(recipe.data, **recipe.data_options)
    model = _fresh(recipe, seed)
    steps, seconds = _train(model, data, recipe, minutes, seed, progress)
    kind, relation, gap = _gap(model, data, truth, seed)
    timed = timed_sample(model, n, seed=seed)
    first, evaluations = first_image(model, seed=seed)
    points = _in_the_plane(timed.x, data, truth, seed)
    return TaskResult(
        info.spec.arch,
        info.spec.family,
        info.spec.density,
        sum(p.numel() for p in model.parameters()),
        steps,
        seconds,
        kind,
        relation,
        gap,
        statistics(points, truth),
        timed.seconds / n,
        first,
        evaluations,
        points,
    )


def _fresh(recipe: Recipe, seed: int) -> GenerativeModel:
    spec = current().model(recipe.arch).spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec, recipe.model)


def _train(
    model: GenerativeModel,
    data: Dataset,
    recipe: Recipe,
    minutes: float,
    seed: int,
    progress: bool,
) -> tuple[int, float]:
    """Train for as many steps as fit into the CPU minutes; returns them with the seconds taken."""
    stage = recipe.stages[0]
    config = replace(stage.train, seed=seed)
    steps = calibrated_steps(model, data, stage, config, 60 * minutes)
    start = time.process_time()
    run_stage(model, data, stage, without_validation(config, steps), progress)
    return steps, time.process_time() - start


def _gap(
    model: GenerativeModel, data: Dataset, truth: Dataset, seed: int
) -> tuple[str, str | None, Estimate | None]:
    """Kind and relation of the likelihood, and the mean of log p - log q over the test split."""
    if not has_likelihood(model):
        return "none", None, None
    assert truth.truth is not None
    x, cond = labelled(model, data.split("test").batch())
    ll = model.log_likelihood(x, cond=cond, seed=seed).to("cpu")
    if not ll.kind.comparable:
        return str(ll.kind), ll.kind.relation, None
    log_q = ll.nats - _log_volume(data, truth)
    gap = truth.truth(truth.split("test").batch()[0]) - log_q
    return str(ll.kind), ll.kind.relation, Estimate.mean_of(gap)


def _log_volume(data: Dataset, truth: Dataset) -> float:
    """log of a cell's area if the model is over cells and the truth over points, else 0."""
    if data.event.levels is None or truth.event.levels is not None:
        return 0.0
    return data.event.dims * math.log(2 * Gaussians().half / data.event.levels)


def _in_the_plane(x: Tensor, data: Dataset, truth: Dataset, seed: int) -> Tensor:
    """Samples as events of the truth: a uniform draw from each cell."""
    if data.event.levels is None or truth.event.levels is not None:
        return x
    half, u = Gaussians().half, Rng(seed, len(x)).uniform((2,), stream="study/cell")
    return ((x.reshape(-1, 2) + u) / data.event.levels * 2 - 1) * half


def _warnings(task: Task) -> list[str]:
    """Budgets that are not equal after all."""
    warnings = []
    for what in ("parameters", "cpu_seconds"):
        sizes = sorted((getattr(o, what), o.name) for o in task.results)
        if len(sizes) > 1 and sizes[-1][0] > (1 + _TOLERANCE) * sizes[0][0]:
            (a, small), (b, large) = sizes[0], sizes[-1]
            warnings.append(
                f"{task.title}: {what.replace('_', ' ')} differ by more than 10 %: "
                f"{small} has {a:,.0f}, {large} {b:,.0f}"
            )
    return warnings


def _record(o: TaskResult) -> dict[str, Any]:
    kept = {k: v for k, v in vars(o).items() if k not in ("samples", "statistics", "gap")}
    statistics = [finite_or_null(asdict(s)) for s in o.statistics]
    return {**kept, "gap": o.gap and o.gap.record(), "statistics": statistics}
