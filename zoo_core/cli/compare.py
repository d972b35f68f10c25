"""`zoo compare`: models side by side, in one table and one report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import (
    Count,
    OutFile,
    data_option,
    features_option,
    hub_options,
    metrics_option,
    refuse_unused,
    settings_option,
)
from zoo_core.cli.printing import remark, show, table
from zoo_core.errors import OutputError, UsageError

if TYPE_CHECKING:
    from zoo_core.evaluation.compare import Comparison
    from zoo_core.evaluation.report import Sections

__all__ = ["check_report", "command", "write_reports"]

_SUFFIXES = (".html", ".md")
_OF_MODELS = ("data", "data_options", "split", "n", "features", "scores", "limit", "coded")


@click.command(
    "compare",
    cls=Command,
    example="zoo compare made.digits glow.digits ddpm.digits --out report.html",
)
@click.argument("names", nargs=-1, metavar="MODEL...", shell_complete=complete("tags"))
@data_option("Data set (default: the one of the first model).")
@settings_option("an option of the data set", "--data-option", "data_options")
@click.option("--split", default="test", show_default=True, metavar="NAME", help="Its split.")
@click.option("--samples", "n", type=Count, metavar="N", help="Samples of each model.")
@features_option
@metrics_option
@click.option("--limit", type=Count, metavar="N", help="Score N events drawn by the seed.")
@click.option(
    "--out",
    multiple=True,
    type=OutFile(),
    metavar="FILE",
    help="Write a report: .html or .md (repeatable).",
)
@click.option(
    "--bytes",
    "coded",
    type=Count,
    metavar="N",
    help="Also compress N events by each model that can, and by PNG, WebP, zstd, ...",
)
@click.option(
    "--study",
    type=click.Choice(["toy"]),
    help="Train one model of each family on data with known p(x), and compare with the truth.",
)
@click.option(
    "--minutes", type=float, metavar="M", help="Of training for each model of the study."
)
@hub_options()
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    data: str | None,
    data_options: dict[str, Any],
    split: str,
    n: int | None,
    features: tuple[str, ...],
    scores: tuple[str, ...],
    limit: int | None,
    coded: int | None,
    out: tuple[Path, ...],
    study: str | None,
    minutes: float | None,
) -> None:
    """Measure every MODEL on the same events with the same seeds.

    Likelihoods are ranked only among those of the same events, kind and dequantization. Unequal
    parameters, data or training budgets are pointed out.
    """
    settings: Settings = ctx.obj
    for path in out:
        check_report(path)
    if study is not None:
        refuse_unused(ctx, "is not for a study", *_OF_MODELS)
        return _study(settings, names, minutes, out)
    refuse_unused(ctx, "is for a study (--study toy)", "minutes")
    if not names:
        raise UsageError("no model was named.", hint="zoo compare made.digits glow.digits")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{', '.join(twice)} is named twice.", hint="name each model once")
    from zoo_core.weights.locate import find

    locations = {name: find(name, settings.access) for name in names}  # before torch is imported
    folders = {name: location.folder for name, location in locations.items()}
    from zoo_core.cli.models import dataset, load
    from zoo_core.evaluation.compare import budget_of, compare
    from zoo_core.workflows.verification import data_of

    events = (
        dataset(settings, data, data_options)
        if data is not None
        else data_of(folders[names[0]], **data_options)
    )
    result = compare(
        [(name, load(settings, name, location)) for name, location in locations.items()],
        events,
        split=split,
        budgets={name: budget_of(folder) for name, folder in folders.items()},
        seed=settings.seed or 0,
        progress=settings.progress,
        n=n,
        features=features or None,
        scores=scores or None,
        limit=limit,
        coded=coded,
    )
    write_reports(out, result)
    _print(settings, result)


def _print(settings: Settings, comparison: "Comparison") -> None:
    from zoo_core.evaluation.coded import lines
    from zoo_core.evaluation.report import COLUMNS, rows

    for warning in comparison.warnings:
        remark(settings, f"not equal: {warning}")
    for entry in comparison.entries:
        for note in entry.notes:
            remark(settings, f"{entry.name}: {note}")
    text = table([name for name, _ in COLUMNS], rows(comparison))
    text += ["", *lines(comparison.coded)] if comparison.coded else []
    show(settings, comparison.record(), text)


def check_report(path: Path | None) -> None:
    """Raise `OutputError` for a file that is no report."""
    if path is not None and path.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"{path} has suffix {path.suffix!r}; it must be .html or .md.")


def write_reports(
    paths: tuple[Path, ...], comparison: "Comparison", sections: "Sections | None" = None
) -> None:
    """Write a comparison as pages or Markdown, by the files' suffixes."""
    from zoo_core.evaluation.report import html, markdown
    from zoo_core.files import write_atomically

    for path in paths:
        write = html if path.suffix.lower() == ".html" else markdown
        text = write(comparison, sections or {})
        write_atomically(path, text.encode())


def _study(
    settings: Settings, names: tuple[str, ...], minutes: float | None, out: tuple[Path, ...]
) -> None:
    """Run the study and write its own report, which includes the truth."""
    from zoo_core.files import write_atomically
    from zoo_core.workflows.study import MINUTES, run_study
    from zoo_core.workflows.study_report import html, markdown, text

    study = run_study(
        names or None,
        minutes=minutes or MINUTES,
        seed=settings.seed or 0,
        progress=settings.progress,
    )
    for path in out:
        report = html(study) if path.suffix.lower() == ".html" else markdown(study)
        write_atomically(path, report.encode())
    show(settings, study.record(), text(study))
