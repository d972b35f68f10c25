"""From a recipe to a folder of weights that says how good they are and how they were made.

What can be known before the first step is refused there (`beforehand.py`, `_rehearse`). What fails
at the end all the same finds the weights saved.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from zoo_core.building import build
from zoo_core.catalog import components as resolve
from zoo_core.catalog.registry import current
from zoo_core.contracts import Batch
from zoo_core.data import load_dataset
from zoo_core.data.batches import labelled
from zoo_core.data.dataset import Dataset, Split
from zoo_core.data.shuffle import choose
from zoo_core.errors import DataError, UsageError, ZooError, warn
from zoo_core.evaluation.quality import SampleQuality
from zoo_core.model import GenerativeModel
from zoo_core.training.batch_sampler import derive
from zoo_core.training.distributed import Processes
from zoo_core.training.loop import TrainResult, train
from zoo_core.training.validation import scores_by_likelihood
from zoo_core.weights import golden
from zoo_core.workflows import beforehand
from zoo_core.workflows.precision import remark_on_bf16
from zoo_core.workflows.recipe import QualityOptions, Recipe, Score, parse_recipe

__all__ = ["MODEL", "metric", "run_recipe"]

MODEL = "model"
"""The folder of the finished model inside a training's."""


def run_recipe(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Path:
    """Train what a recipe says and return the folder of the finished model, `out/model`.

    `seed` replaces the recipe's for parameters, data order and noise. Checkpoints and logs are in
    `out`, one folder a stage where there are stages; `resume` continues from them. `valid` is
    scored at the end, and `test`, once, if the recipe reports it; the `scores` are that split's.
    With `half` the files hold float16, and what is measured are the numbers that they hold.

    What can be known before the first step raises there. The weights are saved before they are
    measured, so that an error after training loses no more than the metrics and golden tensors.
    """
    out = Path(out)
    if overrides:
        merged = {**recipe.overrides, **overrides}
        recipe = parse_recipe(recipe.text, name=recipe.name, overrides=merged)
    if seed is not None:
        stages = [replace(s, train=replace(s.train, seed=seed)) for s in recipe.stages]
        recipe = replace(recipe, stages=tuple(stages))
    data = load_dataset(recipe.data, **recipe.data_options)
    model = _build(recipe).to(device)
    losses = [resolve.loss(model, stage.loss, stage.loss_options) for stage in recipe.stages]
    folders = [out / s.name if len(recipe.stages) > 1 else out for s in recipe.stages]
    beforehand.check(model, data, recipe, losses, folders, out / MODEL, resume=resume)
    _rehearse(model, data, recipe)
    _check_quality(model, data, recipe)
    remark = remark_on_bf16(recipe.stages, model.device)
    if remark is not None and progress and Processes(model.device).main:
        print(remark, file=sys.stderr)
    results = [
        train(
            model,
            data,
            stage.train,
            loss=loss,
            players=stage.players,
            parameters=stage.parameters,
            out=folder,
            resume=resume,
            progress=progress,
        )
        for stage, loss, folder in zip(recipe.stages, losses, folders, strict=True)
    ]
    processes = Processes(model.device)
    if processes.main:
        _save(model, data, recipe, results, out / MODEL)
    processes.wait()
    return out / MODEL


def _rehearse(model: GenerativeModel, data: Dataset, recipe: Recipe) -> None:
    """Score one event by all that is to be scored at the end; raises what does not fit.

    That the numbers of an untrained model are none says nothing of the trained one's.
    """
    for split, how in _scored(model, data, recipe):
        try:
            metric(data.split(split), split, model, replace(how, limit=1))
        except (UsageError, DataError):
            raise
        except ZooError:
            continue


def _check_quality(model: GenerativeModel, data: Dataset, recipe: Recipe) -> None:
    """Names of metrics that are misspelt are refused before training."""
    if recipe.quality is not None and not scores_by_likelihood(model):
        for split in _reported(data, recipe):
            _protocol(split, model, data, recipe.quality)


def _build(recipe: Recipe) -> GenerativeModel:
    """The model with fresh parameters, which depend on the seed alone."""
    spec = current().model(recipe.arch).spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(recipe.stages[0].train.seed, "parameters"))
        return build(spec, recipe.model)


