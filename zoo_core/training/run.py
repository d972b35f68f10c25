"""From a recipe to a folder of weights that says how good they are and how they were made."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from zoo_core import resolve
from zoo_core.data import load_dataset
from zoo_core.data.dataset import Dataset, Split
from zoo_core.data.order import choose
from zoo_core.evaluation.quality import SampleQuality
from zoo_core.model import GenerativeModel
from zoo_core.registry import current
from zoo_core.training.data import labelled
from zoo_core.training.loop import TrainResult, train
from zoo_core.training.order import derive
from zoo_core.training.precision import remark_on_bf16
from zoo_core.training.processes import Processes
from zoo_core.training.recipe import Recipe, Score, parse_recipe
from zoo_core.training.validation import scores_by_likelihood
from zoo_core.weights import golden

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
    _check_scores(model, recipe)
    remark = remark_on_bf16(recipe.stages, model.device)
    if remark is not None and progress and Processes(model.device).main:
        print(remark, file=sys.stderr)
    results = [
        train(
            model,
            data,
            stage.train,
            loss=resolve.loss(model, stage.loss, stage.loss_options),
            players=stage.players,
            parameters=stage.parameters,
            out=out / stage.name if len(recipe.stages) > 1 else out,
            resume=resume,
            progress=progress,
        )
        for stage in recipe.stages
    ]
    processes = Processes(model.device)
    if processes.main:
        _save(model, data, recipe, results, out / MODEL)
    processes.wait()
    return out / MODEL


def _check_scores(model: GenerativeModel, recipe: Recipe) -> None:
    """What is misspelt is refused before hours of training."""
    for score in recipe.scores:
        resolve.likelihood(model, score.method, score.options)
    if recipe.likelihood.options:
        resolve.likelihood(model, None, recipe.likelihood.options)


def _build(recipe: Recipe) -> GenerativeModel:
    """The model with fresh parameters, which depend on the seed alone."""
    spec = current().model(recipe.arch).spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(recipe.stages[0].train.seed, "parameters"))
        return resolve.build(spec, recipe.model)


def _save(
    model: GenerativeModel,
    data: Dataset,
    recipe: Recipe,
    results: Sequence[TrainResult],
    folder: Path,
) -> None:
    if recipe.half:
        _round_to_half(model)
    metrics = _metrics(model, data, recipe)
    model.to("cpu")  # golden tensors are for everybody's machine
    valid = data.splits.get("valid")
    x, cond = labelled(model, (valid.x, valid.y)) if valid is not None else (None, None)
    model.save(
        folder,
        golden=golden.record(model, x, cond),
        stored=torch.float16 if recipe.half else None,
        license=recipe.license,
        source=recipe.source,
        recipe=_described(recipe),
        data={"name": data.name, "license": data.license, "provenance": data.provenance},
        metrics=metrics,
        training={
            "seed": recipe.stages[0].train.seed,
            "seconds": round(sum(r.seconds for r in results), 3),
            "stages": [
                {"name": s.name, "steps": r.steps, "best_step": r.best_step, "valid": r.value}
                for s, r in zip(recipe.stages, results, strict=True)
            ],
            "torch": torch.__version__,
        },
    )


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
    wanted = dict.fromkeys(s for s in ("valid", recipe.report) if s in data.splits)
    scored = scores_by_likelihood(model)
    quality = [] if scored else [row for name in wanted for row in _quality(name, model, data)]
    by_default = [(s, recipe.likelihood) for s in wanted if scored]
    further = [(recipe.report, score) for score in recipe.scores]
    return quality + [metric(data.split(s), s, model, how) for s, how in by_default + further]


def _quality(split: str, model: GenerativeModel, data: Dataset) -> list[dict[str, Any]]:
    compare = SampleQuality(data, split=split, conditional=model.condition.kind == "classes")
    samples = model.sample(compare.n, cond=compare.classes)
    return [
        {
            "split": split,
            "score": row.label,
            "value": row.value.value,
            "std_err": row.value.std_err,
            "real": row.real.value,
            "null": row.null.value,
            "n": row.n,
            "n_reference": row.n_reference,
        }
        for row in compare(samples)
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
