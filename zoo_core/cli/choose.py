"""`zoo choose`: which family serves data of your own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import Count, OutFile, settings_option
from zoo_core.cli.printing import fields, heading, remark, show, table

if TYPE_CHECKING:
    from zoo_core.workflows.choose import Choice

__all__ = ["command"]


@click.command("choose", cls=Command, example="zoo choose moons --minutes 0.5 --out report.html")
@click.argument("data", shell_complete=complete("data"))
@settings_option("an option of the data set", "--data-option", "data_options")
@click.option(
    "--minutes",
    type=float,
    default=2.0,
    show_default=True,
    metavar="M",
    help="CPU minutes of training for each family.",
)
@click.option("--samples", "n", type=Count, metavar="N", help="Samples of each model.")
@click.option("--bytes", "coded", type=Count, metavar="N", help="Also compress N events.")
@click.option("--out", type=OutFile(), metavar="FILE", help="Write a report: .html or .md.")
@click.pass_obj
def command(
    settings: Settings,
    data: str,
    data_options: dict[str, Any],
    minutes: float,
    n: int | None,
    coded: int | None,
    out: Path | None,
) -> None:
    """Train one model of each family that fits DATA, and say which serves what.

    All train for equal minutes. Choices are made on the split valid; test is read once, at the
    end, beside baselines and, with --bytes, codecs. A baseline that is ahead by two paired
    standard errors is recommended.
    """
    from zoo_core.cli.compare import check_report, write_reports
    from zoo_core.cli.models import check_device, dataset

    check_report(out)
    check_device(settings.device)
    from zoo_core.evaluation.report import COLUMNS, rows
    from zoo_core.workflows.choose import choose_models

    choice = choose_models(
        dataset(settings, data, data_options),
        minutes=minutes,
        seed=settings.seed or 0,
        coded=coded,
        n=n,
        progress=settings.progress,
    )
    for note in choice.comparison.warnings:
        remark(settings, f"not equal: {note}")
    write_reports(() if out is None else (out,), choice.comparison, choice.sections())
    text = table([name for name, _ in COLUMNS], rows(choice.comparison))
    show(settings, choice.record(), [*text, "", *_advice(choice)])


def _advice(choice: "Choice") -> list[str]:
    from zoo_core.evaluation.coded import lines

    coded = choice.comparison.coded
    told = [*lines(coded), ""] if coded else []
    for title, entries in choice.sections().items():
        told += [heading(title.lower()), *fields(entries), ""]
    return told[:-1]
