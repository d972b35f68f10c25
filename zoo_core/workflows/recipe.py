"""Recipes: TOML files that reproduce weights. Needs no torch.

arch = "made"                     data = "digits"          # or [data] with name and options
license = "Apache-2.0"            source = "where it comes from"
report = "test"                   # score the test split once, at the end
scores = [{name = "iwae", k = 5000, limit = 1000}]  # by further likelihoods than the default, on
                                  # that split, or on so many of its events, drawn by a seed
half = true                       # round the weights to float16 before they are measured and saved
quality = "none"                  # measure no samples at the end of a model without likelihood;
                                  # or [quality] with features, scores (default: all), and n
[likelihood]                      # options of the default likelihood at the end, and its limit
[model]                           # options of the architecture's Config
[loss]                            # name = "nll" and its options
[train]                           # TrainConfig
[players.<name>]                  # optimizer options of one player
[[stage]]                         # several trainings, one after the other: name, parameters,
                                  # and own [stage.train], [stage.loss], [stage.players.<name>];
                                  # with an own arch, data and [stage.model] it trains the
                                  # submodel of its name; data = "latents:NAME" are the latents
                                  # of the submodel NAME
"""

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from zoo_core import config as configs
from zoo_core.catalog.names import LEGAL_NAME, Name, is_path
from zoo_core.catalog.references import parse_model
from zoo_core.config import Range
from zoo_core.errors import ConfigError, DataError, UnknownNameError, did_you_mean
from zoo_core.reading import literal, parse_toml, read_text
from zoo_core.training.config import TrainConfig, for_player

__all__ = [
    "LikelihoodOptions",
    "QualityOptions",
    "Recipe",
    "Stage",
    "load_recipe",
    "override",
    "parse_recipe",
]

_STAGE: dict[str, Any] = {
    "name": str,
    "arch": str,
    "model": dict,
    "data": (str, dict),
    "parameters": list,
    "train": dict,
    "loss": (str, dict),
    "players": dict,
}
_KEYS: dict[str, Any] = {
    "arch": str,
    "data": (str, dict),
    "license": str,
    "source": str,
    "report": str,
    "scores": list,
    "likelihood": dict,
    "quality": (str, dict),
    "half": bool,
    "model": dict,
    "loss": (str, dict),
    "train": dict,
    "players": dict,
    "stage": list,
}


@dataclass(frozen=True)
class Stage:
    """One training of a recipe: what is trained, by which loss, how.

    With an `arch` it is the submodel of the stage's name, of that architecture and the options
    `model`. `data` are its own data, by default the recipe's.
    """

    name: str
    train: TrainConfig
    loss: str | None
    loss_options: Mapping[str, Any]
    players: Mapping[str, Mapping[str, Any]]
    parameters: tuple[str, ...] = ("*",)
    arch: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    data_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LikelihoodOptions:
    """A likelihood to report: its name (None: the default), options, and number of events."""

    method: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None


@dataclass(frozen=True)
class QualityOptions:
    """Metrics of the samples to report, by name; None: all that fit."""

    features: tuple[str, ...] | None = None
    scores: tuple[str, ...] | None = None
    n: Annotated[int, Range(2)] | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a set of weights.

    `likelihood` and `scores` are the likelihoods reported at the end. `text` is the file as
    written, `overrides` are the values that replace some of it, by dotted names.
    """

    name: str
    arch: str
    data: str
    stages: tuple[Stage, ...]
    data_options: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    license: str = "unstated"
    source: str = "unstated"
    report: Literal["valid", "test"] = "valid"
    likelihood: LikelihoodOptions = LikelihoodOptions(None)
    scores: tuple[LikelihoodOptions, ...] = ()
    quality: QualityOptions | None = QualityOptions()
    """None: samples are not measured."""
    half: bool = False
    text: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The hash of the recipe's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by a tag's name, e.g. `"made.digits"`, or by its path, e.g. `"./my.toml"`."""
    path = name if isinstance(name, Path) else _find(name)
    return parse_recipe(_read(path), name=path.stem)


