"""`zoo compare --study toy`: the families on data whose p(x) is known, given equal means.

Two problems: a mixture of 8 Gaussians in the plane, and the Ising model. For each, every installed
family that brings a recipe `<arch>.toy_mixture` or `<arch>.toy_ising` trains one model: as many
parameters as the others (to within 10 %, by the recipe; a difference is pointed out), and as many
CPU seconds, which a short calibration turns into steps. Then each is held against the truth:

    log p known:   gap = E_p[log p(x) - log q(x)], which is KL(p || q) if log q is exact, more if
                   it is a lower bound
    samples alone: the energy E_q[log p(x)] against E_p[log p(x)], modes or magnetization

Models of cells (a grid over the plane) are densities that are constant in each cell.

Shapes: N events, D values.
"""

import math
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zoo_core.building import build
from zoo_core.catalog import components as resolve
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
from zoo_core.training.config import TrainConfig
from zoo_core.training.loop import train
from zoo_core.training.validation import scores_by_likelihood
from zoo_core.uncertainty import UNKNOWN, finite_or_null
from zoo_core.workflows.recipe import Recipe, Stage, load_recipe

__all__ = [
    "MINUTES",
    "PROBLEMS",
    "Outcome",
    "Problem",
    "Statistic",
    "Study",
    "contestants",
    "run_study",
]

MINUTES = 0.5
_SAMPLES = 1_000
_WARM_UP = 5
_CALIBRATION = 0.1
"""Part of the budget in which the time of a step is measured."""

_TOLERANCE = 0.10
_REACH = 4.0
"""Standard deviations from a mode within which a point is of it."""

_FOUND = 0.25
"""Part of its fair share from which on a mode counts as found."""


@dataclass(frozen=True)
class Statistic:
    """A number of the samples and of the truth."""

    name: str
    value: Estimate
    truth: Estimate


@dataclass(frozen=True, eq=False)
class Outcome:
    """One trained model, held against the truth."""

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
    """In the plane (N, 2), or images (N, 1, L, L)."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A data set with a known distribution, and what its families are called by."""

    tag: str
    title: str
    data: Dataset
    outcomes: list[Outcome]
    absent: list[str]


@dataclass(frozen=True, eq=False)
class Study:
    """What the study found."""

    problems: list[Problem]
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
                    "outcomes": [_record(o) for o in p.outcomes],
                }
                for p in self.problems
            ],
        }


PROBLEMS = {
    "toy_mixture": ("8 Gaussians in the plane (sd 0.2)", "gaussians", {"sd": 0.2}),
    "toy_ising": ("the Ising model, 8x8, coupling 0.4", "ising", {}),
}


def contestants(tag: str, wanted: Sequence[str] | None = None) -> dict[str, ModelInfo]:
    """The model of each family for a problem: the one that is wanted, else the first by name."""
    found: dict[str, ModelInfo] = {}
    for info in current().list_models(f"*.{tag}"):
        chosen = wanted is not None and info.spec.arch in wanted
        if info.tag is not None and info.tag.recipe and (chosen or info.spec.family not in found):
            found[info.spec.family] = info
    return found


def run_study(
    wanted: Sequence[str] | None = None,
    *,
    minutes: float = MINUTES,
    samples: int = _SAMPLES,
    seed: int = 0,
    progress: bool = False,
) -> Study:
    """Train and compare. `wanted` names architectures to prefer to the first of their family;
    `minutes` are CPU minutes of training for each model."""
    if not 0 < minutes <= 60:
        raise UsageError(f"minutes = {minutes}; give CPU minutes for each model, up to 60.")
    archs = {i.spec.arch for tag in PROBLEMS for i in current().list_models(f"*.{tag}")}
    for arch in wanted or ():
        if arch not in archs:
            raise UnknownNameError(
                f"{arch!r} has no recipe for the study.", hint=f"of: {', '.join(sorted(archs))}"
            )
    start = time.perf_counter()
    problems = [_problem(tag, wanted, minutes, samples, seed, progress) for tag in PROBLEMS]
    notes = [note for p in problems for note in _warnings(p)]
    return Study(problems, minutes, seed, time.perf_counter() - start, notes)


