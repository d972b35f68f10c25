"""`zoo.evaluate`: likelihood, sample quality and speed of one model on one data set.

The result's `record` holds all that is needed to repeat it: weights and data by hash, splits,
seeds, options, versions.
"""

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from zoo_core import __version__, resolve
from zoo_core import config as configs
from zoo_core.data.dataset import Dataset
from zoo_core.errors import NoLikelihoodError
from zoo_core.evaluation import scoring
from zoo_core.evaluation.features import Extractor, to_event
from zoo_core.evaluation.quality import Quality, SampleQuality
from zoo_core.evaluation.reference import digest
from zoo_core.evaluation.scoring import Scored
from zoo_core.evaluation.speed import Speed, first_image, timed_sample
from zoo_core.evaluation.verdict import Verdict, verdict
from zoo_core.model import GenerativeModel

__all__ = ["PARTS", "Evaluation", "Part", "evaluate"]

Part = Literal["likelihood", "quality", "speed"]
PARTS: tuple[Part, ...] = ("likelihood", "quality", "speed")

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured, and `record`, its JSON form with all that is needed to repeat it."""

    record: dict[str, Any]
    scored: Scored | None
    quality: list[Quality]
    speed: Speed | None
    samples: Tensor | None

    @property
    def verdict(self) -> Verdict:
        return verdict(self.record)


def evaluate(
    model: GenerativeModel,
    data: Dataset,
    *,
    split: str = "test",
    parts: Sequence[Part] = PARTS,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    sampler: str | None = None,
    sampler_options: Mapping[str, Any] | None = None,
    n: int | None = None,
    features: Sequence[str | Extractor] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure `parts` of a model against a split of a data set and its train split.

    `method` with `options` scores the likelihood, of `limit` events if given; `sampler` with its
    options draws the n samples whose quality and speed are measured. An implicit model has no
    likelihood by default. `about` goes into the record (the model's name, its weights' hash).
    """
    scored = None
    if "likelihood" in parts and (method is not None or _has_likelihood(model)):
        scored = scoring.score(
            model,
            data,
            split=split,
            method=method,
            options=options,
            limit=limit,
            seed=seed,
            batch_size=batch_size,
            progress=progress,
        )
    protocol, quality, speed, samples = None, [], None, None
    draw = resolve.sampler(model, sampler, sampler_options or {})
    if {"quality", "speed"} & set(parts):
        conditional = model.condition.kind == "classes"
        protocol = SampleQuality(
            data, split=split, n=n, features=features, conditional=conditional, seed=seed
        )
        how = {"sampler": draw, "seed": seed, "batch_size": batch_size}
        cond = protocol.classes
        timed = timed_sample(model, protocol.n, cond=cond, progress=progress, **how)
        samples = to_event(timed.x, model.event, data.event)
        if "quality" in parts:
            quality = protocol(samples)
        if "speed" in parts:
            one = None if cond is None else cond[:1]
            seconds, evaluations = first_image(model, cond=one, **how)
            speed = Speed(
                protocol.n / timed.seconds,
                seconds,
                evaluations,
                sum(p.numel() for p in model.parameters()),
                timed.peak_bytes,
                timed.peak_of,
                protocol.n,
                torch.get_num_threads(),
                str(model.device),
            )
    record = {
        "schema": SCHEMA,
        "model": {**_model(model), **(about or {})},
        "data": _data(data, split),
        "seed": seed,
        "limit": limit,
        "options": dict(options or {}),
        "sampler": {
            "name": sampler or model.spec.default_sampler,
            "options": configs.to_dict(draw) if dataclasses.is_dataclass(draw) else {},
        },
        "precision": str(model.dtype).removeprefix("torch."),
        "likelihood": None if scored is None else scored.record(),
        "quality": {**protocol.describe(), "scores": [q.record() for q in quality]}
        if protocol is not None and quality
        else None,
        "speed": None if speed is None else dataclasses.asdict(speed),
        "versions": {
            "density-zoo": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    }
    if scored is not None:
        record["spot"] = scoring.spot(
            model,
            data,
            split=split,
            method=resolve.likelihood(model, method, options or {}),
            seed=seed,
        )
    found = verdict(record)
    record["verdict"] = dataclasses.asdict(found)
    return Evaluation(record, scored, quality, speed, samples)


def _has_likelihood(model: GenerativeModel) -> bool:
    try:
        resolve.likelihood(model, None, {})
    except NoLikelihoodError:
        return False
    return True


def _model(model: GenerativeModel) -> dict[str, Any]:
    spec = model.spec
    return {
        "arch": spec.arch,
        "family": spec.family,
        "density": spec.density,
        "config": configs.to_dict(model.config),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def _data(data: Dataset, split: str) -> dict[str, Any]:
    held = data.split(split)
    return {
        "name": data.name,
        "split": split,
        "size": len(held),
        "sha256": digest(held.x),
        "event": dataclasses.asdict(data.event),
        "binarization": data.binarization,
        "provenance": data.provenance,
    }
