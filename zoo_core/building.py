"""Models from specs, from folders of weights, and from the checkpoints of others.

A model is built no larger than its weights, and loading is strict: every tensor's name, shape and
type must fit. Submodels are models of their own, given as objects or by name.
"""

import dataclasses
import inspect
import logging
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from zoo_core import config as configs
from zoo_core.catalog.layout import INDEX, METADATA, WEIGHTS
from zoo_core.catalog.measured_sampler import MeasuredSampler
from zoo_core.catalog.names import Name
from zoo_core.catalog.references import parse_model
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import ModelSpec, Pretrained, import_target
from zoo_core.errors import ConfigError, DataError, IntegrityError, UsageError
from zoo_core.model import GenerativeModel
from zoo_core.nn.described import record
from zoo_core.reading import shown
from zoo_core.spaces import Condition
from zoo_core.text import printable
from zoo_core.weights import checkpoint, third_party
from zoo_core.weights.assign import HERE, Place, undrawn
from zoo_core.weights.locate import WeightsLocation, find
from zoo_core.weights.memory_guard import memory_guard
from zoo_core.weights.tensors import (
    WeightChanges,
    count_elements,
    load_matching,
    load_state,
    load_tensors,
    weight_files,
)
from zoo_core.weights.third_party import Converted, Foreign

__all__ = ["build", "convert", "load_folder", "load_found"]

_logger = logging.getLogger(__name__)


def build(spec: ModelSpec, options: Mapping[str, Any]) -> GenerativeModel:
    """A model with fresh parameters; raises `ConfigError` for options that do not fit.

    An option of a submodel's name (`ModelSpec.submodels`) is a model, or the name of one.
    """
    defaults = dict(spec.submodels)
    submodels = {name: _submodel(options.get(name, defaults[name])) for name in defaults}
    values = {k: v for k, v in options.items() if k not in defaults}
    config = configs.from_dict(import_target(spec.config), values, where=f"{spec.arch}.")
    model: GenerativeModel = import_target(spec.target)(config, **submodels)
    record(model)
    return model


def build_class(cls: type[GenerativeModel], options: Mapping[str, Any]) -> GenerativeModel:
    """A model of a class that no plugin declares, built from the options of its Config.

    A class whose `__init__` takes no arguments makes its own Config, which must be the same.
    """
    if not (inspect.isclass(cls) and issubclass(cls, GenerativeModel)):
        raise UsageError(f"cls = {cls!r}; it must be a GenerativeModel class.")
    takes = list(inspect.signature(cls.__init__).parameters)[1:]
    config = (_config_of(cls, takes[0], options),) if takes else ()
    model = cls(*config)
    if configs.to_dict(model.config) != dict(options):
        raise ConfigError(
            f"{cls.__name__} was saved with the config {shown(dict(options))} and is built with "
            f"{shown(configs.to_dict(model.config))}.",
            hint="def __init__(self, config: Config), so that it is built from what was saved",
        )
    return model


def _config_of(cls: type, argument: str, options: Mapping[str, Any]) -> Any:
    """The Config from its options; its class is the dataclass that annotates an argument."""
    try:
        annotation = typing.get_type_hints(cls.__init__).get(argument)  # type: ignore[misc]
    except NameError:  # a string that names a class inside a function
        annotation = cls.__init__.__annotations__[argument]  # type: ignore[misc]
    kinds = typing.get_args(annotation) or (annotation,)
    found = [kind for kind in kinds if inspect.isclass(kind) and dataclasses.is_dataclass(kind)]
    if len(found) != 1:
        raise ConfigError(
            f"the Config of {cls.__name__} is not known: {argument!r} of its __init__ is "
            f"annotated by {annotation!r}.",
            hint=f"def __init__(self, {argument}: Config), where Config is a frozen dataclass",
        )
    return configs.from_dict(found[0], options, where=f"{cls.__name__}.")


def load_found(
    located: WeightsLocation,
    options: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    cls: type[GenerativeModel] | None = None,
    place: Place = HERE,
) -> GenerativeModel:
    """The pretrained model whose weights `find` has located.

    `options`, `seed`, `cls` and `place` are as in `load_folder`.
    """
    if located.converter is None:
        return load_folder(
            located.folder,
            origin=located.origin,
            verified=located.snapshot.verified if located.snapshot else None,
            spec=located.spec,
            options=options,
            seed=seed,
            cls=cls,
            place=place,
        )
    if options:
        raise UsageError(
            f"options {', '.join(options)} change weights in the zoo's own layout, and these are "
            "another library's.",
            hint="save the model first: zoo.load(name).save(folder), then load the folder",
            command="zoo convert SOURCE FOLDER, then give the folder",
        )
    if cls is not None:
        raise UsageError(f"cls={cls.__name__} is for a folder that its save wrote.")
    card = located.card
    model = convert(
        third_party.read(located.source, files=located.files),
        located.converter,
        dict(card.options) if card else {},
        submodels=dict(card.submodels) if card else {},
        place=place,
    )
    if located.spec is not None:
        checkpoint.check_arch(model.spec.arch, located.spec)
    if card is not None:
        _check_config(model, card)
    model.origin = located.origin
    return model


def _check_config(model: GenerativeModel, card: Pretrained) -> None:
    """Raise `IntegrityError` unless published weights have the config that their card states."""
    found = configs.to_dict(model.config)
    if wrong := list(_disagreements(found, dict(card.config))):
        raise IntegrityError(
            f"the files of tag {card.tag!r} are of another config than its card states: "
            f"{'; '.join(wrong)}.",
            hint="report this to the plugin's authors; a pinned revision would not change",
        )


