"""The stages of a recipe: what each trains, by which loss, on which data, in which folder.

A stage with an `arch` trains the submodel of its name; one without trains the whole model. The
data `latents:NAME` are those of the recipe, or of the stage NAME, encoded by the submodel NAME.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo_core.building import build
from zoo_core.catalog import components
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import ModelSpec
from zoo_core.data import load_dataset
from zoo_core.data.dataset import Dataset
from zoo_core.errors import ConfigError
from zoo_core.model import GenerativeModel
from zoo_core.training.batch_sampler import derive_seed
from zoo_core.training.distributed import ProcessGroup
from zoo_core.workflows.latents import cached_latents, encode
from zoo_core.workflows.recipe import Recipe, Stage

__all__ = ["LATENTS", "StageRun", "build_model", "plan_stages"]

LATENTS = "latents:"
"""The prefix of data that are latents: `latents:NAME`."""
_FILE = "latents.safetensors"


@dataclass(frozen=True)
class _Source:
    """A data set, or the latents of one under `encoder`, which are cached at `path`."""

    data: Dataset
    encoder: GenerativeModel | None = None
    path: Path | None = None


@dataclass(frozen=True)
class StageRun:
    """A stage, with the model or submodel that it trains."""

    stage: Stage
    model: GenerativeModel
    loss: Any
    folder: Path
    source: _Source

    def preview(self) -> Dataset:
        """The data, or a batch of latents by an encoder that may be untrained: for checks."""
        if self.source.encoder is None:
            return self.source.data
        return encode(self.source.encoder, self.source.data, limit=self.stage.train.batch_size)

    def data(self) -> Dataset:
        """The data; latents are encoded once, by the main process, and read from their file."""
        source = self.source
        if source.encoder is None or source.path is None:
            return source.data
        encoder, path = source.encoder, source.path

        def encode_once() -> None:
            cached_latents(encoder, source.data, path, write=True)

        ProcessGroup(self.model.device).on_main(encode_once)
        return cached_latents(encoder, source.data, path, write=False)


def build_model(recipe: Recipe) -> GenerativeModel:
    """A model with fresh parameters, submodels included, a function of the seeds alone."""
    spec = current().model(recipe.arch).spec
    own = [s for s in recipe.stages if s.arch is not None]
    _check_names(spec, own)
    submodels = {s.name: _fresh(s.arch or "", s.model, s.train.seed) for s in own}
    return _fresh(recipe.arch, {**recipe.model, **submodels}, recipe.stages[0].train.seed)


def plan_stages(
    recipe: Recipe, model: GenerativeModel, data: Dataset, out: Path
) -> list[StageRun]:
    """The stages in order, for a model of `build_model` and the recipe's data set."""
    runs: list[StageRun] = []
    for stage in recipe.stages:
        trained = model if stage.arch is None else _submodel(model, stage.name)
        loss = components.loss(trained, stage.loss, stage.loss_options)
        alone = len(recipe.stages) == 1 and stage.arch is None
        folder = out if alone else out / stage.name
        source = _source(recipe, stage, model, runs, data, out)
        runs.append(StageRun(stage, trained, loss, folder, source))
    return runs


def _fresh(arch: str, options: Mapping[str, Any], seed: int) -> GenerativeModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "parameters"))
        return build(current().model(arch).spec, options)


def _submodel(model: GenerativeModel, name: str) -> GenerativeModel:
    submodel = model.get_submodule(name)
    assert isinstance(submodel, GenerativeModel)
    return submodel


def _check_names(spec: ModelSpec, stages: list[Stage]) -> None:
    names = [name for name, _ in spec.submodels]
    for stage in stages:
        if stage.name not in names:
            raise ConfigError(
                f"stage {stage.name!r} has an arch of its own, and {spec.arch} has no submodel of "
                f"that name; submodels: {', '.join(names) or 'none'}.",
                hint="name the stage after the submodel that it trains, or drop its arch",
            )


def _source(
    recipe: Recipe,
    stage: Stage,
    model: GenerativeModel,
    earlier: list[StageRun],
    data: Dataset,
    out: Path,
) -> _Source:
    """Where a stage's data come from, given the stages before it."""
    if stage.data is None:
        return _Source(data)
    if not stage.data.startswith(LATENTS):
        return _Source(load_dataset(stage.data, **stage.data_options))
    name = stage.data.removeprefix(LATENTS)
    _check_encoder(recipe, stage, name, [run.stage.name for run in earlier])
    encoded = next((r.source.data for r in earlier if r.stage.name == name), data)
    return _Source(encoded, _submodel(model, name), out / name / _FILE)


def _check_encoder(recipe: Recipe, stage: Stage, name: str, earlier: list[str]) -> None:
    """The encoder of latents is a submodel that no later stage trains."""
    names = [n for n, _ in current().model(recipe.arch).spec.submodels]
    if name not in names:
        raise ConfigError(
            f"stage {stage.name!r}: data = {stage.data!r}, and {recipe.arch} has no submodel "
            f"{name!r}; submodels: {', '.join(names) or 'none'}.",
            hint="write latents:NAME of a submodel that encodes",
        )
    if name in [s.name for s in recipe.stages] and name not in earlier:
        raise ConfigError(
            f"stage {stage.name!r}: data = {stage.data!r}, which is not trained before it.",
            hint=f"put stage {name!r} first",
        )
