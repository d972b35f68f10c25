"""Sample quality: scores on named features, beside those of real data and of the baseline.

The reference is the `train` split. The score of n generated events is shown beside the same score
of n held-out real events, which a perfect model would get, and of n draws of the baseline. All
depend on n and on the size of the reference, which are part of the result. Copies of training
events get the best scores, so `memorization` is measured as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from zoo_core import config as configs
from zoo_core.compat import renamed_fields
from zoo_core.data.batches import read
from zoo_core.data.dataset import Dataset
from zoo_core.data.shuffle import choose
from zoo_core.errors import UsageError
from zoo_core.evaluation.baselines import Baseline, strongest_baseline
from zoo_core.evaluation.feature_set import Estimate, FeatureSet
from zoo_core.evaluation.features import Extractor, extractor, fitting
from zoo_core.evaluation.memorization import Memorization, ReferenceSets, reference_sets
from zoo_core.evaluation.reference_cache import digest, reference_features
from zoo_core.evaluation.scores import attempt, measure, too_large
from zoo_core.evaluation.scores import scores as registered
from zoo_core.rng import Rng

__all__ = ["MEMORIZATION", "Quality", "SampleQuality"]

MEMORIZATION = "memorization"

_MAX_GENERATED = 1_000
_MAX_REFERENCE = 5_000
_FID_EVENTS = 50_000
_ESTIMATES = {"value": "value", "real": "real", "baseline": "null"}
"""Names in JSON of the estimates of a `Quality`."""


@renamed_fields(null="baseline")
@dataclass(frozen=True)
class Quality:
    """A score on the features of one extractor, of the model, of real data and of the baseline.

    `label` is its name in reports: FID and KID are the Inception scores of 50,000 events against
    the whole train split, and nothing else. `better` is "lower", "higher", or the ideal value.
    """

    score: str
    features: str
    label: str
    better: str
    value: Estimate
    real: Estimate
    baseline: Estimate
    n: int
    n_reference: int

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            _ESTIMATES.get(name, name): value.record() if name in _ESTIMATES else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Quality":
        """The score that `record` gave."""
        fields = {name: field for field, name in _ESTIMATES.items()}
        values: dict[str, Any] = {
            fields.get(k, k): Estimate.from_record(v) if k in fields else v
            for k, v in record.items()
        }
        return cls(**values)

    def __str__(self) -> str:
        return (
            f"{self.label} {self.value} (real {self.real.value:.4g}, "
            f"baseline {self.baseline.value:.4g}; n={self.n}, reference {self.n_reference})"
        )


class SampleQuality:
    """The protocol for one data set.

        quality = SampleQuality(zoo.load_dataset("digits"))
        for score in quality(model.sample(quality.n)):
            print(score)

    The seed draws n real events of `split` to compare with (by default at most 1,000), and at most
    `n_reference` events of `train` as the reference. `features` are names or extractors, by
    default all that accept the events; `scores` are names, by default all that are registered,
    and `memorization`. `left_out` says which are too costly unless they are named.
    Class-conditional samples must have the classes `classes`.

    Raises `UsageError` if n exceeds the split, or if an extractor does not accept the events.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        split: str = "test",
        n: int | None = None,
        n_reference: int = _MAX_REFERENCE,
        features: Sequence[str | Extractor] | None = None,
        scores: Sequence[str] | None = None,
        conditional: bool = False,
        seed: int = 0,
    ) -> None:
        self.data, self.split, self.seed = data, split, seed
        held = data.split(split)
        if n is not None and n > len(held):
            raise UsageError(
                f"n = {n}; {data.name}.{split} has {len(held)} events to compare with.",
                hint="give fewer: real and generated events must be equally many",
            )
        self.rows = choose(seed, len(held), n or _MAX_GENERATED, stream="evaluation/real")
        self.real_events, classes = read(data.event, held, self.rows)
        self.classes = classes if conditional else None
        train = data.split("train")
        used = choose(seed, len(train), n_reference, stream="evaluation/reference")
        self.reference = read(data.event, train, used)[0]
        self.whole = len(self.reference) == len(train)
        self.features = {
            _name(f): extractor(f)
            for f in (features if features is not None else fitting(data.event))
        }
        self.requested = (*map(_name, features or ()), *(scores or ()))
        listed = None if scores is None else [s for s in scores if s != MEMORIZATION]
        self.scores = registered(listed)
        self.reference_sets = (
            reference_sets(data, seed=seed) if scores is None or MEMORIZATION in scores else None
        )
        self.left_out: dict[str, str] = {}
        for name, extract in self.features.items():
            if not extract.accepts(data.event):
                raise UsageError(
                    f"features {name!r} are not for {data.event}.",
                    hint=f"those that are: {', '.join(fitting(data.event))}",
                )

    @property
    def n(self) -> int:
        """The number of events to generate."""
        return len(self.rows)

    @cached_property
    def baseline(self) -> Baseline:
        """The baseline of the data set, which sees the classes that samples are conditioned on."""
        return strongest_baseline(self.data, conditional=self.classes is not None)

    def __call__(self, x: Tensor) -> list[Quality]:
        """All scores of n generated events (n, *S), which are events of the data set."""
        x = self.data.event.check(x, name="samples")
        if len(x) != self.n:
            raise UsageError(
                f"{len(x)} samples; this comparison is of {self.n}, as many as real events."
            )
        results: list[Quality] = []
        for name, extract in self.features.items():
            rows = attempt(name, partial(self._on, name, extract, x), self.requested)
            if rows is None:
                self.left_out[name] = "the extractor failed"
            results += rows or []
        return results

    def _on(self, name: str, extract: Extractor, x: Tensor) -> list[Quality]:
        """The scores on one extractor's features."""
        generated = FeatureSet(extract(x, self.data.event))
        calls = (partial(self._scored, score, name, generated) for score in self.scores)
        rows = [attempt(s, c, self.requested) for s, c in zip(self.scores, calls, strict=True)]
        return [row for row in rows if row is not None] + self._memorized(name, generated)

    def describe(self) -> dict[str, Any]:
        """The JSON form of all that is needed to repeat the measurement."""
        return {
            "split": self.split,
            "n": self.n,
            "seed": self.seed,
            "reference": {
                "split": "train",
                "n": len(self.reference),
                "sha256": digest(self.reference),
            },
            "features": {
                k: f.identity for k, f in self.features.items() if k not in self.left_out
            },
            "scores": {name: configs.to_dict(score) for name, score in self.scores.items()},
            "errors_over": {
                name: getattr(score, "error_over", "unstated")
                for name, score in self.scores.items()
            },
            "memorization": self.reference_sets
            and {
                "n": len(self.reference_sets.held),
                "copies": self.reference_sets.copies,
                "splits": self._others,
            },
            "null": self.baseline.name,
            "left_out": dict(self.left_out),
        }

    def _scored(self, score: str, features: str, generated: FeatureSet) -> Quality | None:
        reference, real, baseline = self._of_features(features)
        call = partial(measure, self.scores[score])
        if score not in self.requested and (why := too_large(self.scores[score], generated)):
            self.left_out[self._label(score, features)] = why
            return None
        return Quality(
            score,
            features,
            self._label(score, features),
            self.scores[score].better,
            call(generated, reference),
            self._anchor(score, features, "real", lambda: call(real, reference)),
            self._anchor(score, features, "null", lambda: call(baseline, reference)),
            self.n,
            len(reference),
        )

    def _memorized(self, features: str, generated: FeatureSet) -> list[Quality]:
        """Whether the samples are nearer to `train` than to as many held-out events."""
        if self.reference_sets is None:
            return []
        _, real, baseline = self._of_features(features)
        call = self._memorization(features, self.reference_sets)
        own = self.reference_sets.positions.get(self.split)
        rows = None if own is None else own[self.rows]
        row = Quality(
            MEMORIZATION,
            features,
            self._label(MEMORIZATION, features),
            "0.5",
            call(generated),
            self._anchor(MEMORIZATION, features, "real", lambda: call(real, rows)),
            self._anchor(MEMORIZATION, features, "null", lambda: call(baseline)),
            self.n,
            len(self.reference_sets.held),
        )
        return [row]

    @property
    def _others(self) -> list[str]:
        return [name for name in self.data.splits if name != "train"]

    def _of_features(self, name: str) -> tuple[FeatureSet, FeatureSet, FeatureSet]:
        """Features of the reference, of real events and of draws of the baseline."""
        if name not in self._feature_sets:
            event, extract = self.data.event, self.features[name]
            self._feature_sets[name] = (
                reference_features(self.reference, event, extract),
                FeatureSet(extract(self.real_events, event)),
                FeatureSet(extract(self._drawn, event)),
            )
        return self._feature_sets[name]

    @cached_property
    def _feature_sets(self) -> dict[str, tuple[FeatureSet, FeatureSet, FeatureSet]]:
        return {}

    @cached_property
    def _drawn(self) -> Tensor:
        return self.baseline.sample(Rng(self.seed, self.n, scope="null/"), self.classes)

    def _memorization(self, name: str, sets: ReferenceSets) -> Memorization:
        if name not in self._memorizations:
            both, event = (sets.trained, sets.held), self.data.event
            pair = (reference_features(x, event, self.features[name], ()) for x in both)
            self._memorizations[name] = Memorization(*pair)
        return self._memorizations[name]

    @cached_property
    def _memorizations(self) -> dict[str, Memorization]:
        return {}

    @cached_property
    def _anchors(self) -> dict[tuple[str, str, str], Estimate]:
        return {}

    def _anchor(
        self, score: str, features: str, of: str, compute: Callable[[], Estimate]
    ) -> Estimate:
        """The score of real data or of the baseline, computed once."""
        key = (score, features, of)
        if key not in self._anchors:
            self._anchors[key] = compute()
        return self._anchors[key]

    def _label(self, score: str, features: str) -> str:
        short = {"frechet": "fd", "kernel": "kd"}.get(score, score)
        if features == "inception" and self.whole and self.n >= _FID_EVENTS:
            short = {"fd": "FID", "kd": "KID"}.get(short, short)
            return short if short in ("FID", "KID") else f"{short}_inception"
        return f"{short}_{features}"


def _name(features: str | Extractor) -> str:
    if isinstance(features, str):
        return features
    return str(getattr(features, "name", type(features).__name__.lower()))
