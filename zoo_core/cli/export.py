"""`zoo export`: a model's function as a program that runs without this package."""

from pathlib import Path

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import Count, OutFile, hub_options
from zoo_core.cli.printing import show

__all__ = ["command"]


@click.command("export", cls=Command, example="zoo export made.digits --out made.pt2")
@click.argument("name", shell_complete=complete("tags"))
@click.option(
    "--out",
    required=True,
    type=OutFile(),
    metavar="FILE",
    help="A .pt2 file, which torch.export.load reads, or an .onnx file.",
)
@click.option(
    "--batch",
    type=Count,
    default=2,
    show_default=True,
    metavar="N",
    help="Batch size of a program whose model fixes it; others take any.",
)
@hub_options()
@click.pass_obj
def command(settings: Settings, name: str, out: Path, batch: int) -> None:
    """Write log_prob, the denoiser or the generator of NAME as a program in plain torch or ONNX.

    The program holds the weights. It checks no arguments and draws nothing: sampling from a
    denoiser is a loop around it.
    """
    from zoo_core.cli.models import load
    from zoo_core.workflows.export import any_batch, function_of, write_program

    model = load(settings, name)
    function = function_of(model)
    program = write_program(model, out, batch=batch)
    size = None if any_batch(program) else batch
    value = {"out": str(out), "model": name, "function": function, "batch": size}
    of = "batches of any size" if size is None else f"batches of {size}"
    show(settings, value, [f"{function} of {name} in {out}, for {of}"])
