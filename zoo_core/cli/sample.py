"""`zoo sample`: draw events from a model into a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import (
    OutFile,
    batch_size,
    check_shards,
    hub_options,
    sampler_option,
    settings_option,
    shard_options,
)
from zoo_core.cli.printing import remark, show
from zoo_core.errors import DataError, OutputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from zoo_core.contracts import Sampler
    from zoo_core.spaces import Event

__all__ = ["command"]

_SUFFIXES = (".png", ".npz")
_TRACES = (".png", ".gif")
_MAX_SAMPLES = (1 << 32) - 1
"""Sample indices have 32 bits."""
_FLOAT_BYTES = 3.5
"""Size of a float32 after compression."""
_MIN_INTEGER_BYTES = 1 / 1032
"""Size of a small integer after compression by deflate's best ratio."""
_LARGE = 1 << 30
"""Files larger than this many bytes are announced."""


@click.command(
    "sample",
    cls=Command,
    example="zoo sample gated_pixelcnn.digits -n 64 --out digits.png",
)
@click.argument("name", shell_complete=complete("tags"))
@click.option(
    "-n", type=click.IntRange(1, _MAX_SAMPLES), default=16, show_default=True, metavar="N"
)
@click.option(
    "--out",
    type=OutFile(),
    metavar="FILE",
    help="A .png picture or an .npz file (default: samples.png, or .npz for what is no picture).",
)
@sampler_option
@settings_option("an option of the sampler")
@click.option(
    "--cond",
    metavar="C",
    help="Condition: a class by number or name (3), classes in turn (0,1,2), parts by name "
    "(group=food,style=noto), or an .npy file with one row an event.",
)
@click.option(
    "--fixed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Known values to complete: an .npz file with arrays values and mask (for what counts, "
    "see docs/design.md, Completion).",
)
@click.option(
    "--trace",
    type=OutFile(),
    metavar="FILE",
    help="Show how events come about: a .png strip of steps or a .gif animation.",
)
@shard_options
@batch_size
@hub_options()
@click.pass_obj
def command(
    settings: Settings,
    name: str,
    n: int,
    out: Path | None,
    sampler: str | None,
    options: dict[str, Any],
    cond: str | None,
    fixed: Path | None,
    trace: Path | None,
    shards: int | None,
    shard: int | None,
    batch_size: int | None,
) -> None:
    """Draw N events from the model NAME and write them with what they were made by.

    Event i depends on the seed and i alone, not on N or the batch size. An .npz file is written
    batch by batch, so any N fits into memory. With --shards, FILE is a folder of numbered .npz
    files, which is a data set.
    """
    part = check_shards(shards, shard)
    if out is not None and shards is None:
        _check_path(out, _SUFFIXES)
    if trace is not None:
        if shards is not None:
            raise UsageError("--trace is of one picture, not of --shards.", hint="drop --trace")
        _check_path(trace, _TRACES)
    from zoo_core.cli.models import load, locate_offline

    location = locate_offline(settings, name)
    from zoo_core.catalog import components as resolve
    from zoo_core.cli.condition import condition_of
    from zoo_core.data.traces import Trace
    from zoo_core.data.writers import writing

    model = load(settings, name, location)
    draw = resolve.sampler(model, sampler, options, n)
    condition = condition_of(model.condition, cond, n)
    observed = None if fixed is None else _fixed(fixed)
    metadata = _metadata(settings, name, sampler or resolve.sampler_name(model, n), draw, cond)
    if shards is not None:
        from zoo_core.cli.sample_pieces import draw_pieces

        request = {"seed": metadata["seed"], "sampler": draw, "cond": condition}
        folder = out or Path("samples")
        result = draw_pieces(
            settings, model, folder, n, metadata, request, observed, part, batch_size
        )
        show(settings, *result)
        return
    out = out or _default(model.event)
    _check_space(settings, out, model.event, n)
    recorder = None if trace is None else Trace()
    with writing(out, model.event, n, metadata) as put:
        for events in model.sample_batches(
            n,
            seed=metadata["seed"],
            sampler=draw,
            cond=condition,
            fixed=observed,
            batch_size=batch_size,
            progress=settings.progress,
            trace=recorder,
            device="cpu",
        ):
            put(events)
    if recorder is not None and trace is not None:
        recorder.write(trace, model.event)
    lines = [f"{n:,} events of {name} in {out}"]
    if "distribution" in metadata:
        lines.append(f"their distribution is {metadata['distribution']}")
    show(settings, {"out": str(out), "n": n, **metadata}, lines)


def _check_path(path: Path, suffixes: tuple[str, str]) -> None:
    if path.suffix.lower() not in suffixes:
        raise OutputError(
            f"{path} has suffix {path.suffix!r}; it must be {' or '.join(suffixes)}."
        )
    if path.is_dir():
        raise OutputError(f"{path} is a folder.", hint="name a file in it")


def _check_space(settings: Settings, path: Path, event: "Event", n: int) -> None:
    """Raise if the file cannot fit on the disk, by the best compression of its values."""
    import shutil

    if path.suffix.lower() != ".npz":
        return
    if (plain := n * event.dims * (1 if event.discrete else 4)) > _LARGE:
        remark(
            settings, f"{path} holds {plain:,} bytes before compression; it is written as drawn"
        )
    need = int(n * event.dims * (_MIN_INTEGER_BYTES if event.discrete else _FLOAT_BYTES))
    place = next(p for p in path.absolute().parents if p.exists())
    free = shutil.disk_usage(place).free
    if need > free:
        raise OutputError(
            f"{path} would take {'at least' if event.discrete else 'about'} {need:,} bytes, "
            f"and {free:,} are free.",
            hint="draw fewer or choose another disk",
        )


def _default(event: "Event") -> Path:
    from zoo_core.data.pictures import drawable

    return Path("samples.png" if drawable(event) else "samples.npz")


def _metadata(
    settings: Settings, name: str, sampler: str, draw: "Sampler", cond: str | None
) -> dict[str, Any]:
    from zoo_core.cli.models import weights_hash
    from zoo_core.sampling import how_drawn

    return {
        "model": name,
        "weights": weights_hash(settings, name),
        "seed": settings.seed or 0,
        "sampler": sampler,
        **how_drawn(draw),
        "cond": cond,
    }


def _fixed(path: Path) -> tuple["Tensor", "Tensor"]:
    from zoo_core.cli.condition import as_tensor
    from zoo_core.data.arrays import array_names, read_array

    if not {"values", "mask"} <= set(array_names(path)):
        raise DataError(
            f"{path} holds no arrays `values` and `mask`.",
            hint="numpy.savez(FILE, values=..., mask=...)",
        )
    values, mask = (as_tensor(read_array(path, name)) for name in ("values", "mask"))
    return values, mask
