"""`zoo.load`, `zoo.create`, `zoo.info`, `zoo.list_models`: from a name to a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.catalog.registry import ModelInfo, current
from zoo_core.errors import UnknownNameError
from zoo_core.weights.hub.access import Access
from zoo_core.weights.locate import find, pull

if TYPE_CHECKING:
    import torch

    from zoo_core.model import GenerativeModel

__all__ = ["create", "info", "list_models", "load", "pull"]


def list_models(
    pattern: str = "*",
    *,
    density: str | None = None,
    family: str | None = None,
    license: str | None = None,
    license_class: str | None = None,
    pretrained: bool | None = None,
) -> list[str]:
    """Names of architectures and their tags that match; needs neither torch nor the network.

    `pattern`, `density`, `family`, `license` and `license_class` are shell patterns.
    `pretrained=True` keeps tags with weights that somebody has loaded, and `False` keeps the rest.
    """
    rows = current().list_models(
        pattern,
        density=density,
        family=family,
        license=license,
        license_class=license_class,
        pretrained=pretrained,
    )
    return [row.name for row in rows]


def info(name: str) -> ModelInfo:
    """The spec, plugin and tag of a name, without loading the model."""
    return current().model(name)


def create(
    name: str,
    *,
    device: "torch.device | str" = "cpu",
    dtype: "torch.dtype | None" = None,
    **options: Any,
) -> "GenerativeModel":
    """A model with fresh parameters, drawn from torch's generator.

        zoo.create("made", shape=(1, 8, 8), levels=17)

    `options` are the fields of the architecture's Config, and its submodels by name. Raises
    `UnknownNameError` for a name that no plugin declares, and `ConfigError` for options that do
    not fit.
    """
    from zoo_core.building import build

    known = current().model(name)
    if known.tag is not None:
        raise UnknownNameError(
            f"{name!r} names weights; create() makes fresh parameters.",
            hint=f"zoo.load({name!r}) or zoo.create({known.spec.arch!r})",
            command=f"name the architecture, {known.spec.arch}",
        )
    return build(known.spec, options).to(device=device, dtype=dtype)


def load(
    name: str,
    *,
    cls: "type[GenerativeModel] | None" = None,
    device: "torch.device | str" = "cpu",
    dtype: "torch.dtype | None" = None,
    offline: bool = False,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    endpoint: str | None = None,
    progress: bool = True,
    accept_license: bool = False,
    seed: int = 0,
    **options: Any,
) -> "GenerativeModel":
    """A pretrained model in evaluation mode, by name, path or Hub repository.

        zoo.load("made.digits"), zoo.load("./runs/made/model"), zoo.load("hf://org/name@revision")
        zoo.load("made.digits", classes=10)                     # to be trained further

    `options` are fields of the architecture's Config that are to differ. The tensors that change
    with them are drawn anew by `seed`; the log and `model.weight_changes` list them as `new`, and
    those of the weights that are not used as `dropped`.

    `cls` is the class of a model that was saved by a class of your own, which no plugin declares;
    its Config is read from the folder.

    The other options concern weights on the Hub. `offline=True` makes no request; `revision` is a
    branch, tag or commit; `token`, `cache_dir` and `endpoint` override `HF_TOKEN`, `HF_HUB_CACHE`
    and `HF_ENDPOINT`; `progress` shows a bar for each download, on a terminal.
    `accept_license=True` loads weights whose source states no licence, and remembers that for
    their name.

    Raises `UnknownNameError`, `NetworkError` if a download fails, and `IntegrityError` if files
    are not what they claim to be.
    """
    access = Access(offline, revision, token, cache_dir, endpoint, progress, accept_license)
    located = find(name, access)  # a wrong name is answered before torch is imported
    from zoo_core.building import load_found
    from zoo_core.weights.assign import Place

    return load_found(located, options, seed=seed, cls=cls, place=Place(device, dtype))
