"""Names of before 0.2: each still works, and warns once with the name that replaces it.

Modules that moved are found by a finder behind all others, which returns the module under its new
name; nothing is looked up twice or copied. What is here goes away one minor release later.
"""

import sys
import warnings
from collections.abc import Callable, Container, Iterable, Mapping
from functools import wraps
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "ATTRIBUTES",
    "METHODS",
    "MODULES",
    "OPTIONS",
    "install",
    "moved_attribute",
    "renamed_arguments",
    "renamed_fields",
    "renamed_methods",
    "renamed_options",
    "warn_renamed",
]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

MODULES = {
    "zoo_core.capabilities": "zoo_core.catalog.capabilities",
    "zoo_core.data.event": "zoo_core.spaces",
    "zoo_core.data.order": "zoo_core.data.shuffle",
    "zoo_core.evaluation.cloud": "zoo_core.evaluation.feature_set",
    "zoo_core.evaluation.kernel": "zoo_core.evaluation.kid",
    "zoo_core.evaluation.manifold": "zoo_core.evaluation.prdc",
    "zoo_core.evaluation.record": "zoo_core.workflows.verification",
    "zoo_core.evaluation.reference": "zoo_core.evaluation.reference_cache",
    "zoo_core.evaluation.study": "zoo_core.workflows.study",
    "zoo_core.evaluation.verdict": "zoo_core.catalog.significance",
    "zoo_core.hookspecs": "zoo_core.catalog.hookspecs",
    "zoo_core.installing.outcome": "zoo_core.installing.post_install",
    "zoo_core.installing.wanted": "zoo_core.installing.requirements",
    "zoo_core.likelihoods.collapse": "zoo_core.likelihoods.posterior_collapse",
    "zoo_core.likelihoods.maps": "zoo_core.likelihoods.per_dimension",
    "zoo_core.names": "zoo_core.catalog.names",
    "zoo_core.plugins": "zoo_core.catalog.plugins",
    "zoo_core.registry": "zoo_core.catalog.registry",
    "zoo_core.resolve": "zoo_core.catalog.components",
    "zoo_core.specs": "zoo_core.catalog.specs",
    "zoo_core.training.diagnosis": "zoo_core.contracts",
    "zoo_core.training.ending": "zoo_core.training.signals",
    "zoo_core.training.order": "zoo_core.training.batch_sampler",
    "zoo_core.training.processes": "zoo_core.training.distributed",
    "zoo_core.training.recipe": "zoo_core.workflows.recipe",
    "zoo_core.training.run": "zoo_core.workflows.run",
    "zoo_core.training.start": "zoo_core.training.initialization",
    "zoo_core.workflows.beforehand": "zoo_core.workflows.preflight",
    "zoo_core.weights.bounded": "zoo_core.weights.memory_guard",
    "zoo_core.weights.foreign": "zoo_core.weights.third_party",
    "zoo_core.weights.foreign_config": "zoo_core.weights.third_party_config",
    "zoo_core.weights.hub.failures": "zoo_core.weights.hub.http_errors",
    "zoo_core.weights.hub.upkeep": "zoo_core.weights.hub.prune",
    "zoo_core.weights.hub.upload": "zoo_core.publishing",
    "zoo_core.weights.recognise": "zoo_core.weights.detect_format",
    "zoo_core.weights.shelf": "zoo_core.weights.local_repository",
    "zoo_diffusion.conditioning": "zoo_diffusion.networks",
    "zoo_diffusion.fourier_features": "zoo_diffusion.networks",
    "zoo_diffusion.fused_mlp_sampler": "zoo_diffusion.samplers.fused_mlp",
    "zoo_diffusion.ode_likelihood": "zoo_diffusion.likelihoods.ode",
    "zoo_diffusion.probability_flow": "zoo_diffusion.likelihoods.probability_flow",
    "zoo_diffusion.quantization": "zoo_diffusion.likelihoods.terms",
    "zoo_diffusion.sampling_loop": "zoo_diffusion.samplers.loop",
    "zoo_diffusion.score": "zoo_diffusion.model",
    "zoo_diffusion.timesteps": "zoo_diffusion.parameterization",
    "zoo_diffusion.vlb": "zoo_diffusion.likelihoods.terms",
    "zoo_flows.compat": "zoo_flows.torch_distributions",
}
"""Modules by their old names."""

