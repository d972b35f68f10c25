"""The study of the families as text for a terminal, and as a report."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from zoo_core.data.pictures import grid
from zoo_core.evaluation import charts
from zoo_core.evaluation.feature_set import Estimate
from zoo_core.evaluation.page import Page, Picture, Section, Table
from zoo_core.text import table
from zoo_core.uncertainty import plus_minus
from zoo_core.workflows.study import Study, Task, TaskResult

__all__ = ["report", "text"]

_TITLE = "The families on data with a known p(x), given equal means"
_HEADER = (
    "model",
    "family",
    "density",
    "log-likelihood",
    "gap to the truth, nats",
    "ms a sample",
    "NFE",
    "parameters",
    "steps",
    "CPU s",
)
_RELATIONS = {
    "equal": "= KL(p || q)",
    "lower": ">= KL(p || q)",
    "upper": "<= KL(p || q)",
    "estimate": "~ KL(p || q)",
}
_IMAGES = 36
_PLANE = 3.0


def text(study: Study) -> Iterator[str]:
    """For a terminal."""
    for task in study.tasks:
        yield ""
        yield task.title
        yield from table(_HEADER, [_row(o) for o in task.results])
        yield ""
        yield from table(*_statistics(task))
        yield from _absent(task)
    yield from _notes(study)


def report(study: Study) -> Page:
    """For the documentation, and as one page with the samples and the trade-off as pictures."""
    sections = [section for task in study.tasks for section in _sections(task)]
    return Page(_TITLE, [_how(study), *_notes(study)], sections=sections)


def _sections(task: Task) -> Iterator[Section]:
    yield Section(
        _heading(task),
        Table(_HEADER, [_row(o) for o in task.results]),
        pictures=lambda: [_picture(*named) for named in _samples(task)],
        notes=[*_absent(task)],
    )
    yield Section("What the samples show, beside the test split", Table(*_statistics(task)))
    yield from _trade_off(task)


def _samples(task: Task) -> Iterator[tuple[str, Tensor]]:
    yield "the truth", task.data.split("test").batch()[0]
    yield from ((o.name, o.samples) for o in task.results)


def _trade_off(task: Task) -> Iterator[Section]:
    """A chart of the samples' energy against the time per sample, with the truth's energy."""
    energies = [(o, o.statistics[0]) for o in task.results]
    if not energies:
        return
    points = [
        charts.Point(o.name, 1e3 * o.seconds_per_sample, s.value.value, s.value.std_err)
        for o, s in energies
    ]
    name, truth = energies[0][1].name, energies[0][1].truth.value
    told = "; ".join(f"{p.name} {p.y:.4g} at {p.x:.3g} ms" for p in points)

    def pictures() -> list[Picture]:
        chart = charts.scatter(
            points, x_label="ms a sample", y_label=name, lines=[("truth", truth)]
        )
        return [Picture(chart, f"{name} against ms a sample: {told}", is_chart=True)]

    yield Section("Quality against sampling time", pictures=pictures)


def _how(study: Study) -> str:
    return (
        f"One model of each family, trained for {study.minutes:g} CPU minutes each on one "
        f"thread, seed {study.seed}, with as many parameters as the others to within 10 %. The "
        "gap is the mean of log p(x) - log q(x) over the test split: KL(p || q) where log q is "
        "exact, and more than that where it is a bound. How many steps fit into the time depends "
        "on the machine, so numbers differ a little from one to another."
    )


def _row(o: TaskResult) -> tuple[str, ...]:
    return (
        o.name,
        o.family,
        o.density,
        o.kind,
        "-" if o.gap is None else f"{_number(o.gap)} {_RELATIONS.get(o.relation or '', '')}",
        f"{1e3 * o.seconds_per_sample:.3g}",
        "-" if o.evaluations is None else str(o.evaluations),
        f"{o.parameters:,}",
        f"{o.steps:,}",
        f"{o.cpu_seconds:.0f}",
    )


def _statistics(task: Task) -> tuple[list[str], list[tuple[str, ...]]]:
    """One row per statistic, one column per model, the truth first."""
    results = task.results
    names = [s.name for s in results[0].statistics] if results else []
    cells = [
        (
            name,
            _number(results[0].statistics[i].truth),
            *(_number(o.statistics[i].value) for o in results),
        )
        for i, name in enumerate(names)
    ]
    return ["samples", "truth", *(o.name for o in results)], cells


def _absent(task: Task) -> Iterator[str]:
    if task.absent:
        yield (
            f"No recipe for this task comes with: {', '.join(task.absent)}. A plugin joins "
            f"by bringing recipes/<arch>.{task.tag}.toml."
        )


def _notes(study: Study) -> Iterator[str]:
    yield from (f"Not equal: {warning}" for warning in study.warnings)
    yield (
        f"It took {study.seconds / 60:.1f} minutes, by: zoo compare --study toy "
        f"--minutes {study.minutes:g} --seed {study.seed}"
    )


def _heading(task: Task) -> str:
    return task.title[0].upper() + task.title[1:]


def _number(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} {plus_minus(estimate.std_err)}".replace("+-", "±")


def _picture(name: str, x: Tensor) -> Picture:
    if x.ndim == 2:
        side = np.array([_PLANE, _PLANE])
        picture = charts.plane(x.double().numpy(), -side, side)
        return Picture(charts.data_uri(picture), f"density of {len(x)} samples of {name}", name)
    picture = grid((255 * x[:_IMAGES].long()).byte(), 6, 6, 4)
    return Picture(charts.data_uri(picture), f"{_IMAGES} samples of {name} in a grid", name)
