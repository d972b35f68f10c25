"""Models from specs, from folders of weights, and from the checkpoints of others.

A model is built no larger than the weights it is for, and filled strictly: every tensor's name,
shape and type must fit. Submodels are models of their own, given as objects or by name.
"""

import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from zoo_core import config as configs
from zoo_core.catalog.layout import INDEX, METADATA, WEIGHTS
from zoo_core.catalog.names import Name
from zoo_core.catalog.references import parse_model
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import ModelSpec, import_target
from zoo_core.errors import IntegrityError
from zoo_core.model import GenerativeModel
from zoo_core.text import printable
from zoo_core.weights import checkpoint, third_party
from zoo_core.weights.locate import WeightsLocation, find
from zoo_core.weights.memory_guard import memory_guard
from zoo_core.weights.tensors import count_elements, load_state, weight_files
from zoo_core.weights.third_party import Converted, Foreign

__all__ = ["build", "convert", "load_folder", "load_found"]

_logger = logging.getLogger(__name__)


def build(spec: ModelSpec, options: Mapping[str, Any]) -> GenerativeModel:
    """A model with fresh parameters; raises `ConfigError` for options that do not fit.

    A submodel (`ModelSpec.parts`) may be given as an option of its name: a model, or its name.
    """
    defaults = dict(spec.parts)
    parts = {name: _submodel(options.get(name, defaults[name])) for name in defaults}
    values = {k: v for k, v in options.items() if k not in defaults}
    config = configs.from_dict(import_target(spec.config), values, where=f"{spec.arch}.")
    model: GenerativeModel = import_target(spec.target)(config, **parts)
    return model


def load_found(found: WeightsLocation) -> GenerativeModel:
    """A pretrained model from where `find` found its weights."""
    if found.converter is None:
        verified = found.snapshot.verified if found.snapshot else None
        return load_folder(found.folder, origin=found.origin, verified=verified)
    model = convert(third_party.read(found.folder, files=found.files), found.converter, {})
    model.origin = found.origin
    return model


def load_folder(
    folder: Path,
    *,
    origin: str | None = None,
    verified: Mapping[Path, str | None] | None = None,
) -> GenerativeModel:
    """A model's folder; raises `IntegrityError` or `ConfigError` naming file and remedy.

    `origin` is the commit on the Hub that the folder is, which saving records; `verified` are
    the files of that commit, and nothing else is read. Those with their SHA-256 were hashed just
    now and are not hashed again.
    """
    if verified is not None and folder / METADATA not in verified:
        raise IntegrityError(f"{folder / METADATA} is in no list of the model's files.")
    metadata = checkpoint.read_metadata(folder)
    spec = checkpoint.spec_of(metadata)
    parts = {name: load_folder(folder / name, verified=verified) for name, _ in spec.parts}
    weights = weight_files(folder, checkpoint.model_files(folder, metadata, verified))
    index = [] if weights == [folder / WEIGHTS] else [folder / INDEX]
    for path in index + weights:
        checkpoint.verify(path, metadata, verified.get(path) if verified else None)
    kept = checkpoint.stored_dtype(folder, metadata)
    with (
        torch.random.fork_rng(devices=[]),
        memory_guard(*count_elements(weights), str(folder / METADATA)),
    ):
        model = build(spec, {**metadata["config"], **parts}).to(kept)
    load_state(model, weights, skip=tuple(parts))
    recorded = metadata.get("origin")
    model.origin = origin or (recorded if isinstance(recorded, str) else None)
    return model.eval()


def _log(remark: str) -> None:
    _logger.warning("%s", printable(remark))


def convert(
    given: Foreign,
    converter: str,
    options: Mapping[str, Any],
    *,
    say: Callable[[str], None] = _log,
) -> GenerativeModel:
    """A model of our own from a checkpoint of others, by a registered converter; strict.

    `say` gets the converter's remarks; by default they are logged.
    """
    spec = current().one("converter", converter).spec
    made: Converted = configs.from_dict(
        import_target(spec.target), options, where=f"{converter}."
    )(given)
    target = current().one("model", spec.arch).spec
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "converted.safetensors"
        save_file({k: v.contiguous().clone() for k, v in made.tensors.items()}, path)
        with torch.random.fork_rng(devices=[]), memory_guard(*count_elements([path]), converter):
            model = build(target, made.options)
        load_state(model, path)
    for remark in made.remarks:
        say(remark)
    return model.eval()


def _submodel(wanted: str | GenerativeModel) -> GenerativeModel:
    """A submodel as it is given; by name a fresh one of an architecture, or a pretrained one."""
    if not isinstance(wanted, str):
        return wanted
    if isinstance(parse_model(wanted), Name):
        known = current().model(wanted)
        if known.tag is None:
            return build(known.spec, {})
    return load_found(find(wanted))