ATTRIBUTES = {
    "zoo_core": {"Fixed": "zoo_core.contracts:Inpainting"}
    | dict.fromkeys(
        (
            "ZOO_API",
            "Batch",
            "Check",
            "ConverterSpec",
            "DatasetSpec",
            "HealthCheck",
            "LikelihoodSpec",
            "Loss",
            "LossSpec",
            "MetricSpec",
            "ModelSpec",
            "Player",
            "Pretrained",
            "Range",
            "SamplerSpec",
            "hookimpl",
        ),
        "zoo_core.plugin",
    ),
    "zoo_core.contracts": {
        "Completes": "zoo_core.contracts:SupportsInpainting",
        "Fixed": "zoo_core.contracts:Inpainting",
        "Scores": "zoo_core.contracts:LikelihoodResult",
    },
    "zoo_core.evaluation.feature_set": {"Cloud": "zoo_core.evaluation.feature_set:FeatureSet"},
    "zoo_core.finite": {"check_reals": "zoo_core.finite:check_finite"},
    "zoo_core.likelihoods.elbo": dict.fromkeys(
        ("Draw", "Joint"), "zoo_core.likelihoods.posterior"
    ),
    "zoo_core.model": dict.fromkeys(("Loss", "LossFunction"), "zoo_core.contracts"),
    "zoo_core.nn.inputs": {"ordinal": "zoo_core.spaces:rescale_levels"},
    "zoo_core.training": dict.fromkeys(
        ("Recipe", "load_recipe", "run_recipe"), "zoo_core.workflows"
    ),
    "zoo_core.training.data": dict.fromkeys(
        ("check_fit", "labelled", "take"), "zoo_core.data.batches"
    ),
    "zoo_core.weights.third_party": {"convert": "zoo_core.building"},
}
"""Names that a module no longer has: the module where they are now, as `module:name` if the name
itself is another one."""


OPTIONS = {
    "clip": "clip_denoised",
    "critic": "discriminator",
    "drop": "p_uncond",
    "guidance": "guidance_scale",
    "halvings": "downsamples",
    "kernel": "kernel_size",
    "start": "t_min",
    "threshold": "dynamic_thresholding_ratio",
    "waves": "fourier_features",
}
"""Options by their old names, in recipes, `zoo.json` files and calls by name. An old name means
the new one only where a config has the new one and not the old."""

METHODS = {"Conditionals": {"begin": "init_cache", "conditional": "decode_step"}}
"""Methods of capabilities by their old names."""


def renamed_methods(cls: type) -> None:
    """Give a model class the methods of its capabilities under both names.

    A class that defines the old methods has the capability, and warns when it is defined. On a
    class with the new methods, the old names warn when they are called.
    """
    for capability, methods in METHODS.items():
        if _lacks(cls, methods.values()) and not _lacks(cls, methods):
            old, new = ", ".join(methods), ", ".join(methods.values())
            warn_renamed(f"{capability} ({old}) of {cls.__qualname__}", new, stacklevel=4)
            for name, replacement in methods.items():
                setattr(cls, replacement, getattr(cls, name))
        elif _lacks(cls, methods) and not _lacks(cls, methods.values()):
            for name, replacement in methods.items():
                setattr(cls, name, _renamed_method(name, replacement))


def _lacks(cls: type, methods: Iterable[str]) -> bool:
    return not all(callable(getattr(cls, name, None)) for name in methods)


def _renamed_method(old: str, new: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        warn_renamed(f"method {old}", new)
        return getattr(self, new)(*args, **kwargs)

    return method


def renamed_options(values: Mapping[str, Any], known: Container[str]) -> dict[str, Any]:
    """`values` with old names of options as new ones; each that is found warns."""
    return {_renamed(name, values, known): value for name, value in values.items()}


def _renamed(name: str, values: Mapping[str, Any], known: Container[str]) -> str:
    new = OPTIONS.get(name)
    if name in known or new is None or new not in known or new in values:
        return name
    warn_renamed(f"option {name}", new, stacklevel=5)
    return new


def moved_attribute(module: str, name: str) -> Any:
    """What `module.name` is now, for the `__getattr__` of that module."""
    if name not in ATTRIBUTES[module]:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    home, _, new = ATTRIBUTES[module][name].partition(":")
    new = new or name
    warn_renamed(f"{module}.{name}", f"{home}.{new}", stacklevel=4)
    return getattr(import_module(home), new)


def renamed_arguments(**new_names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take keywords by their old names: `@renamed_arguments(old="new")`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in new_names.keys() & kwargs.keys():
                new = new_names[old]
                warn_renamed(f"{function.__qualname__}({old}=...)", f"{new}=...")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def renamed_fields(**new_names: str) -> Callable[[type[T]], type[T]]:
    """Let a dataclass take and give fields by their old names: `@renamed_fields(old="new")`."""

    def decorate(cls: type[T]) -> type[T]:
        setattr(cls, "__init__", renamed_arguments(**new_names)(cls.__init__))  # noqa: B010
        for old, new in new_names.items():
            setattr(cls, old, _renamed_property(old, new))
        return cls

    return decorate


def _renamed_property(old: str, new: str) -> property:
    def get(self: Any) -> Any:
        warn_renamed(f"{type(self).__name__}.{old}", new)
        return getattr(self, new)

    return property(get)


class _Moved(Loader):
    """Finds a module by its old name; the module itself stays the one of the new name."""

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        warn_renamed(spec.name, MODULES[spec.name])
        module = import_module(MODULES[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """The module has run already; the import system has put the old spec into it."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Let old names of modules be found, once."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())


def warn_renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn, from the caller of the caller by default, that `old` is now called `new`."""
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=stacklevel)
