"""Loading for the verbs that run a model: device, weights and data by name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo_core.cli.command import Settings
from zoo_core.errors import UsageError

if TYPE_CHECKING:
    from zoo_core.cli.describe import Field
    from zoo_core.data.dataset import Dataset
    from zoo_core.model import GenerativeModel
    from zoo_core.weights.locate import WeightsLocation

__all__ = ["check_device", "dataset", "dataset_options", "load", "locate_offline", "weights_hash"]


def locate_offline(settings: Settings, name: str) -> "WeightsLocation | None":
    """Where the weights of `name` are, with `--offline`; else None.

    It needs no torch, so a name that is not cached is reported at once. Without `--offline` the
    device is checked first, since finding the weights may download them.
    """
    from zoo_core.weights.locate import find

    return find(name, settings.access) if settings.access.is_offline else None


def load(
    settings: Settings, name: str, location: "WeightsLocation | None" = None
) -> "GenerativeModel":
    """The pretrained model `name` on the device of `--device`; `location` is where it is."""
    from zoo_core.weights.locate import find

    check_device(settings.device)
    location = location or find(name, settings.access)
    from zoo_core.building import load_found
    from zoo_core.weights.assign import Place

    return load_found(location, place=Place(settings.device))


def dataset(settings: Settings, name: str, options: Mapping[str, Any]) -> "Dataset":
    """The data set `name`; with --offline nothing is downloaded."""
    import zoo_core as zoo

    if settings.offline and any(f.name == "offline" for f in dataset_options(name)):
        options = {"offline": True, **options}
    return zoo.load_dataset(name, **options)


def dataset_options(name: str) -> "list[Field]":
    """The options of a data set, which `name` may follow with a path."""
    from zoo_core.catalog.specs import import_target
    from zoo_core.cli.describe import describe

    spec = _known(name)
    return [] if spec is None else describe(import_target(spec.target))


def _known(name: str) -> Any:
    """The spec behind `[dist:]name[:path]` or a path, if there is one."""
    from zoo_core.catalog.registry import current
    from zoo_core.data.loading import parse_data

    word = parse_data(name)[0].rpartition(":")[2]
    return next((e.spec for e in current().datasets if e.spec.name == word), None)


def check_device(name: str) -> None:
    """Raise `UsageError` unless tensors can be put on `name` here."""
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"device {name!r} cannot be used here ({reason}).",
            hint=f"--device {' or '.join(_devices())}",
        ) from error


def _devices() -> list[str]:
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return ["cpu"] if accelerator is None else ["cpu", accelerator.type]


def weights_hash(settings: Settings, name: str) -> str | None:
    """The SHA-256 of a model's weights: as zoo.json records it, or of the one third-party file."""
    from zoo_core.weights import checkpoint
    from zoo_core.weights.locate import find

    location = find(name, settings.access)
    if location.converter is None:
        return checkpoint.weights_hash(location.folder)
    weights = [file for file in location.files if file.endswith(".safetensors")]
    return checkpoint.sha256(location.folder / weights[0]) if len(weights) == 1 else None
