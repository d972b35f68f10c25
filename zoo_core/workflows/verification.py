"""Recorded evaluations and their verification: `evaluation.json` in a model's folder.

A record names its weights by hash, so it cannot be taken for another model's. `spot_check` scores
a few events again and compares to rounding; `verify` repeats the evaluation and compares within
the recorded standard errors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_core.catalog import components as resolve
from zoo_core.catalog.layout import EVALUATION
from zoo_core.data import load_dataset
from zoo_core.data.dataset import Dataset
from zoo_core.errors import DataError, IntegrityError
from zoo_core.evaluation import scoring
from zoo_core.evaluation.evaluate import MEASUREMENTS, SCHEMA, Evaluation, evaluate
from zoo_core.files import write_json
from zoo_core.model import GenerativeModel
from zoo_core.reading import read_json
from zoo_core.uncertainty import from_json
from zoo_core.weights.checkpoint import read_metadata, weights_hash
from zoo_core.workflows.recipe import Recipe, parse_recipe

__all__ = [
    "Reproduction",
    "data_of",
    "read_record",
    "recipe_of",
    "spot_check",
    "verify",
    "verify_metrics",
    "write_record",
]

_SPOT_TOLERANCE = 1e-3
_ROUNDING = 1e-6
"""Tolerance if the recorded error is 0: all points counted, or none."""


@dataclass(frozen=True)
class Reproduction:
    """A recorded number, the same number now, and the tolerance of their difference.

    If the recorded error is unknown only rounding is tolerated: the seed is the same.
    """

    what: str
    recorded: float
    now: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.now == self.recorded or abs(self.now - self.recorded) <= self.tolerance

    def __str__(self) -> str:
        return (
            f"{self.what}: recorded {self.recorded:.6g}, now {self.now:.6g} "
            f"(within {self.tolerance:.2g}: {'yes' if self.agrees else 'NO'})"
        )


def write_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Save an evaluation beside its weights; raises `DataError` if it names no weights."""
    path = folder / EVALUATION
    if record["model"].get("weights") is None:
        raise DataError(
            f"{folder}: zoo.json records no hash of the weights, so no evaluation can name them.",
            hint="load the model and save it anew",
        )
    write_json(path, record)
    return path


def read_record(folder: Path) -> dict[str, Any] | None:
    """The evaluation in a model's folder, or None; raises if it names other weights."""
    path = folder / EVALUATION
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = read_json(path)
        schema, weights = record["schema"], record["model"]["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is no evaluation ({error}).") from None
    if schema != SCHEMA or weights is None or weights != weights_hash(folder):
        raise IntegrityError(
            f"{path} is not of the weights beside it.", hint=f"zoo evaluate {folder} --record"
        )
    return record


def recipe_of(folder: Path) -> Recipe:
    """The recipe that a model was trained by."""
    recipe = read_metadata(folder).get("recipe")
    if not isinstance(recipe, dict) or "text" not in recipe:
        raise DataError(f"{folder} names no recipe, so no data set.", hint="name one: --data NAME")
    return parse_recipe(recipe["text"], overrides=recipe.get("overrides"))


def data_of(folder: Path, **options: Any) -> Dataset:
    """The data set of a model's recipe; `options` override the recipe's."""
    recipe = recipe_of(folder)
    return load_dataset(recipe.data, **{**recipe.data_options, **options})


def spot_check(
    model: GenerativeModel, data: Dataset, record: Mapping[str, Any]
) -> list[Reproduction]:
    """Compare a few recorded log-likelihoods with the same now; they may differ by rounding."""
    if "spot" not in record:
        return []
    likelihood = resolve.likelihood(
        model, record["likelihood"]["method"], record.get("options") or {}
    )
    split, seed = record["data"]["split"], record["seed"]
    now = scoring.spot(model, data, split=split, method=likelihood, seed=seed)
    pairs = zip(record["spot"], now, strict=True)
    return [_reproduction(f"nats of event {i}", a, b, None) for i, (a, b) in enumerate(pairs)]


def verify(
    model: GenerativeModel,
    data: Dataset,
    record: Mapping[str, Any],
    *,
    batch_size: int | None = None,
    progress: bool = False,
) -> tuple[Evaluation, list[Reproduction]]:
    """Repeat a recorded evaluation; numbers agree within the recorded standard errors."""
    likelihood, quality = record["likelihood"], record["quality"]
    measurements = [m for m in MEASUREMENTS if m != "speed" and record.get(m)]
    evaluation = evaluate(
        model,
        data,
        split=record["data"]["split"],
        measurements=measurements,
        method=likelihood["method"] if likelihood else None,
        options=record["options"],
        limit=record["limit"],
        sampler=record["sampler"]["name"],
        sampler_options=record["sampler"]["options"],
        n=quality["n"] if quality else None,
        features=list(quality["features"]) if quality else None,
        scores=list(dict.fromkeys(s["score"] for s in quality["scores"])) if quality else None,
        seed=record["seed"],
        batch_size=batch_size,
        progress=progress,
        about={k: record["model"][k] for k in ("name", "weights") if k in record["model"]},
    )
    return evaluation, list(_compare(record, evaluation.record))


def verify_metrics(
    model: GenerativeModel, data: Dataset, metrics: list[Mapping[str, Any]], *, seed: int = 0
) -> list[Reproduction]:
    """Compare the likelihoods that training recorded in `zoo.json` with the same now."""
    reproductions = []
    for metric in metrics:
        if "nats" not in metric or metric.get("split") not in data.splits:
            continue
        now = scoring.score(
            model,
            data,
            split=metric["split"],
            method=metric.get("method"),
            options=metric.get("options"),
            limit=metric["n"],
            seed=seed,
        )
        if str(now.mean.kind) == metric["kind"] and now.mean.n == metric["n"]:
            what = f"{metric['kind']} of {metric['split']}"
            reproductions.append(
                _reproduction(what, metric["nats"], now.mean.nats, metric["std_err"])
            )
    return reproductions


def _compare(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Reproduction]:
    reproductions = []
    a, b = then["likelihood"], now["likelihood"]
    if a and b:
        what = f"{a['kind']} of {then['data']['split']}, nats"
        reproductions.append(_reproduction(what, a["nats"], b["nats"], a["std_err"]))
        for old, new in zip(a["null"], b["null"], strict=True):
            what = f"gap to {old['name']}"
            reproductions.append(_reproduction(what, old["gap"], new["gap"], old["gap_std_err"]))
    if then["quality"] and now["quality"]:
        measured = {(s["score"], s["features"]): s for s in now["quality"]["scores"]}
        for old in then["quality"]["scores"]:
            a, b = old["value"], measured[old["score"], old["features"]]["value"]
            reproductions.append(
                _reproduction(str(old["label"]), a["value"], b["value"], a["std_err"])
            )
    return reproductions


def _reproduction(
    what: str, recorded: float | None, now: float | None, error: float | None
) -> Reproduction:
    """Compare within the recorded error if it is known; records write -inf as null."""
    a, b = from_json(recorded, -math.inf), from_json(now, -math.inf)
    rounding = max(1.0, abs(a)) if math.isfinite(a) else 1.0
    if error is None:
        return Reproduction(what, a, b, _SPOT_TOLERANCE * rounding)
    return Reproduction(what, a, b, math.hypot(error, _ROUNDING * rounding))
