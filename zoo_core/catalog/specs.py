"""What plugins declare: frozen data with `"package.module:attr"` targets, and no torch.

A spec is everything the zoo needs to list, find and check a component without importing it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from zoo_core.compat import warn_renamed
from zoo_core.errors import PluginError

__all__ = [
    "Check",
    "ConverterSpec",
    "DatasetSpec",
    "DensityType",
    "HealthCheck",
    "LikelihoodKind",
    "LikelihoodSpec",
    "LossSpec",
    "MetricSpec",
    "ModelSpec",
    "Pretrained",
    "Relation",
    "SamplerSpec",
    "import_target",
]

Relation = Literal["equal", "lower", "upper", "estimate"]
"""How a reported number stands to log p(x)."""

_SIGN: dict[str, str] = {"equal": "=", "lower": ">=", "upper": "<=", "estimate": "~"}
_SIGN_OF_BITS: dict[str, str] = {**_SIGN, "lower": _SIGN["upper"], "upper": _SIGN["lower"]}


@dataclass(frozen=True)
class LikelihoodKind:
    """What a likelihood number is: a name, its relation to log p, and what qualifies it.

    `detail` states what the number depends on, e.g. `k=5000` or `sigma=0.02`. A lower bound of
    log p reads `log p >= number`, whatever the name.
    """

    name: str
    relation: Relation
    detail: str = ""

    @property
    def sign(self) -> str:
        """The sign to print between log p and the number: `=`, `>=`, `<=` or `~`."""
        return _SIGN[self.relation]

    @property
    def bits_sign(self) -> str:
        """The sign between bits/dim, or -log p, and the number: there a bound turns round."""
        return _SIGN_OF_BITS[self.relation]

    def __str__(self) -> str:
        return f"{self.name}({self.detail})" if self.detail else self.name


@dataclass(frozen=True)
class DensityType:
    """A way to treat p(x), e.g. `explicit/tractable`."""

    name: str
    summary: str
    likelihood: str
    sampling: str


@dataclass(frozen=True)
class Pretrained:
    """Weights of an architecture under a tag that live on the Hub.

    Bundled weights and recipes need no declaration: they are found in the plugin's package as
    `weights/<arch>.<tag>/` and `recipes/<arch>.<tag>.toml`.
    """

    tag: str
    repo: str
    license: str
    source: str
    revision: str | None = None
    sha256: tuple[tuple[str, str], ...] = ()
    size: int | None = None
    """Bytes to download, where they are known."""
    converter: str | None = None
    """The converter that reads the repository, where it is not in the zoo's own layout."""
    metrics: tuple[tuple[str, Any], ...] = ()
    """What the source reports, e.g. (("fid", 3.17), ("paper", "https://..."))."""

    @property
    def status(self) -> Literal["pinned", "unpinned"]:
        """Pinned means a full commit, 40 hex digits, and a SHA-256 for every file."""
        commit = re.fullmatch("[0-9a-f]{40}", self.revision or "")
        hashed = all(re.fullmatch("[0-9a-f]{64}", digest) for _, digest in self.sha256)
        return "pinned" if commit and hashed and self.sha256 else "unpinned"


@dataclass(frozen=True)
class ModelSpec:
    """An architecture: its family, its density type, and where its class and Config are."""

    arch: str
    family: str
    density: str
    target: str
    config: str
    capabilities: tuple[str, ...] = ()
    default_likelihood: str | tuple[str, ...] | None = None
    """A name, or several: the default is the first that serves the model's events. A flow names
    ("exact_density", "deq_bound")."""
    integer_likelihood: str | None = None
    """Deprecated: the default for integers. Name both in `default_likelihood` instead."""
    default_sampler: str = "direct"
    default_loss: str | None = "nll"
    parts: tuple[tuple[str, str], ...] = ()
    pretrained: tuple[Pretrained, ...] = ()
    summary: str = ""
    paper: str = ""
    tiny: tuple[tuple[str, Any], ...] = ()
    """Config values of a copy small enough for the conformance checks."""

    @property
    def name(self) -> str:
        return self.arch

    def __post_init__(self) -> None:
        if self.integer_likelihood is not None:
            both = (self.default_likelihood, self.integer_likelihood)
            warn_renamed(
                "ModelSpec.integer_likelihood", f"default_likelihood={both}", stacklevel=4
            )

    def likelihood_of(
        self, likelihoods: Iterable["LikelihoodSpec"], *, discrete: bool
    ) -> str | None:
        """The default likelihood for models of integers (`discrete`), or of continuous events.

        It is the first of several names that one of `likelihoods` has and serves such events, or
        the first name if there is none.
        """
        if discrete and self.integer_likelihood is not None:
            return self.integer_likelihood
        names = self.default_likelihood
        if names is None or isinstance(names, str):
            return names
        serving = {s.name for s in likelihoods if s.serves(discrete=discrete)}
        first = next(iter(names), None)
        return next((n for n in names if n.rpartition(":")[2] in serving), first)


