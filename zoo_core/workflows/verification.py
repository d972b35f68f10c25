"""Evaluations beside the weights they are of: `evaluation.json` in a model's folder.

A record names the weights by hash, so it cannot pass for another model's. Checking it again is
cheap (`spot_check`: a few events, to rounding) or complete (`verify`: everything anew, within the
recorded error).
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
    "Comparison",
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
"""Of an error of 0: all points counted, or none."""


@dataclass(frozen=True)
class Comparison:
    """A recorded number, the same number now, and how far apart they may be.

    A recorded error that is not known allows no difference but rounding: the seed is the same.
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
    """Put an evaluation beside the weights it is of; raises `DataError` if it names none."""
    path = folder / EVALUATION
    if record["model"].get("weights") is None:
        raise DataError(
            f"{folder}: zoo.json records no hash of the weights, so no evaluation can name them.",
            hint="load the model and save it anew",
        )
    write_json(path, record)
    return path


def read_record(folder: Path) -> dict[str, Any] | None:
    """The evaluation in a model's folder, if there is one; raises if it is of other weights."""
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
    """The recipe that a model's weights follow from."""
    recipe = read_metadata(folder).get("recipe")
    if not isinstance(recipe, dict) or "text" not in recipe:
        raise DataError(f"{folder} names no recipe, so no data set.", hint="name one: --data NAME")
    return parse_recipe(recipe["text"], overrides=recipe.get("overrides"))


def data_of(folder: Path, **options: Any) -> Dataset:
    """The data set that a model's recipe is for; `options` are set over the recipe's."""
    recipe = recipe_of(folder)
    return load_dataset(recipe.data, **{**recipe.data_options, **options})


def spot_check(
    model: GenerativeModel, data: Dataset, record: Mapping[str, Any]
) -> list[Comparison]:
    """A few recorded scores against the same now; they differ by rounding at most."""
    if "spot" not in record:
        return []
    likelihood = resolve.likelihood(
        model, record["likelihood"]["method"], record.get("options") or {}
    )
    split, seed = record["data"]["split"], record["seed"]
    now = scoring.spot(model, data, split=split, method=likelihood, seed=seed)
    pairs = zip(record["spot"], now, strict=True)
    return [_compared(f"nats of event {i}", a, b, None) for i, (a, b) in enumerate(pairs)]


def verify(
    model: GenerativeModel,
    data: Dataset,
    record: Mapping[str, Any],
    *,
    batch_size: int | None = None,
    progress: bool = False,
) -> tuple[Evaluation, list[Comparison]]:
    """Evaluate anew as recorded; numbers agree if they are within the recorded standard error."""
    likelihood, quality = record["likelihood"], record["quality"]
    measurements = [m for m in MEASUREMENTS if record.get(m) and m != "speed"]
    found = evaluate(
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
    return found, list(_compare(record, found.record))


def verify_metrics(
    model: GenerativeModel, data: Dataset, metrics: list[Mapping[str, Any]], *, seed: int = 0
) -> list[Comparison]:
    """The likelihoods that training recorded in `zoo.json` against the same now."""
    found = []
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
            found.append(_compared(what, metric["nats"], now.mean.nats, metric["std_err"]))
    return found


def _compare(then: Mapping[str, Any], now: Mapping[str, Any]) -> "list[Comparison]":
    found = []
    a, b = then["likelihood"], now["likelihood"]
    if a and b:
        what = f"{a['kind']} of {then['data']['split']}, nats"
        found.append(_compared(what, a["nats"], b["nats"], a["std_err"]))
        for old, new in zip(a["null"], b["null"], strict=True):
            what = f"gap to {old['name']}"
            found.append(_compared(what, old["gap"], new["gap"], old["gap_std_err"]))
    if then["quality"] and now["quality"]:
        measured = {(s["score"], s["features"]): s for s in now["quality"]["scores"]}
        for old in then["quality"]["scores"]:
            a, b = old["value"], measured[old["score"], old["features"]]["value"]
            found.append(_compared(str(old["label"]), a["value"], b["value"], a["std_err"]))
    return found


def _compared(
    what: str, recorded: float | None, now: float | None, error: float | None
) -> Comparison:
    """Within the recorded error, where it is known; null is how records say -inf."""
    a, b = from_json(recorded, -math.inf), from_json(now, -math.inf)
    rounding = max(1.0, abs(a)) if math.isfinite(a) else 1.0
    if error is None:
        return Comparison(what, a, b, _SPOT_TOLERANCE * rounding)
    return Comparison(what, a, b, math.hypot(error, _ROUNDING * rounding))
