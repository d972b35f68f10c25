"""Run a recipe: train, measure and save a model with its metrics and provenance.

Errors that can be found before the first step are raised there (`preflight.py`, `_dry_run`). The
weights are saved before they are measured, so a later error does not lose them.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from zoo_core.building import load_found
from zoo_core.catalog.registry import current
from zoo_core.contracts import Batch
from zoo_core.data import load_dataset
from zoo_core.data.batches import labelled, read
from zoo_core.data.dataset import Dataset, Source, log_det
from zoo_core.data.shuffle import choose
from zoo_core.errors import DataError, UsageError, ZooError, warn
from zoo_core.evaluation.quality import SampleQuality
from zoo_core.model import GenerativeModel
from zoo_core.text import printable
from zoo_core.training.batch_sampler import derive_seed
from zoo_core.training.distributed import ProcessGroup
from zoo_core.training.loop import TrainResult, train
from zoo_core.training.validation import has_likelihood
from zoo_core.weights import golden
from zoo_core.weights.checkpoint import read_metadata
from zoo_core.weights.locate import find
from zoo_core.weights.tensors import WeightChanges
from zoo_core.workflows import preflight
from zoo_core.workflows.precision import remark_on_bf16
from zoo_core.workflows.recipe import LikelihoodOptions, QualityOptions, Recipe, parse_recipe
from zoo_core.workflows.stages import build_model, plan_stages

__all__ = ["MODEL", "metric", "run_recipe"]

_logger = logging.getLogger(__name__)

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
    progress: bool = False,
    base: str | None = None,
) -> Path:
    """Train the model of a recipe and return its folder, `out/model`.

    `base` names a pretrained model of the same architecture to start from. Where the recipe's
    `[model]` differs from its config, parts are initialized afresh (`zoo.load`); `zoo.json` states
    them and the name under `from`.

    `overrides` replace values of the recipe by dotted names, e.g. `{"train.steps": 100}`; `seed`
    replaces the seed of parameters, data order and noise. Checkpoints and logs are written to
    `out`, or to a folder per stage, and `resume` continues from them. `valid` is scored at the
    end, and `test` once if the recipe reports it; `scores` are computed on the reported split.
    With `half` the files hold float16 and the rounded weights are measured.

    A stage that runs out of `max_seconds` is the last one; its weights are saved as they are.

    Errors that can be found before the first step are raised there. The weights are saved before
    they are measured, so an error after training loses metrics and golden tensors only.

        folder = run_recipe(load_recipe("made.digits"), "runs/made", seed=1)
    """
    out = Path(out)
    if overrides:
        merged = {**recipe.overrides, **overrides}
        recipe = parse_recipe(recipe.text, name=recipe.name, overrides=merged)
    if seed is not None:
        stages = [replace(s, train=replace(s.train, seed=seed)) for s in recipe.stages]
        recipe = replace(recipe, stages=tuple(stages))
    data = load_dataset(recipe.data, **recipe.data_options)
    model = (build_model(recipe) if base is None else _pretrained(recipe, base)).to(device)
    start = None if base is None else _start(base, model)
    runs = plan_stages(recipe, model, data, out)
    preflight.check(model, data, recipe, runs, out / MODEL, resume=resume)
    _dry_run(model, data, recipe)
    _check_quality(model, data, recipe)
    remark = remark_on_bf16(recipe.stages, model.device)
    if remark is not None and ProcessGroup(model.device).is_main:
        _logger.info("%s", remark)
    results = []
    for run in runs:
        result = train(
            run.model,
            run.data(),
            run.stage.train,
            loss=run.loss,
            players=run.stage.players,
            parameters=run.stage.parameters,
            out=run.folder,
            resume=resume,
            progress=progress,
        )
        results.append(result)
        if result.timed_out:
            _logger.warning(
                "%s: out of time after step %d of %d; resume goes on",
                run.stage.name,
                result.steps,
                run.stage.train.steps,
            )
            break
    ProcessGroup(model.device).on_main(
        lambda: _save(model, data, recipe, results, out / MODEL, start)
    )
    return out / MODEL


def _dry_run(model: GenerativeModel, data: Dataset, recipe: Recipe) -> None:
    """Score one event by each likelihood of the recipe; raises if one does not fit the model.

    Numbers that are not finite are ignored: the model is untrained.
    """
    for split, how in _scored(model, data, recipe):
        try:
            metric(data.split(split), split, model, replace(how, limit=1))
        except (UsageError, DataError):
            raise
        except ZooError:
            continue


def _check_quality(model: GenerativeModel, data: Dataset, recipe: Recipe) -> None:
    """Raise before training if a metric of the recipe does not exist."""
    if recipe.quality is not None and not has_likelihood(model):
        for split in _reported(data, recipe):
            _protocol(split, model, data, recipe.quality)


def _pretrained(recipe: Recipe, base: str) -> GenerativeModel:
    """The pretrained model to train further; what the recipe's options change is drawn anew."""
    spec = current().model(recipe.arch).spec
    located = find(base)
    arch = located.spec.arch if located.spec else read_metadata(located.folder)["arch"]
    if arch != spec.arch:
        raise UsageError(
            f"{base!r} is of arch {arch!r}; the recipe trains {spec.arch!r}.",
            hint="start from weights of that architecture, or set the recipe's arch",
        )
    seed = derive_seed(recipe.stages[0].train.seed, "parameters")
    model = load_found(located, recipe.model, seed=seed)
    model.measured_sampler = None  # it was measured of the weights before training
    return model


