"""`zoo convert`: third-party checkpoints into safetensors files or model folders."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.catalog.names import HubName
from zoo_core.catalog.references import parse_model
from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import check_place, hub_options, refuse_unused, settings_option
from zoo_core.cli.printing import remark, show
from zoo_core.errors import OutputError, UsageError
from zoo_core.files import expanded

if TYPE_CHECKING:
    from zoo_core.weights.third_party import Foreign

__all__ = ["command"]


@click.command("convert", cls=Command, example="zoo convert checkpoint.pt weights.safetensors")
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--converter",
    metavar="NAME",
    help="How its names map onto an architecture's.",
    shell_complete=complete("converters"),
)
@settings_option("an option of the converter")
@click.option("--license", "licence", default="unstated", help="Licence of the weights.")
@click.option("--memory", type=click.IntRange(1), metavar="MB", help="Memory to read a pickle in.")
@click.option("--seconds", type=click.IntRange(1), default=600, help="Time to read a pickle in.")
@hub_options("revision", "token", "cache-dir", "endpoint")
@click.pass_context
def command(
    ctx: click.Context,
    source: str,
    out: Path,
    converter: str | None,
    options: dict[str, Any],
    licence: str,
    memory: int | None,
    seconds: int,
) -> None:
    """Convert SOURCE, a checkpoint's path or hf://org/name, and write OUT.

    With --converter OUT is a model's folder. Without it SOURCE is one file, and OUT a
    .safetensors file with the same names. Pickles (.bin, .pt, .ckpt) are read in a process of
    their own, without running what they hold.
    """
    from zoo_core.building import convert
    from zoo_core.weights import third_party

    settings: Settings = ctx.obj
    if converter is None:
        refuse_unused(ctx, "is for a model's folder, made with --converter", "options", "licence")
    if not source.startswith("hf://"):
        refuse_unused(ctx, "is for a repository on the Hub", "revision")
    path, files, origin = _path(settings, source)
    limits: dict[str, Any] = {"memory": None if memory is None else memory << 20}
    limits["seconds"] = seconds
    converter_remarks: list[str] = []
    if converter is None:
        checkpoint = _plain(path, out, {"files": files, **limits})
        value, done = {"out": str(out)}, f"wrote {out}"
    else:
        checkpoint = third_party.read(path, files=files, **limits)
        model = convert(checkpoint, converter, options, say=converter_remarks.append)
        model.origin = origin
        model.save(out, license=licence, source=source, converter=converter)
        value, done = {"out": str(out), "arch": model.spec.arch}, f"{model.spec.arch} in {out}"
    remarks = [*checkpoint.remarks, *converter_remarks]
    for text in remarks:
        remark(settings, text)
    show(settings, {**value, "remarks": remarks}, [done])


def _path(settings: Settings, source: str) -> tuple[Path, list[str] | None, str | None]:
    """The checkpoint's path, its verified files if it comes from the Hub, and its origin."""
    if not source.startswith("hf://"):
        return expanded(source), None, None
    from zoo_core.catalog.layout import third_party_files
    from zoo_core.weights.hub.snapshot import snapshot

    name = parse_model(source)
    if not isinstance(name, HubName):
        raise UsageError(f"{source!r} is no repository.")
    revision = name.revision or settings.access.revision
    got = snapshot(
        name.repo,
        lambda names: third_party_files(names, pickles=True),
        settings.access,
        revision=revision,
    )
    return got.folder, [file.path for file in got.files], got.name


def _plain(path: Path, out: Path, options: dict[str, Any]) -> "Foreign":
    """Convert one file to safetensors under the same tensor names; returns what was read."""
    from zoo_core.files import atomic_path
    from zoo_core.weights import third_party
    from zoo_core.weights.tensors import write_tensors

    if out.suffix != ".safetensors":
        raise OutputError(
            f"{out} is no .safetensors file.", hint="name one, or --converter for a model's folder"
        )
    check_place(out)
    checkpoint = third_party.read(path, **options)
    if len(checkpoint.tensors) != 1:
        raise UsageError(
            f"{path} holds several checkpoints: {', '.join(checkpoint.tensors)}.",
            hint="name one file of them",
        )
    with atomic_path(out) as temporary:
        write_tensors(next(iter(checkpoint.tensors.values())), temporary)
    return checkpoint
