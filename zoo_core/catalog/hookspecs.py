"""The plugin contract: twelve hooks, each returning frozen specs, none computing anything.

A plugin implements the hooks it needs as functions marked with `hookimpl` in the module that
its `density_zoo` entry point names. That module must not import torch or numpy.
"""

from collections.abc import Iterable

import pluggy

from zoo_core.catalog.specs import (
    ConverterSpec,
    DatasetSpec,
    DensityType,
    HealthCheck,
    LikelihoodSpec,
    LossSpec,
    MetricSpec,
    ModelSpec,
    NetworkSpec,
    OptimizerSpec,
    SamplerSpec,
    ScheduleSpec,
)

__all__ = ["PROJECT", "ZOO_API", "ZooHooks", "hookimpl", "hookspec"]

PROJECT = "density_zoo"
"""Name of the pluggy project and of the entry-point group."""

ZOO_API = 1
"""Version of this contract; a plugin module states the one it was written for."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class ZooHooks:
    """The hooks that a plugin can implement."""

    @hookspec
    def zoo_density_types(self) -> Iterable[DensityType]:
        """Ways of defining p(x) beyond the four of the core."""
        raise NotImplementedError

    @hookspec
    def zoo_models(self) -> Iterable[ModelSpec]:
        """Architectures."""
        raise NotImplementedError

    @hookspec
    def zoo_networks(self) -> Iterable[NetworkSpec]:
        """Networks that models of any family may be built with, by their signature."""
        raise NotImplementedError

    @hookspec
    def zoo_losses(self) -> Iterable[LossSpec]:
        """Training objectives, by the capabilities they require."""
        raise NotImplementedError

    @hookspec
    def zoo_samplers(self) -> Iterable[SamplerSpec]:
        """Ways to draw events, by the capabilities they require."""
        raise NotImplementedError

    @hookspec
    def zoo_likelihoods(self) -> Iterable[LikelihoodSpec]:
        """Ways to score events, each with the kind of its numbers."""
        raise NotImplementedError

    @hookspec
    def zoo_optimizers(self) -> Iterable[OptimizerSpec]:
        """Optimizers."""
        raise NotImplementedError

    @hookspec
    def zoo_schedules(self) -> Iterable[ScheduleSpec]:
        """Learning-rate schedules."""
        raise NotImplementedError

    @hookspec
    def zoo_datasets(self) -> Iterable[DatasetSpec]:
        """Data sets with named splits."""
        raise NotImplementedError

    @hookspec
    def zoo_metrics(self) -> Iterable[MetricSpec]:
        """Feature extractors and scores over samples."""
        raise NotImplementedError

    @hookspec
    def zoo_converters(self) -> Iterable[ConverterSpec]:
        """Maps from checkpoints of other libraries to architectures of the zoo."""
        raise NotImplementedError

    @hookspec
    def zoo_health_checks(self) -> Iterable[HealthCheck]:
        """Checks that `zoo doctor` runs."""
        raise NotImplementedError
