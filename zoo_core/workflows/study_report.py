"""The study of the families as text, Markdown and one self-contained page."""

from collections.abc import Iterator
from html import escape

import numpy as np
from torch import Tensor

from zoo_core.data.pictures import grid
from zoo_core.evaluation import charts
from zoo_core.evaluation.feature_set import Estimate
from zoo_core.evaluation.report import page
from zoo_core.text import table
from zoo_core.uncertainty import plus_minus
from zoo_core.workflows.study import Study, Task, TaskResult

__all__ = ["html", "markdown", "text"]

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


def markdown(study: Study) -> str:
    """For the documentation."""
    lines = [f"# {_TITLE}", "", _how(study), ""]
    for task in study.tasks:
        lines += [f"## {_heading(task)}", ""]
        lines += _markdown_table(_HEADER, [_row(o) for o in task.results])
        lines += ["", "What the samples show, beside the same of the test split:", ""]
        lines += _markdown_table(*_statistics(task))
        lines += ["", *_absent(task), ""]
    lines += [f"- {note}" for note in _notes(study)]
    return "\n".join(lines).strip() + "\n"


def html(study: Study) -> str:
    """One page, with the samples and the trade-off as pictures."""
    return page(_TITLE, list(_body(study)))


def _body(study: Study) -> Iterator[str]:
    yield f'<p class="note">{escape(_how(study))}</p>'
    for note in _notes(study):
        yield f'<p class="warn">{escape(note)}</p>'
    for task in study.tasks:
        yield f"<h2>{escape(_heading(task))}</h2>"
        yield _html_table(_HEADER, [_row(o) for o in task.results])
        yield from (f'<p class="note">{escape(line)}</p>' for line in _absent(task))
        yield "<h2>Samples</h2><div class='grids'>"
        yield _figure(task.data.split("test").batch()[0], "the truth")
        yield from (_figure(o.samples, o.name) for o in task.results)
        yield "</div><h2>What they show</h2>"
        yield _html_table(*_statistics(task))
        yield from _trade_off(task)


def _trade_off(task: Task) -> Iterator[str]:
    """A chart of the samples' energy against the time per sample, with the truth's energy."""
    energies = [(o, o.statistics[0]) for o in task.results]
    if not energies:
        return
    points = [
        charts.Point(o.name, 1e3 * o.seconds_per_sample, s.value.value, s.value.std_err)
        for o, s in energies
    ]
    truth = energies[0][1].truth.value
    yield "<h2>Quality against sampling time</h2>"
    yield charts.scatter(
        points, x_label="ms a sample", y_label=energies[0][1].name, lines=[("truth", truth)]
    )


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


def _markdown_table(
    header: "list[str] | tuple[str, ...]", cells: list[tuple[str, ...]]
) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return lines + [
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in cells
    ]


def _html_table(header: "list[str] | tuple[str, ...]", cells: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in r)}</tr>" for r in cells)
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _figure(x: Tensor, caption: str) -> str:
    return (
        f'<figure><img alt="{escape(caption)}" src="{charts.data_uri(_picture(x))}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _picture(x: Tensor) -> np.ndarray:
    if x.ndim == 2:
        side = np.array([_PLANE, _PLANE])
        return charts.plane(x.double().numpy(), -side, side)
    return grid((255 * x[:_IMAGES].long()).byte(), 6, 6, 4)
