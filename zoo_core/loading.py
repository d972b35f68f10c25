"""`zoo.load`, `zoo.create`, `zoo.info`, `zoo.list_models`: from a name to a model.

Weights are looked for in this order: bundled with a plugin, a path, the Hub.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.errors import UnknownNameError
from zoo_core.names import HubName, Name, parse_model
from zoo_core.registry import ModelInfo, current

if TYPE_CHECKING:
    import torch

    from zoo_core.model import GenerativeModel

__all__ = ["create", "info", "list_models", "load"]


def list_models(
    pattern: str = "*",
    *,
    density: str | None = None,
    family: str | None = None,
    license: str | None = None,
    pretrained: bool | None = None,
) -> list[str]:
    """Names of architectures and their tags that match; needs neither torch nor the network.

    `pattern`, `density`, `family` and `license` are shell patterns; `pretrained=True` keeps tags
    with weights, `False` what has none.
    """
    rows = current().models(
        pattern, density=density, family=family, license=license, pretrained=pretrained
    )
    return [row.name for row in rows]


def info(name: str) -> ModelInfo:
    """What is known of an architecture or of a tag, without loading it."""
    return current().model(name)


def create(
    name: str,
    *,
    device: "torch.device | str" = "cpu",
    dtype: "torch.dtype | None" = None,
    **options: Any,
) -> "GenerativeModel":
    """A model with fresh parameters, drawn from torch's generator; `options` are its Config's."""
    from zoo_core.resolve import build

    found = current().model(name)
    if found.tag is not None:
        raise UnknownNameError(
            f"{name!r} names weights; create() makes fresh parameters.",
            hint=f"zoo.load({name!r}) or zoo.create({found.spec.arch!r})",
        )
    return build(found.spec, options).to(device=device, dtype=dtype)


def load(
    name: str,
    *,
    device: "torch.device | str" = "cpu",
    dtype: "torch.dtype | None" = None,
    offline: bool = False,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
) -> "GenerativeModel":
    """A pretrained model in evaluation mode, by name, path or Hub repository.

    `offline`, `revision`, `token` and `cache_dir` concern weights that are not bundled.
    """
    folder = find(name)  # a wrong name is answered before torch is imported
    from zoo_core.weights import checkpoint

    return checkpoint.load(folder, device=device, dtype=dtype)


def find(name: str) -> Path:
    """The folder of a pretrained model."""
    from zoo_core.weights import hub

    parsed = parse_model(name)
    if isinstance(parsed, Path):
        return parsed
    if isinstance(parsed, HubName):
        hub.refuse(f"hf://{parsed.repo}")
    return _tagged(parsed)


def _tagged(name: Name) -> Path:
    from zoo_core.weights import hub

    found = current().model(str(name))
    if found.tag is None:
        tags = [row.name for row in current().models(f"{name.name}.*", pretrained=True)]
        raise UnknownNameError(
            f"{str(name)!r} names an architecture; pretrained: {', '.join(tags) or 'none'}.",
            hint=f"zoo.create({str(name)!r}) makes fresh parameters",
        )
    if found.tag.hub is not None:
        hub.refuse(f"{found.name} ({found.tag.hub.repo})")
    if found.tag.folder is None:
        raise UnknownNameError(
            f"{found.name} is a recipe; its weights exist nowhere yet.",
            hint=f"zoo train --recipe {found.name}",
        )
    return found.tag.folder