def _disagreements(found: Any, stated: Any, where: str = "") -> Iterator[str]:
    """What a config has otherwise than stated, down to the options of a network."""
    if isinstance(found, Mapping) and isinstance(stated, Mapping):
        for key, value in stated.items():
            yield from _disagreements(found.get(key), value, f"{where}.{key}".lstrip("."))
    elif (list(found) if isinstance(found, tuple) else found) != stated:
        yield f"{where} = {shown(found)}, not {shown(stated)}"


def load_folder(
    folder: Path,
    *,
    origin: str | None = None,
    verified: Mapping[Path, str | None] | None = None,
    spec: ModelSpec | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    cls: type[GenerativeModel] | None = None,
    place: Place = HERE,
) -> GenerativeModel:
    """The model in a folder; raises `IntegrityError` or `ConfigError` with file and remedy.

    With `options` that differ from those of its config, the model is built by these. Tensors that
    the weights lack, or have in another shape, are drawn by `seed`; `model.weight_changes` lists
    them, and the log too.

    `spec` is the architecture that was asked for, by default the one that `zoo.json` states; `cls`
    is the model's class if no plugin declares it. `place` is the device and type of the model;
    tensors go there one by one.
    `origin` is the commit on the Hub that the folder holds, which saving records, and `verified`
    the files of that commit: nothing else is read. Files with a SHA-256 were hashed just now and
    are not hashed again.
    """
    if verified is not None and folder / METADATA not in verified:
        raise IntegrityError(f"{folder / METADATA} is in no list of the model's files.")
    metadata = checkpoint.read_metadata(folder)
    if cls is not None:
        checkpoint.check_unregistered(metadata, cls)
        submodels, make = {}, partial(build_class, cls)
    else:
        spec = checkpoint.spec_of(metadata, spec)
        names = [name for name, _ in spec.submodels]
        submodels = {n: load_folder(folder / n, verified=verified, place=place) for n in names}
        make = partial(build, spec)
    weights = weight_files(folder, checkpoint.model_files(folder, metadata, verified))
    index = [] if weights == [folder / WEIGHTS] else [folder / INDEX]
    for path in index + weights:
        checkpoint.verify(path, metadata, verified.get(path) if verified else None)
    stored = checkpoint.stored_dtype(folder, metadata)
    config = {**metadata["config"], **submodels}
    if options and any(config.get(k) != v for k, v in options.items()):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = make({**config, **options}).to(stored)
        model.weight_changes = load_matching(model, weights, skip=tuple(submodels))
        _log_changes(folder, model.weight_changes)
        place.settle(model)
    else:
        with (
            torch.random.fork_rng(devices=[]),
            memory_guard(*count_elements(weights), str(folder / METADATA)),
            undrawn(),
        ):
            model = make(config)
        load_state(model, weights, skip=tuple(submodels), place=place, stored=stored)
    recorded = metadata.get("origin")
    model.origin = origin or (recorded if isinstance(recorded, str) else None)
    model.condition = _named(model, metadata, folder)
    if model.weight_changes is None:  # it was measured of the weights as they are
        model.measured_sampler = MeasuredSampler.from_record(metadata.get("sampler"))
    return model.eval()


def _log_changes(folder: Path, changes: WeightChanges) -> None:
    for what, names in {"new": changes.new, "dropped": changes.dropped}.items():
        if names:
            _log(f"{folder}: {what}: {', '.join(names)}")


def _log(remark: str) -> None:
    _logger.warning("%s", printable(remark))


def _named(model: GenerativeModel, metadata: Mapping[str, Any], folder: Path) -> Condition:
    """The model's condition with the names of classes that its folder records."""
    if metadata.get("condition") is None:
        return model.condition
    try:
        return model.condition.called_as(Condition.from_record(metadata["condition"]))
    except DataError as error:
        if model.weight_changes is not None:
            return model.condition  # options changed it: the names are of other classes
        raise IntegrityError(f"{folder / METADATA}: {error.message}") from None


def convert(
    checkpoint_files: Foreign,
    converter: str,
    options: Mapping[str, Any],
    *,
    say: Callable[[str], None] = _log,
    submodels: Mapping[str, Any] | None = None,
    place: Place = HERE,
) -> GenerativeModel:
    """A model of the zoo from a checkpoint of another library, by a registered converter.

    Raises unless every tensor and every config key maps. `say` gets the converter's remarks; by
    default they are logged. `submodels` are models, or names of their weights.
    """
    spec = current().converters.one(converter).spec
    make = configs.from_dict(import_target(spec.target), options, where=f"{converter}.")
    converted: Converted = make(checkpoint_files)
    target = current().models.one(spec.arch).spec
    parts = {name: _submodel(model) for name, model in (submodels or {}).items()}
    elements = sum(tensor.numel() for tensor in converted.tensors.values())
    guard = memory_guard(elements, len(converted.tensors), converter)
    with torch.random.fork_rng(devices=[]), guard, undrawn():
        model = build(target, {**converted.options, **parts})
    load_tensors(model, converted.tensors, converter, skip=tuple(parts), place=place)
    for remark in converted.remarks:
        say(remark)
    return model.eval()


def _submodel(model: str | GenerativeModel) -> GenerativeModel:
    """A model as it is; by name, a fresh model of an architecture or a pretrained one."""
    if not isinstance(model, str):
        return model
    name = parse_model(model)
    if isinstance(name, Name) and name.tag is None:
        return build(current().model(name).spec, {})
    return load_found(find(name))
