"""Cards of published weights: `cards.toml` in a plugin's package, a table for each tag.

    [ddpm.cifar10]
    repo = "google/ddpm-cifar10-32"
    license = "Apache-2.0"
    license_class = "open"
    source = "https://arxiv.org/abs/2006.11239"
    converter = "diffusers_ddpm"
    files = [{ path = "config.json" }, { path = "diffusion_pytorch_model.safetensors" }]
    published = [{ name = "fid", value = 3.17, data = "CIFAR-10, 50,000 samples" }]

The keys are the fields of `Pretrained`, apart from two: `opened` says when and by whom the real
files were loaded, and a card without it is `untested`; options, config and submodels are tables.
Reading them needs neither torch nor the network.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from zoo_core import config as configs
from zoo_core.catalog.specs import Pretrained
from zoo_core.errors import ConfigError
from zoo_core.reading import read_toml

__all__ = ["CARDS", "cards_in"]

CARDS = "cards.toml"
_TABLES = ("options", "config", "submodels")


def cards_in(package: Path) -> Mapping[str, tuple[Pretrained, ...]]:
    """The cards of a package by architecture; raises `ConfigError` if one is malformed."""
    path = package / CARDS
    try:
        return _read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}).") from error


@cache
def _read(path: Path, changed: int) -> Mapping[str, tuple[Pretrained, ...]]:
    """The cards of a file as it was at the time `changed`."""
    cards = {}
    for arch, tags in read_toml(path).items():
        if not isinstance(tags, Mapping):
            raise ConfigError(f"{path}: {arch} = {tags!r}; a card is a table [arch.tag].")
        cards[arch] = tuple(_card(path, f"{arch}.{tag}", tag, card) for tag, card in tags.items())
    return cards


def _card(path: Path, name: str, tag: str, card: Any) -> Pretrained:
    where = f"{path.parent.name}/{CARDS}: {name}."
    if not isinstance(card, Mapping):
        raise ConfigError(f"{where.rstrip('.')} = {card!r}; a card is a table [arch.tag].")
    fields = {k: v for k, v in card.items() if k != "opened"}
    fields |= {k: _pairs(fields[k], f"{where}{k}") for k in _TABLES if k in fields}
    untested = not card.get("opened")
    weights = configs.from_dict(
        Pretrained, {"repo": None, **fields, "tag": tag, "untested": untested}, where=where
    )
    _check(weights, where)
    return weights


def _pairs(table: Any, where: str) -> tuple[tuple[str, Any], ...]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} = {table!r}; it must be a table.")
    return tuple(table.items())


def _check(weights: Pretrained, where: str) -> None:
    """Raise `ConfigError` unless a card says where its files are and what their licence allows."""
    if weights.license_class is None:
        raise ConfigError(
            f"{where}license_class is required.",
            hint="open, non-commercial, research-only or none stated",
        )
    unplaced = [file.path for file in weights.files if not file.urls]
    if weights.repo is None and (unplaced or not weights.files):
        raise ConfigError(f"{where}repo is required, or `files` with `urls` each.")
    if weights.repo is not None and len(unplaced) < len(weights.files):
        raise ConfigError(f"{where}files are in {weights.repo} or at `urls`, not both.")
