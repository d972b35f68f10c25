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

from zoo_core import config as configs
from zoo_core.catalog import components
from zoo_core.catalog.significance import Significance, significance_of
from zoo_core.compat import renamed_arguments, renamed_fields
from zoo_core.contracts import Sampler
from zoo_core.data.batches import read
from zoo_core.data.dataset import Dataset, Source, Split
from zoo_core.data.sources import sample_digest
from zoo_core.errors import NoLikelihoodError, UsageError
from zoo_core.evaluation import scoring
from zoo_core.evaluation.features import Extractor, to_event
from zoo_core.evaluation.quality import Quality, SampleQuality
from zoo_core.evaluation.reference_cache import digest
from zoo_core.evaluation.scoring import SplitLikelihood
from zoo_core.evaluation.speed import Speed, first_image, timed_sample
from zoo_core.model import GenerativeModel
from zoo_core.sampling import how_drawn
from zoo_core.version import __version__

__all__ = ["MEASUREMENTS", "Evaluation", "Measurement", "evaluate"]

Measurement = Literal["likelihood", "quality", "speed"]
MEASUREMENTS: tuple[Measurement, ...] = ("likelihood", "quality", "speed")

SCHEMA = 1


@renamed_fields(scored="likelihood")
@dataclass(frozen=True, eq=False)
class Evaluation:
    """The measurements, and `record`, their JSON form with all that is needed to repeat them."""

    record: dict[str, Any]
    likelihood: SplitLikelihood | None
    quality: list[Quality]
    speed: Speed | None
    samples: Tensor | None

    @property
    def verdict(self) -> Significance:
        """Whether the model counts as pretrained."""
        return significance_of(self.record)


@renamed_arguments(parts="measurements")
def evaluate(
    model: GenerativeModel,
    data: Dataset,
    *,
    split: str = "test",
    measurements: Sequence[Measurement] = MEASUREMENTS,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    sampler: str | None = None,
    sampler_options: Mapping[str, Any] | None = None,
    n: int | None = None,
    drawn_before: Source | None = None,
    features: Sequence[str | Extractor] | None = None,
    scores: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure the likelihood, sample quality and speed of a model on a data set.

        evaluate(model, zoo.load_dataset("digits"), measurements=["likelihood"]).record

    The likelihood is that of `split`, or of `limit` of its events, by `method` with `options`; a
    model without a likelihood is scored only if a method is named. `sampler`, with
    `sampler_options`, draws n samples, whose speed is measured and whose quality is compared with
    `split` and `train` by `scores` on `features` (see `SampleQuality`). `drawn_before` are
    samples of the model to take instead, the first n, whose speed is not known. `about` goes into
    the record, such as the model's name or its weights' hash.
    """
    scored = None
    if "likelihood" in measurements and (method is not None or _has_likelihood(model)):
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
    draw = components.sampler(model, sampler, sampler_options or {}, n)
    drawn = None
    if {"quality", "speed"} & set(measurements):
        conditional = model.condition.kind != "none"
        protocol = SampleQuality(
            data,
            split=split,
            n=n,
            features=features,
            scores=scores,
            conditional=conditional,
            seed=seed,
        )
        if drawn_before is not None:
            drawn = _taken(model, protocol, drawn_before)
        else:
            drawn = _draw(model, protocol, measurements, draw, seed, batch_size, progress)
    record = {
        "schema": SCHEMA,
        "model": {**_model(model), **(about or {})},
        "data": _data(data, split),
        "seed": seed,
        "limit": limit,
        "options": dict(options or {}),
        "sampler": {"name": sampler or components.sampler_name(model, n), **how_drawn(draw)},
        "precision": str(model.dtype).removeprefix("torch."),
        "likelihood": None if scored is None else scored.record(),
        "quality": drawn and drawn.described,
        "speed": drawn and drawn.speed and dataclasses.asdict(drawn.speed),
        "versions": _versions(),
    }
    if scored is not None:
        likelihood = components.likelihood(model, method, options or {})
        record["spot"] = scoring.spot(model, data, split=split, method=likelihood, seed=seed)
    record["verdict"] = dataclasses.asdict(significance_of(record))
    drawn = drawn or _Drawn([], None, None, None)
    return Evaluation(record, scored, drawn.quality, drawn.speed, drawn.samples)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Samples, and the measurements of them."""

    quality: list[Quality]
    described: dict[str, Any] | None
    speed: Speed | None
    samples: Tensor | None


def _taken(model: GenerativeModel, protocol: SampleQuality, drawn: Source) -> _Drawn:
    """The quality of the first samples that were drawn before."""
    if protocol.classes is not None:
        raise UsageError(
            "samples drawn before have no classes, and those of real events are compared here.",
            hint="let the evaluation draw them itself",
        )
    if len(drawn) < protocol.n:
        raise UsageError(
            f"{len(drawn)} samples were drawn before; {protocol.n} are compared.",
            hint="draw more, or compare fewer: n=...",
            command="draw more, or compare fewer: --samples N",
        )
    first, _ = read(model.event, drawn, slice(protocol.n))
    samples = to_event(first, model.event, protocol.data.event)
    quality = protocol(samples)
    described = {**protocol.describe(), "scores": [q.record() for q in quality]}
    return _Drawn(quality, described, None, samples)


def _draw(
    model: GenerativeModel,
    protocol: SampleQuality,
    measurements: Sequence[Measurement],
    draw: Sampler,
    seed: int,
    batch_size: int | None,
    progress: bool,
) -> _Drawn:
    """Draw as many samples as the protocol needs; score and time them."""
    cond = protocol.classes
    how: dict[str, Any] = {
        "sampler": draw,
        "seed": seed,
        "batch_size": batch_size,
        "device": "cpu",
    }
    timed = timed_sample(model, protocol.n, cond=cond, progress=progress, **how)
    samples = to_event(timed.x, model.event, protocol.data.event)
    quality = protocol(samples) if "quality" in measurements else []
    described = {**protocol.describe(), "scores": [q.record() for q in quality]}
    speed = None
    if "speed" in measurements:
        seconds, evaluations = first_image(model, cond=None if cond is None else cond[:1], **how)
        speed = Speed(
            images_per_second=protocol.n / timed.seconds,
            first_image_seconds=seconds,
            network_evaluations=evaluations,
            parameters=sum(p.numel() for p in model.parameters()),
            peak_bytes=timed.peak_bytes,
            peak_of=timed.peak_of,
            n=protocol.n,
            threads=torch.get_num_threads(),
            device=str(model.device),
        )
    return _Drawn(quality, described if quality else None, speed, samples)


def _versions() -> dict[str, str]:
    return {
        "density-zoo": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _has_likelihood(model: GenerativeModel) -> bool:
    try:
        components.likelihood(model, None, {})
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
    events = data.split(split)
    return {
        "name": data.name,
        "split": split,
        "size": len(events),
        "sha256": digest(events.x) if isinstance(events, Split) else sample_digest(events),
        "event": data.event.record(),
        "binarization": data.binarization,
        "provenance": data.provenance,
        **({} if data.columns is None else {"columns": data.columns.record()}),
    }