def _problem(
    tag: str, wanted: Sequence[str] | None, minutes: float, n: int, seed: int, progress: bool
) -> Problem:
    title, name, options = PROBLEMS[tag]
    truth = load_dataset(name, **options)
    found = contestants(tag, wanted)
    outcomes = [_outcome(info, truth, minutes, n, seed, progress) for info in found.values()]
    families = {e.spec.family for e in current().models}
    return Problem(tag, title, truth, outcomes, sorted(families - found.keys()))


def _outcome(
    info: ModelInfo, truth: Dataset, minutes: float, n: int, seed: int, progress: bool
) -> Outcome:
    assert info.tag is not None and info.tag.recipe is not None
    recipe = load_recipe(info.tag.recipe)
    data = load_dataset(recipe.data, **recipe.data_options)
    model = _fresh(recipe, seed)
    steps, seconds = _train(model, data, recipe, minutes, seed, progress)
    kind, relation, gap = _gap(model, data, truth, seed)
    timed = timed_sample(model, n, seed=seed)
    first, evaluations = first_image(model, seed=seed)
    points = _in_the_plane(timed.x, data, truth, seed)
    return Outcome(
        info.spec.arch,
        info.spec.family,
        info.spec.density,
        sum(p.numel() for p in model.parameters()),
        steps,
        seconds,
        kind,
        relation,
        gap,
        _statistics(points, truth),
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
    budget = 60 * minutes
    steps = max(1, int(budget / _seconds_a_step(model, data, stage, budget, seed)))
    start = time.process_time()
    _run(model, data, stage, _config(stage, steps, seed), progress)
    return steps, time.process_time() - start


def _seconds_a_step(
    model: GenerativeModel, data: Dataset, stage: Stage, budget: float, seed: int
) -> float:
    """CPU seconds of a step, measured on a copy of the model."""
    copy = deepcopy(model)

    def seconds(steps: int) -> float:
        began = time.process_time()
        _run(copy, data, stage, _config(stage, steps, seed), False)
        return time.process_time() - began

    seconds(_WARM_UP)
    first = seconds(_WARM_UP) / _WARM_UP
    steps = max(_WARM_UP, int(_CALIBRATION * budget / first))
    return seconds(steps) / steps


def _config(stage: Stage, steps: int, seed: int) -> TrainConfig:
    return replace(
        stage.train, steps=steps, seed=seed, eval_every=0, keep_best=False, patience=0,
        checkpoint_every=0, warmup=min(stage.train.warmup, steps // 4),
    )  # fmt: skip


def _run(
    model: GenerativeModel, data: Dataset, stage: Stage, config: TrainConfig, progress: bool
) -> None:
    objective = resolve.loss(model, stage.loss, stage.loss_options)
    train(model, data, config, loss=objective, players=stage.players, progress=progress)


def _gap(
    model: GenerativeModel, data: Dataset, truth: Dataset, seed: int
) -> tuple[str, str | None, Estimate | None]:
    """Kind and relation of the likelihood, and the mean of log p - log q over the test split."""
    if not scores_by_likelihood(model):
        return "none", None, None
    assert truth.truth is not None
    x, cond = labelled(model, data.split("test").batch())
    found = model.log_likelihood(x, cond=cond, seed=seed)
    log_q = found.nats - _log_volume(data, truth)
    gap = truth.truth(truth.split("test").x) - log_q
    return str(found.kind), found.kind.relation, Estimate.mean_of(gap)


def _log_volume(data: Dataset, truth: Dataset) -> float:
    """log of the size of a cell, where the model is of cells and the truth of points."""
    if data.event.levels is None or truth.event.levels is not None:
        return 0.0
    return data.event.dims * math.log(2 * Gaussians().half / data.event.levels)


def _in_the_plane(x: Tensor, data: Dataset, truth: Dataset, seed: int) -> Tensor:
    """Samples as events of the truth: a cell stands for an even draw of its points."""
    if data.event.levels is None or truth.event.levels is not None:
        return x
    half, u = Gaussians().half, Rng(seed, len(x)).uniform((2,), stream="study/cell")
    return ((x.reshape(-1, 2) + u) / data.event.levels * 2 - 1) * half


def _statistics(x: Tensor, truth: Dataset) -> list[Statistic]:
    """What samples show, beside the same of the test split."""
    held = truth.split("test").x
    measures = _plane_measures(truth) if truth.event.shape == (2,) else _lattice_measures(truth)
    return [Statistic(name, _mean(f(x)), _mean(f(held))) for name, f in measures.items()]


def _plane_measures(truth: Dataset) -> dict[str, Any]:
    toy = Gaussians(sd=0.2)
    assert truth.truth is not None

    def nearest(x: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.cdist(x.double(), toy.means).min(1)
        return found.values, found.indices

    def at_mode(x: Tensor) -> Tensor:
        return (nearest(x)[0] < _REACH * toy.noise).double()

    def inside(x: Tensor) -> Tensor:
        distance, mode = nearest(x)
        return mode[distance < _REACH * toy.noise]

    def shares(x: Tensor) -> Tensor:
        count = torch.bincount(inside(x), minlength=len(toy.means)).double()
        return count / count.sum().clamp(min=1)

    def balance(x: Tensor) -> Tensor:
        """sum_k min(share_k, 1/8) = 1 - total variation, as a mean over the points at modes."""
        share = shares(x)
        return (1 / len(toy.means) / share[inside(x)]).clamp(max=1.0)

    def found(x: Tensor) -> Estimate:
        return Estimate(float((shares(x) >= _FOUND / len(toy.means)).sum()), UNKNOWN)

    def squared_radius(x: Tensor) -> Tensor:
        distance, _ = nearest(x)
        return distance.square() / (2 * toy.noise**2)

    return {
        "energy, E[log p] (nats)": lambda x: truth.truth(x).clamp(min=-100.0),
        "within 4 sd of a mode": at_mode,
        f"modes, of {len(toy.means)}": found,
        "balance of the modes": balance,
        "width of the modes (1 is right)": squared_radius,
    }


def _lattice_measures(truth: Dataset) -> dict[str, Any]:
    assert truth.truth is not None

    def spins(x: Tensor) -> Tensor:
        return 2 * x.double() - 1

    def bonds(x: Tensor) -> Tensor:
        s = spins(x)
        across, down = s[..., :-1] * s[..., 1:], s[..., :-1, :] * s[..., 1:, :]
        return torch.cat((across.flatten(1), down.flatten(1)), 1).mean(1)

    def far(x: Tensor) -> Tensor:
        s = spins(x)
        return (s[..., :4] * s[..., 4:]).flatten(1).mean(1)

    return {
        "energy, E[log p] (nats)": truth.truth,
        "neighbours' correlation": bonds,
        "correlation 4 apart": far,
        "|magnetization|": lambda x: spins(x).mean((1, 2, 3)).abs(),
    }


def _mean(values: Tensor | Estimate) -> Estimate:
    return values if isinstance(values, Estimate) else Estimate.mean_of(values)


def _warnings(problem: Problem) -> list[str]:
    """Means that are not equal after all."""
    found = []
    for what in ("parameters", "cpu_seconds"):
        sizes = sorted((getattr(o, what), o.name) for o in problem.outcomes)
        if len(sizes) > 1 and sizes[-1][0] > (1 + _TOLERANCE) * sizes[0][0]:
            (a, small), (b, large) = sizes[0], sizes[-1]
            found.append(
                f"{problem.title}: {what.replace('_', ' ')} differ by more than 10 %: "
                f"{small} has {a:,.0f}, {large} {b:,.0f}"
            )
    return found


def _record(o: Outcome) -> dict[str, Any]:
    kept = {k: v for k, v in vars(o).items() if k not in ("samples", "statistics", "gap")}
    statistics = [finite_or_null(asdict(s)) for s in o.statistics]
    return {**kept, "gap": o.gap and o.gap.record(), "statistics": statistics}