def _start(base: str, model: GenerativeModel) -> dict[str, Any]:
    """What the training started from, for `zoo.json`."""
    changes = model.weight_changes or WeightChanges((), ())
    return {
        "name": base,
        "origin": model.origin,
        "new": list(changes.new),
        "dropped": list(changes.dropped),
    }


def _save(
    model: GenerativeModel,
    data: Dataset,
    recipe: Recipe,
    results: Sequence[TrainResult],
    folder: Path,
    start: Mapping[str, Any] | None,
) -> None:
    """Save the weights as they are, then measured and with golden tensors."""
    provenance = _provenance(data, recipe, results)
    if start is not None:
        model.origin = None  # the weights are no longer those of the Hub
        provenance["from"] = dict(start)
    model.save(folder, metrics=[], **provenance)
    with _report_saved(folder):
        if recipe.half:
            _round_to_half(model)
        metrics = _metrics(model, data, recipe)
        model.to("cpu")  # golden tensors are recorded where everybody can check them
        model.save(
            folder,
            golden=golden.record(model, *_golden_batch(model, data)),
            stored=torch.float16 if recipe.half else None,
            metrics=metrics,
            **provenance,
        )


@contextmanager
def _report_saved(folder: Path) -> Iterator[None]:
    """Warn where the weights are if the block raises."""
    try:
        yield
    except BaseException:
        warn(f"{folder} holds the trained weights, without metrics and golden tensors.")
        raise


def _golden_batch(model: GenerativeModel, data: Dataset) -> Batch:
    """Events for golden tensors: held-out ones, or those of `train` if there are no others."""
    split = data.splits.get("valid", data.splits["train"])
    return labelled(model, read(data.event, split, slice(golden.ROWS)))


def _provenance(data: Dataset, recipe: Recipe, results: Sequence[TrainResult]) -> dict[str, Any]:
    """How the weights were made, for `zoo.json`."""
    return {
        "license": recipe.license,
        "source": recipe.source,
        "recipe": _described(recipe),
        "data": {
            "name": data.name,
            "license": data.license,
            "provenance": data.provenance,
            **({} if data.columns is None else {"columns": data.columns.record()}),
        },
        "training": {
            "seed": recipe.stages[0].train.seed,
            "seconds": round(sum(r.seconds for r in results), 3),
            "stages": [
                {"name": s.name, "steps": r.steps, "best_step": r.best_step, "valid": r.value}
                for s, r in zip(recipe.stages, results, strict=False)
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

    For a model without a likelihood: the quality of its samples beside events of that split.
    """
    scored = has_likelihood(model)
    splits = () if scored else _reported(data, recipe)
    quality = [row for name in splits for row in _quality(name, model, data, recipe.quality)]
    likelihoods = _scored(model, data, recipe)
    return quality + [metric(data.split(s), s, model, how) for s, how in likelihoods]


def _reported(data: Dataset, recipe: Recipe) -> list[str]:
    """The splits that are measured."""
    return [s for s in dict.fromkeys(("valid", recipe.report)) if s in data.splits]


def _scored(
    model: GenerativeModel, data: Dataset, recipe: Recipe
) -> list[tuple[str, LikelihoodOptions]]:
    """Pairs of a split and a likelihood to score it by, the default likelihood first."""
    splits = _reported(data, recipe) if has_likelihood(model) else ()
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
        conditional=model.condition.kind != "none",
    )


def _quality(
    split: str, model: GenerativeModel, data: Dataset, how: QualityOptions | None
) -> list[dict[str, Any]]:
    if how is None:
        return []
    compare = _protocol(split, model, data, how)
    _, cond = labelled(model, read(data.event, data.split(split), compare.rows))
    quality = compare(model.sample(compare.n, cond=cond, device="cpu"))
    for label, why in compare.left_out.items():
        _logger.warning("%s", printable(f"{label} is left out: {why}"))
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
        for row in quality
    ]


def metric(
    split: Source, name: str, model: GenerativeModel, how: LikelihoodOptions
) -> dict[str, Any]:
    """The likelihood of a split called `name`, as `zoo.json` states it."""
    indices = choose(0, len(split), how.limit)
    x, cond = labelled(model, read(model.event, split, indices))
    ll = model.log_likelihood(x, cond=cond, method=how.method, **how.options)
    ll = ll.in_units(log_det(split))
    mean, calls = ll.mean(), ll.evaluations
    split_up = ll.terms if model.event.unit == "dim" else {}
    terms = {term: float(ll.bits_per_dim(term).mean()) for term in split_up}
    return {
        "split": name,
        "method": how.method,
        "options": dict(how.options),
        **mean.record(),
        **({"terms_bits_per_dim": terms} if terms else {}),
        **({} if calls is None else {"evaluations": float(calls.double().mean())}),
    }