def parse_recipe(
    text: str, *, name: str = "recipe", overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """A recipe from its text; raises `ConfigError` naming what does not fit.

    `overrides` are values over the text's, by dotted names: `{"train.steps": 100}`.
    """
    try:
        table = parse_toml(text)
    except ValueError as error:
        raise ConfigError(f"recipe {name}: {error}.", hint="a recipe is TOML") from None
    overrides = dict(overrides or {})
    for key, value in overrides.items():
        table = override(table, key, value)
    _check(table, _KEYS, "")
    data, data_options = _named(table.get("data"), "data")
    if "arch" not in table or data is None:
        missing = "arch" if "arch" not in table else "data"
        raise ConfigError(f"recipe {name}: {missing} is required.", hint="e.g. arch = 'made'")
    return Recipe(
        name=name,
        arch=table["arch"],
        data=data,
        data_options=data_options,
        model=table.get("model", {}),
        stages=_stages(table),
        likelihood=_likelihood(None, table.get("likelihood", {}), "likelihood"),
        scores=_likelihoods(table),
        quality=_quality(table.get("quality", {})),
        half=table.get("half", False),
        text=text,
        overrides=overrides,
        **configs.to_dict(configs.from_dict(_Labels, _labels(table))),
    )


def override(table: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of a recipe's table with one value replaced, e.g. `stage.0.train.steps`.

    A string is read as JSON where it is JSON: `"100"` is the number.
    """
    changed = deepcopy(dict(table))
    *path, last = key.split(".")
    place: Any = changed
    for i, part in enumerate(path):
        place = _step_into(place, part, ".".join(path[: i + 1]))
    if not isinstance(place, dict):
        raise ConfigError(f"override {key!r} names a list's entry, not an option of it.")
    place[last] = _literal(value)
    return changed


def _step_into(place: Any, part: str, where: str) -> Any:
    if isinstance(place, list):
        if not part.isdigit() or int(part) >= len(place):
            raise ConfigError(f"override {where!r}: stages are numbered 0 to {len(place) - 1}.")
        return place[int(part)]
    value = place.setdefault(part, {})
    if part in ("data", "loss") and isinstance(value, str):
        value = place[part] = {"name": value}
    if not isinstance(value, dict | list):
        raise ConfigError(f"override {where!r}: {where} = {value!r} has no options of its own.")
    return value


def _literal(value: Any) -> Any:
    return literal(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class _Labels:
    license: str = "unstated"
    source: str = "unstated"
    report: Literal["valid", "test"] = "valid"


def _labels(table: Mapping[str, Any]) -> dict[str, Any]:
    return {k: table[k] for k in ("license", "source", "report") if k in table}


def _likelihoods(table: Mapping[str, Any]) -> tuple[LikelihoodOptions, ...]:
    """The likelihoods beside the default one, from the key `scores`."""
    likelihoods = []
    for i, entry in enumerate(table.get("scores", [])):
        if not isinstance(entry, str | dict):
            raise ConfigError(f"scores.{i} = {entry!r}; give a name, or a table with a name.")
        name, options = _named(entry, f"scores.{i}")
        if name is None:
            raise ConfigError(f"scores.{i}.name is required.", hint="e.g. {name = 'iwae'}")
        likelihoods.append(_likelihood(name, options, f"scores.{i}"))
    return tuple(likelihoods)


def _quality(value: Any) -> QualityOptions | None:
    if value == "none":
        return None
    if isinstance(value, str):
        raise ConfigError(f"quality = {value!r}.", hint='write "none", or a table [quality]')
    options: QualityOptions = configs.from_dict(QualityOptions, value, where="quality.")
    return options


def _likelihood(method: str | None, table: Mapping[str, Any], where: str) -> LikelihoodOptions:
    """A likelihood from its table of options, which may have a `limit`."""
    limit = table.get("limit")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ConfigError(f"{where}.limit = {limit!r}; give a number of events.")
    return LikelihoodOptions(method, {k: v for k, v in table.items() if k != "limit"}, limit)


def _stages(table: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages, each inheriting the recipe's own tables; without any, the recipe is one."""
    tables = table.get("stage", [{}])
    stages = tuple(_stage(table, own, i) for i, own in enumerate(tables))
    names = [s.name for s in stages]
    if not stages or len(set(names)) < len(names):
        raise ConfigError(f"stages need names of their own; they are {', '.join(names)}.")
    return stages


def _stage(table: Mapping[str, Any], own: Any, i: int) -> Stage:
    where = f"stage.{i}." if "stage" in table else ""
    _check(own, _STAGE, where)
    name = own.get("name", f"stage{i}")
    if not LEGAL_NAME.fullmatch(name):
        raise ConfigError(f"{where}name = {name!r}; it must be of lower-case letters and digits.")
    if "arch" in own:  # a submodel has neither the loss nor the players of the whole
        table = {k: v for k, v in table.items() if k not in ("loss", "players")}
    elif "model" in own:
        raise ConfigError(f"{where}model is for a stage with an arch of its own.", hint="[model]")
    loss, options = _named(own.get("loss", table.get("loss", {})), f"{where}loss")
    data, data_options = _named(own.get("data"), f"{where}data")
    train = configs.from_dict(
        TrainConfig, {**table.get("train", {}), **own.get("train", {})}, where=f"{where}train."
    )
    players = {**table.get("players", {}), **own.get("players", {})}
    for player, settings in players.items():
        for_player(train, player, settings)
    return Stage(
        name,
        train,
        loss,
        options,
        players,
        _patterns(own, where),
        arch=own.get("arch"),
        model=own.get("model", {}),
        data=data,
        data_options=data_options,
    )


def _patterns(own: Mapping[str, Any], where: str) -> tuple[str, ...]:
    options = {"parameters": own.get("parameters", ["*"])}
    patterns: _Patterns = configs.from_dict(_Patterns, options, where=where)
    return patterns.parameters


@dataclass(frozen=True)
class _Patterns:
    parameters: tuple[str, ...]


def _named(value: Any, where: str) -> tuple[str | None, dict[str, Any]]:
    """A name, or a table of a `name` and options."""
    if isinstance(value, str) or value is None:
        return value, {}
    name = value.get("name")
    if name is not None and not isinstance(name, str):
        raise ConfigError(f"{where}.name = {name!r}; it must be of type str.")
    return name, {k: v for k, v in value.items() if k != "name"}


def _check(table: Any, keys: Mapping[str, Any], where: str) -> None:
    """Raise unless every key is known and its value is of the right type."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where.rstrip('.')} = {table!r}; it must be a table.")
    for key, value in table.items():
        if key not in keys:
            raise ConfigError(
                f"unknown key {where}{key}; keys: {', '.join(keys)}.",
                hint=did_you_mean(key, keys) or None,
            )
        if not isinstance(value, keys[key]):
            raise ConfigError(f"{where}{key} = {value!r} is of the wrong kind for a recipe.")


def _find(name: str) -> Path:
    """The file of a recipe named by a tag or a path."""
    from zoo_core.catalog.registry import current

    file = name.endswith(".toml") and not is_path(name)
    parsed = Path(name) if file else parse_model(name)
    if isinstance(parsed, Path):
        return parsed
    if not isinstance(parsed, Name):
        raise UnknownNameError(f"{name!r} is on the Hub; recipes come with plugins or as files.")
    model = current().model(name)
    if model.tag is None or model.tag.recipe is None:
        known = [r.name for r in current().list_models() if r.tag is not None and r.tag.recipe]
        raise UnknownNameError(
            f"{name!r} has no recipe; recipes: {', '.join(known) or 'none'}.",
            hint=did_you_mean(name, known) or "zoo list",
        )
    return model.tag.recipe


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"recipe {path} cannot be read ({reason}).") from None
