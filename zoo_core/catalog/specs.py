"""Specs, which plugins return from hooks: frozen data with `"package.module:attr"` targets.

A spec says all that is needed to list and find a component without importing it, or torch.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from zoo_core.compat import renamed_fields, warn_renamed
from zoo_core.errors import PluginError

__all__ = [
    "Check",
    "ConverterSpec",
    "DatasetSpec",
    "DensityType",
    "HealthCheck",
    "LicenseClass",
    "LikelihoodKind",
    "LikelihoodSpec",
    "LossSpec",
    "MetricSpec",
    "ModelSpec",
    "NetworkSpec",
    "OptimizerSpec",
    "Pretrained",
    "PretrainedFile",
    "Published",
    "Relation",
    "SamplerSpec",
    "ScheduleSpec",
    "Signature",
    "import_target",
]

Relation = Literal["equal", "lower", "upper", "estimate", "unrelated"]
"""The relation of a reported number to log p(x); `unrelated` is a score that estimates nothing
about it, such as a pseudo-likelihood."""

Signature = Literal["denoiser", "vector", "image", "sequence"]
"""How a network is called; `zoo_core.nn.networks` has a protocol for each."""

LicenseClass = Literal["open", "non-commercial", "research-only", "none stated"]
"""What a licence allows; weights of `none stated` load only if the user accepts that."""

_SIGN: dict[str, str] = {
    "equal": "=",
    "lower": ">=",
    "upper": "<=",
    "estimate": "~",
    "unrelated": "!",
}
_SIGN_OF_BITS: dict[str, str] = {**_SIGN, "lower": _SIGN["upper"], "upper": _SIGN["lower"]}


@dataclass(frozen=True)
class LikelihoodKind:
    """The kind of a likelihood: its name, its relation to log p, and the options behind it.

    `detail` holds the options that the number depends on, e.g. `k=5000` or `sigma=0.02`. The sign
    follows the relation: a lower bound on log p prints as `log p >= number`, whatever its name.

    >>> kind = LikelihoodKind("iwae", "lower", "k=5000")
    >>> str(kind), kind.sign, kind.bits_sign
    ('iwae(k=5000)', '>=', '<=')
    """

    name: str
    relation: Relation
    detail: str = ""

    @property
    def sign(self) -> str:
        """The sign to print between log p and the number: `=`, `>=`, `<=`, `~`, or `!` for a
        number that is unrelated to log p."""
        return _SIGN[self.relation]

    @property
    def bits_sign(self) -> str:
        """The sign between bits/dim, or -log p, and the number: a lower bound on log p is an upper
        bound on these."""
        return _SIGN_OF_BITS[self.relation]

    @property
    def comparable(self) -> bool:
        """Whether numbers of this kind may be compared with those of baselines and of the truth:
        not if they are unrelated to log p."""
        return self.relation != "unrelated"

    @property
    def ranked(self) -> bool:
        """Whether numbers of this kind are ranked: values of log p and bounds on it are."""
        return self.relation not in ("estimate", "unrelated")

    def __str__(self) -> str:
        return f"{self.name}({self.detail})" if self.detail else self.name


@dataclass(frozen=True)
class DensityType:
    """A way of defining p(x), e.g. `explicit/tractable`."""

    name: str
    summary: str
    likelihood: str
    sampling: str


@dataclass(frozen=True)
class PretrainedFile:
    """A file of published weights: its path in the repository, or its name in the cache."""

    path: str
    size: int | None = None
    sha256: str | None = None
    urls: tuple[str, ...] = ()
    """Https addresses of a file that is not on the Hub: the first, then its mirrors. It is fetched
    only if its size and SHA-256 are stated."""


@dataclass(frozen=True)
class Published:
    """A number that the source of weights reports; nobody has measured it here."""

    name: str
    """What it is, e.g. `fid` or `bits/dim`."""
    value: float
    data: str = ""
    """What it was measured on."""
    source: str = ""
    relation: Relation | None = None
    """For a likelihood, its relation to log p."""


@dataclass(frozen=True)
class Pretrained:
    """Published weights of an architecture, under a tag: a card of `cards.toml`, or declared here.

    Bundled weights and recipes need no declaration: they are found in the plugin's package, as
    `weights/<arch>.<tag>/` and `recipes/<arch>.<tag>.toml`.
    """

    tag: str
    repo: str | None
    """A repository on the Hub; None if the files have addresses of their own."""
    license: str
    source: str
    revision: str | None = None
    """A branch, a tag or a commit, also that of a pull request (`refs/pr/1`)."""
    sha256: tuple[tuple[str, str], ...] = ()
    """SHA-256 by path; or state them in `files`."""
    size: int | None = None
    """Bytes to download, if known; or state them in `files`."""
    converter: str | None = None
    """The converter that reads the files, if they are not in the zoo's own layout."""
    metrics: tuple[tuple[str, Any], ...] = ()
    """What the source reports, e.g. (("fid", 3.17),); `published` also says what of."""
    license_class: LicenseClass | None = None
    """What the licence allows; None: by its SPDX name."""
    files: tuple[PretrainedFile, ...] = ()
    """The files that are needed; none: those of the layout. A pickle is read only if it is listed
    here, and then as data, in a process of its own."""
    options: tuple[tuple[str, Any], ...] = ()
    """Options of the converter."""
    config: tuple[tuple[str, Any], ...] = ()
    """The published options of the architecture's Config, which the converter must find."""
    submodels: tuple[tuple[str, str], ...] = ()
    """Weights of submodels that have names of their own, as (submodel, name)."""
    params: int | None = None
    published: tuple[Published, ...] = ()
    citation: str = ""
    checked: str = ""
    """What was tested, and against what."""
    untested: bool = False
    """Nobody has loaded the real files yet; such weights are not listed as pretrained."""

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each file that states one, by path."""
        return {f.path: f.sha256 for f in self.files if f.sha256} | dict(self.sha256)

    @property
    def download_size(self) -> int | None:
        """Bytes to download, if known."""
        sizes = [f.size for f in self.files]
        if self.size is not None or not sizes or None in sizes:
            return self.size
        return sum(size for size in sizes if size is not None)

    @property
    def status(self) -> Literal["pinned", "unpinned"]:
        """Pinned if a SHA-256 for every file is stated, and for a repository a full commit too."""
        commit = self.repo is None or re.fullmatch("[0-9a-f]{40}", self.revision or "")
        hashes = self.hashes
        hashed = all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes.values())
        complete = bool(hashes) and {f.path for f in self.files} <= hashes.keys()
        return "pinned" if commit and hashed and complete else "unpinned"


@renamed_fields(parts="submodels")
@dataclass(frozen=True)
class ModelSpec:
    """An architecture: its family and density type, and where its class and Config are.

    `target` is a final `GenerativeModel` subclass and `config` its frozen Config, both as
    `"package.module:attr"`. The defaults are names of registered components.
    """

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
    submodels: tuple[tuple[str, str], ...] = ()
    """Models that this one is built from, as (argument, name): (("prior", "gated_pixelcnn"),)."""
    pretrained: tuple[Pretrained, ...] = ()
    summary: str = ""
    paper: str = ""
    tiny: tuple[tuple[str, Any], ...] = ()
    """Config values of a copy small enough for the conformance checks."""
    sampler_of_few: tuple[str, int] | None = None
    """A name and the most events for which it is the default instead: ("jacobi", 4)."""

    @property
    def name(self) -> str:
        """The name that users load the architecture by, `arch`."""
        return self.arch

    def sampler_of(self, n: int | None = None) -> str:
        """The default sampler of n events, or of many."""
        if n is None or self.sampler_of_few is None:
            return self.default_sampler
        name, most = self.sampler_of_few
        return name if n <= most else self.default_sampler

    def __post_init__(self) -> None:
        if self.integer_likelihood is not None:
            both = (self.default_likelihood, self.integer_likelihood)
            warn_renamed(
                "ModelSpec.integer_likelihood", f"default_likelihood={both}", stacklevel=5
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
class NetworkSpec:
    """A network that models of any family may be built with, as `network = "name"` in a recipe.

    `config` is a frozen dataclass, and `target` is called as `target(config, **sizes)` to get an
    `nn.Module`. The sizes and the calls of the module are those of its signature:

    - `denoiser`: sizes `shape`, `inputs`, `num_labels`; x (B, inputs, ...), time (B,), labels or
      None -> (B, *shape). Labels are rows of one embedding of `num_labels` rows: (B,) of a class,
      (B, N) of N labels, whose rows are summed. `num_labels` is 0 without labels.
    - `vector`: sizes `inputs`, `outputs`, `features`; x (B, inputs), features (B, features) or
      None -> (B, outputs).
    - `image`: sizes `inputs`, `outputs`, `size`; x (B, inputs, *size) -> (B, outputs, h, w).
    - `sequence`: sizes `vocabulary`, `length`, `outputs`, `condition` (a `Condition`), `places`
      (length, 2), the rows and columns of events on a grid, else None; tokens (B, T), or
      (B, T, N) whose N embeddings are summed, a condition or None, a cache of the method
      `init_cache(batch, cond)` or None -> (B, T, outputs), each of the tokens so far.
    """

    name: str
    target: str
    config: str
    signature: Signature
    summary: str = ""


@dataclass(frozen=True)
class LossSpec:
    """A training objective for models with the capabilities it requires.

    The target is a frozen dataclass whose fields are its options, called as
    `(model, batch, rng, step) -> Loss`. A loss for several players has one such method for each
    player instead, named as in the model's `make_players`.
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
class OptimizerSpec:
    """An optimizer: a frozen dataclass called as `(parameters: Mapping[str, Parameter])`.

    It returns a `torch.optim.Optimizer` over the named parameters, in groups of its own choice,
    whose state is tensors. Its fields are its options; `lr`, `betas`, `eps` and `weight_decay`
    come from `[train]`, the others from `optimizer_options`.
    """

    name: str
    target: str
    summary: str = ""