def _save(
    model: GenerativeModel,
    data: Dataset,
    recipe: Recipe,
    results: Sequence[TrainResult],
    folder: Path,
) -> None:
    """Save the weights as they are, then measured and with golden tensors."""
    known = _known(data, recipe, results)
    model.save(folder, metrics=[], **known)
    with _kept(folder):
        if recipe.half:
            _round_to_half(model)
        metrics = _metrics(model, data, recipe)
        model.to("cpu")  # golden tensors are for everybody's machine
        model.save(
            folder,
            golden=golden.record(model, *_to_score(model, data)),
            stored=torch.float16 if recipe.half else None,
            metrics=metrics,
            **known,
        )


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """What is raised inside comes with a warning that says where the weights are."""
    try:
        yield
    except BaseException:
        warn(f"{folder} holds the trained weights, without metrics and golden tensors.")
        raise


def _to_score(model: GenerativeModel, data: Dataset) -> Batch:
    """Events for golden tensors: held-out ones, or those of `train` if there are no others."""
    split = data.splits.get("valid", data.splits["train"])
    return labelled(model, (split.x, split.y))


def _known(data: Dataset, recipe: Recipe, results: Sequence[TrainResult]) -> dict[str, Any]:
    """What `zoo.json` says of how the weights were made."""
    return {
        "license": recipe.license,
        "source": recipe.source,
        "recipe": _described(recipe),
        "data": {"name": data.name, "license": data.license, "provenance": data.provenance},
        "training": {
            "seed": recipe.stages[0].train.seed,
            "seconds": round(sum(r.seconds for r in results), 3),
            "stages": [
                {"name": s.name, "steps": r.steps, "best_step": r.best_step, "valid": r.value}
                for s, r in zip(recipe.stages, results, strict=True)
            ],
            "torch": torch.__version__,
        },
    }


@torch.no_grad()
def _round_to_half(model: GenerativeModel) -> None:
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())


def _described(recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "text": recipe.text,
        "sha256": recipe.sha256,
        "overrides": dict(recipe.overrides),
    }


def _metrics(model: GenerativeModel, data: Dataset, recipe: Recipe) -> list[dict[str, Any]]:
    """Likelihoods with their kind: on `valid`, and on `test` if the recipe reports it.

    Of a model without one, the quality of its samples beside real events of that split.
    """
    scored = scores_by_likelihood(model)
    splits = () if scored else _reported(data, recipe)
    quality = [row for name in splits for row in _quality(name, model, data, recipe.quality)]
    likelihoods = _scored(model, data, recipe)
    return quality + [metric(data.split(s), s, model, how) for s, how in likelihoods]


def _reported(data: Dataset, recipe: Recipe) -> list[str]:
    """The splits that are measured."""
    return [s for s in dict.fromkeys(("valid", recipe.report)) if s in data.splits]


def _scored(model: GenerativeModel, data: Dataset, recipe: Recipe) -> list[tuple[str, Score]]:
    """What is scored by which likelihood on which split: the default one first."""
    splits = _reported(data, recipe) if scores_by_likelihood(model) else ()
    by_default = [(s, recipe.likelihood) for s in splits]
    return by_default + [(recipe.report, score) for score in recipe.scores]


def _protocol(
    split: str, model: GenerativeModel, data: Dataset, how: QualityOptions
) -> SampleQuality:
    return SampleQuality(
        data,
        split=split,
        n=how.n,
        features=how.features,
        scores=how.scores,
        conditional=model.condition.kind == "classes",
    )


def _quality(
    split: str, model: GenerativeModel, data: Dataset, how: QualityOptions | None
) -> list[dict[str, Any]]:
    if how is None:
        return []
    compare = _protocol(split, model, data, how)
    _, cond = labelled(model, data.split(split).batch(compare.rows))
    found = compare(model.sample(compare.n, cond=cond))
    for label, why in compare.left_out.items():
        print(f"{label} is left out: {why}", file=sys.stderr)
    return [
        {
            "split": split,
            "score": row.label,
            "value": row.value.value,
            "std_err": row.value.std_err,
            "real": row.real.value,
            "null": row.baseline.value,
            "n": row.n,
            "n_reference": row.n_reference,
        }
        for row in found
    ]


def metric(split: Split, name: str, model: GenerativeModel, how: Score) -> dict[str, Any]:
    """The likelihood of a split called `name`, as `zoo.json` states it."""
    rows = choose(0, len(split), how.limit)
    x, cond = labelled(model, split.batch(rows))
    found = model.log_likelihood(x, cond=cond, method=how.method, **how.options)
    mean, calls = found.mean(), found.evaluations
    terms = {term: float(found.bits_per_dim(term).mean()) for term in found.terms}
    return {
        "split": name,
        "method": how.method,
        "options": dict(how.options),
        **mean.record(),
        **({"terms_bits_per_dim": terms} if terms else {}),
        **({} if calls is None else {"evaluations": float(calls.double().mean())}),
    }