@dataclass(frozen=True)
class LossSpec:
    """A training objective for models with the capabilities it requires.

    The target is a frozen dataclass whose fields are the options and whose call is
    `(model, batch, rng, step) -> Loss`. A loss for several players has no call but such a method
    for each, by the name that the model's `make_players` gives the player.
    """

    name: str
    target: str
    requires: tuple[str, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class SamplerSpec:
    """A way to draw events: a frozen dataclass called as `(model, rng, cond)`."""

    name: str
    target: str
    requires: tuple[str, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class LikelihoodSpec:
    """A way to score events: a frozen dataclass called as `(model, x, cond, rng)`."""

    name: str
    target: str
    kind: LikelihoodKind
    requires: tuple[str, ...] = ()
    summary: str = ""
    events: Literal["integers", "reals"] | None = None
    """The events that it scores, if not both; only models of such events are offered it."""

    def serves(self, *, discrete: bool) -> bool:
        """Whether it scores integers, or reals."""
        return self.events in (None, "integers" if discrete else "reals")


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: a frozen dataclass whose fields are its options, called to get a `Dataset`.

    Where it has an option `path`, `name:PATH` is short for it.
    """

    name: str
    target: str
    license: str
    summary: str = ""


@dataclass(frozen=True)
class MetricSpec:
    """A feature extractor or a score over samples; the target is a frozen dataclass either way.

    `features`: called as `(x, event) -> (N, F)`, with `accepts(event)` and an `identity` that
    names its weights. `score`: called as `(generated: Cloud, reference: Cloud) -> Estimate`, with
    `better` = "lower" or "higher" and perhaps `most_features`, beyond which it is too costly. Both
    are used by default; an `optional` one, or one beyond that, only where it is asked for by name.
    """

    name: str
    target: str
    kind: Literal["features", "score"] = "score"
    optional: bool = False
    summary: str = ""


@dataclass(frozen=True)
class ConverterSpec:
    """A map between a foreign checkpoint layout and an architecture of ours.

    The target is a frozen dataclass whose fields are its options, called as
    `(foreign: zoo_core.plugin.Foreign) -> Converted`: from the JSON files and tensors of a
    checkpoint, by folder, to the options of the architecture's Config and its state dict.

    `reads` are sets of classes that diffusers' configs name (`_class_name`): a folder that holds
    all of one set, and of no other converter's, is loaded by its path alone.
    """

    name: str
    target: str
    arch: str
    summary: str = ""
    reads: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class HealthCheck:
    """A check that `zoo doctor` runs; the target returns a `Check`, the fix needs none."""

    name: str
    target: str
    fix: str | None = None
    summary: str = ""


@dataclass(frozen=True)
class Check:
    """What a health check found."""

    status: Literal["ok", "note", "problem"]
    message: str
    remedy: str = ""


def import_target(target: str) -> Any:
    """Import `"package.module:attr"`; raises `PluginError` naming the target and the cause."""
    module, _, attr = target.partition(":")
    try:
        found: Any = import_module(module)
        for part in attr.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise PluginError(
            f"{target!r} cannot be imported ({type(error).__name__}: {error}).",
            hint="zoo plugins check PLUGIN tries every target",
        ) from error
    return found