@dataclass(frozen=True)
class ScheduleSpec:
    """A learning-rate schedule: a frozen dataclass called as `(u: float) -> float`.

    u in [0, 1) is the fraction of the steps after warmup, and the result the factor of `lr`. Its
    fields are its options; `final` comes from `[train]`, the others from `schedule_options`.
    """

    name: str
    target: str
    summary: str = ""


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: a frozen dataclass whose fields are its options, called to get a `Dataset`.

    If it has an option `path`, `name:PATH` is short for `path=PATH`.
    """

    name: str
    target: str
    license: str
    summary: str = ""


@dataclass(frozen=True)
class MetricSpec:
    """A feature extractor, or a score that compares samples with real events.

    The target is a frozen dataclass. `features` are called as `(x, event) -> (N, F)` and have
    `accepts(event)` and an `identity` that names their weights. A `score` is called as
    `(generated: FeatureSet, reference: FeatureSet) -> Estimate`; it has `better` = "lower" or
    "higher", and perhaps `max_features`, above which it costs too much. Metrics that are
    `optional`, and scores of more features than that, are measured only if they are named.
    """

    name: str
    target: str
    kind: Literal["features", "score"] = "score"
    optional: bool = False
    summary: str = ""


@dataclass(frozen=True)
class ConverterSpec:
    """A map from the checkpoints of another library to an architecture of the zoo.

    The target is a frozen dataclass whose fields are its options, called as
    `(foreign: zoo_core.plugin.Foreign) -> Converted`. It gets the JSON files and tensors of a
    checkpoint, by folder, and returns the options of the architecture's Config and a state dict.

    `reads` are sets of classes that configs name (`_class_name` of diffusers, `architectures` of
    transformers). A folder that has
    all classes of one set, and of no other converter's, loads by its path alone.
    """

    name: str
    target: str
    arch: str
    summary: str = ""
    reads: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class HealthCheck:
    """A check that `zoo doctor` runs: `target` returns a `Check`, and `fix` returns nothing."""

    name: str
    target: str
    fix: str | None = None
    summary: str = ""


@dataclass(frozen=True)
class Check:
    """The result of a health check."""

    status: Literal["ok", "note", "problem"]
    message: str
    remedy: str = ""


def import_target(target: str) -> Any:
    """Import `"package.module:attr"`; raises `PluginError` with the target and the cause."""
    module, _, attributes = target.partition(":")
    try:
        value: Any = import_module(module)
        for attribute in attributes.split("."):
            value = getattr(value, attribute)
    except Exception as error:
        raise PluginError(
            f"{target!r} cannot be imported ({type(error).__name__}: {error}).",
            hint="zoo plugins check PLUGIN tries every target",
        ) from error
    return value
