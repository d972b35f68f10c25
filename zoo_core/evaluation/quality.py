"""Sample quality: scores on named features, beside real data and the null baseline.

The reference is the `train` split. A score of n generated events stands beside the same score of
n held-out real ones, which is what a perfect model would get, and of n draws of the null baseline.
All depend on n and on the size of the reference, so both are part of the result. Samples that
repeat training events get the best of these scores, so `memorization` stands beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from zoo_core import config as configs
from zoo_core.data.dataset import Dataset
from zoo_core.data.shuffle import choose
from zoo_core.errors import UsageError
from zoo_core.evaluation.baselines import Baseline, null_baseline
from zoo_core.evaluation.feature_set import Cloud, Estimate
from zoo_core.evaluation.features import Extractor, extractor, fitting
from zoo_core.evaluation.memorization import Memorization, Sides, sides
from zoo_core.evaluation.reference_cache import digest, reference_cloud
from zoo_core.evaluation.scores import attempt, measure, too_large
from zoo_core.evaluation.scores import scores as registered
from zoo_core.rng import Rng

__all__ = ["MEMORIZATION", "Quality", "SampleQuality"]

MEMORIZATION = "memorization"

_MOST_GENERATED = 1_000
_MOST_REFERENCE = 5_000
_FID_EVENTS = 50_000
_ESTIMATES = ("value", "real", "null")


@dataclass(frozen=True)
class Quality:
    """One score on one extractor's features, of the model, of real data and of the null.

    `label` is what to call it: FID and KID are the names of the Inception scores of 50,000 events
    against the whole train split, and of nothing else. `better` is "lower", "higher", or the value
    that is ideal.
    """

    score: str
    features: str
    label: str
    better: str
    value: Estimate
    real: Estimate
    null: Estimate
    n: int
    n_reference: int

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        estimates = {k: getattr(self, k).record() for k in _ESTIMATES}
        return {**vars(self), **estimates}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Quality":
        estimates = {k: Estimate.from_record(record[k]) for k in _ESTIMATES}
        return cls(**{**record, **estimates})

    def __str__(self) -> str:
        return (
            f"{self.label} {self.value} (real {self.real.value:.4g}, null {self.null.value:.4g}; "
            f"n={self.n}, reference {self.n_reference})"
        )


class SampleQuality:
    """The protocol for one data set: `SampleQuality(data)(samples)` gives a list of `Quality`.

    `split` holds the real events to compare with; n (by default at most 1,000) of them are drawn
    by the seed, and the reference is at most `n_reference` of `train`, drawn likewise. `features`
    are names or extractors, by default all that fit the events, and `scores` are names, by default
    all registered and `memorization`; `left_out` says what is too costly unless it is named.
    Class-conditional samples must
    have the classes of `classes`.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        split: str = "test",
        n: int | None = None,
        n_reference: int = _MOST_REFERENCE,
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
        self.rows = choose(seed, len(held), n or _MOST_GENERATED, stream="evaluation/real")
        self.real_events = held.x[self.rows]
        self.classes = None if held.y is None or not conditional else held.y[self.rows]
        train = data.split("train").x
        used = choose(seed, len(train), n_reference, stream="evaluation/reference")
        self.reference = train[used]
        self.whole = len(self.reference) == len(train)
        self.features = {
            _name(f): extractor(f)
            for f in (features if features is not None else fitting(data.event))
        }
        self.wanted = (*map(_name, features or ()), *(scores or ()))
        listed = None if scores is None else [s for s in scores if s != MEMORIZATION]
        self.scores = registered(listed)
        self.sides = sides(data, seed=seed) if scores is None or MEMORIZATION in scores else None
        self.left_out: dict[str, str] = {}
        for name, extract in self.features.items():
            if not extract.accepts(data.event):
                raise UsageError(
                    f"features {name!r} are not for {data.event}.",
                    hint=f"those that are: {', '.join(fitting(data.event))}",
                )

    @property
    def n(self) -> int:
        """How many events to generate."""
        return len(self.rows)

    @cached_property
    def null(self) -> Baseline:
        return null_baseline(self.data, conditional=self.classes is not None)

    def __call__(self, x: Tensor) -> list[Quality]:
        """Every score of n generated events (n, *S) of the data's kind."""
        x = self.data.event.check(x, name="samples")
        if len(x) != self.n:
            raise UsageError(
                f"{len(x)} samples; this comparison is of {self.n}, as many as real events."
            )
        found: list[Quality] = []
        for name, extract in self.features.items():
            rows = attempt(name, partial(self._on, name, extract, x), self.wanted)
            if rows is None:
                self.left_out[name] = "the extractor failed"
            found += rows or []
        return found

    def _on(self, name: str, extract: Extractor, x: Tensor) -> list[Quality]:
        """The scores on one extractor's features."""
        generated = Cloud(extract(x, self.data.event))
        calls = (partial(self._scored, score, name, generated) for score in self.scores)
        rows = [attempt(s, c, self.wanted) for s, c in zip(self.scores, calls, strict=True)]
        return [row for row in rows if row is not None] + self._memorized(name, generated)

    def describe(self) -> dict[str, Any]:
        """What is needed to repeat the comparison."""
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
            "memorization": self.sides
            and {"n": len(self.sides.held), "copies": self.sides.copies, "splits": self._others},
            "null": self.null.name,
            "left_out": dict(self.left_out),
        }

    def _scored(self, score: str, features: str, generated: Cloud) -> Quality | None:
        reference, real, null = self._of_features(features)
        call = partial(measure, self.scores[score])
        if score not in self.wanted and (why := too_large(self.scores[score], generated)):
            self.left_out[self._label(score, features)] = why
            return None
        return Quality(
            score,
            features,
            self._label(score, features),
            self.scores[score].better,
            call(generated, reference),
            self._anchor(score, features, "real", lambda: call(real, reference)),
            self._anchor(score, features, "null", lambda: call(null, reference)),
            self.n,
            len(reference),
        )

    def _memorized(self, features: str, generated: Cloud) -> list[Quality]:
        """Whether the samples are nearer to `train` than to as many other events."""
        if self.sides is None:
            return []
        _, real, null = self._of_features(features)
        call = self._memorization(features, self.sides)
        own = self.sides.places.get(self.split)
        rows = None if own is None else own[self.rows]
        row = Quality(
            MEMORIZATION,
            features,
            self._label(MEMORIZATION, features),
            "0.5",
            call(generated),
            self._anchor(MEMORIZATION, features, "real", lambda: call(real, rows)),
            self._anchor(MEMORIZATION, features, "null", lambda: call(null)),
            self.n,
            len(self.sides.held),
        )
        return [row]

    @property
    def _others(self) -> list[str]:
        return [name for name in self.data.splits if name != "train"]

    def _of_features(self, name: str) -> tuple[Cloud, Cloud, Cloud]:
        """Reference, real events and draws of the null on an extractor's features."""
        if name not in self._clouds:
            event, extract = self.data.event, self.features[name]
            self._clouds[name] = (
                reference_cloud(self.reference, event, extract),
                Cloud(extract(self.real_events, event)),
                Cloud(extract(self._drawn, event)),
            )
        return self._clouds[name]

    @cached_property
    def _clouds(self) -> dict[str, tuple[Cloud, Cloud, Cloud]]:
        return {}

    @cached_property
    def _drawn(self) -> Tensor:
        return self.null.sample(Rng(self.seed, self.n, scope="null/"), self.classes)

    def _memorization(self, name: str, sides: Sides) -> Memorization:
        if name not in self._memorizations:
            both, event = (sides.trained, sides.held), self.data.event
            clouds = (reference_cloud(x, event, self.features[name], ()) for x in both)
            self._memorizations[name] = Memorization(*clouds)
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
        """The score of real data or of the null baseline, computed once."""
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


def _name(wanted: str | Extractor) -> str:
    return wanted if isinstance(wanted, str) else type(wanted).__name__.lower()
