"""Whether a model is significantly better than the baselines, from an evaluation's JSON record.

With a likelihood, weights count as pretrained if they beat every baseline by five standard errors
of the paired difference. The number must be exact or a lower bound on log p: an upper bound or an
estimate above a baseline does not show that the model is better. At least one baseline must have
an exact likelihood, since a baseline's own lower bound (the Gaussian's, on integers) may be loose.

Without a likelihood, or with a score that is unrelated to log p, samples are judged on the most
special features, which are the first. Their coverage must be at least 0.9 of real data's, the
baseline's must be less, and their Frechet distance must beat the baseline's by five standard
errors. Copies of training events would pass, so samples must not be flagged as memorized on any
features: the fraction that is nearer to training events than to held-out ones must not exceed 1/2
by three binomial errors and by 0.1.

If a standard error is unknown (null in the record) or zero, nothing is shown.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo_core.uncertainty import from_json

__all__ = ["COVERAGE", "SIGMAS", "Significance", "beyond_chance", "memorized", "significance_of"]

SIGMAS = 5.0
COVERAGE = 0.9
_MARGIN, _BINOMIAL_ERRORS = 0.1, 3.0
"""How far memorization must be above 1/2 to be flagged."""


@dataclass(frozen=True)
class Significance:
    """Whether weights count as pretrained, by which measurement, and how far above the baseline.

    `sigmas` is the distance to the baseline in standard errors, None if it is unknown.
    """

    pretrained: bool
    by: str
    sigmas: float | None
    why: str

    def __str__(self) -> str:
        return f"{'pretrained' if self.pretrained else 'NOT pretrained'}: {self.why}"


def significance_of(record: Mapping[str, Any]) -> Significance:
    """Judge an evaluation's record."""
    likelihood, quality = record.get("likelihood"), record.get("quality")
    if likelihood and likelihood["relation"] != "unrelated":
        return _by_likelihood(likelihood)
    if quality:
        return _unless_memorized(_by_samples(quality["scores"]), quality)
    if likelihood:
        return _not_shown("the score is unrelated to log p; samples may show a better model")
    return Significance(False, "nothing", None, "nothing was measured")


def _by_likelihood(likelihood: Mapping[str, Any]) -> Significance:
    relation, baselines = likelihood["relation"], likelihood["null"]
    if relation not in ("equal", "lower"):
        what = {"upper": "an upper bound"}.get(relation, "an estimate")
        return _not_shown(
            f"{what} of log p shows no better model; exact values and lower bounds do"
        )
    if all(b.get("relation") == "lower" for b in baselines):
        return _not_shown(
            "no baseline has an exact likelihood here: better than a bound is not better"
        )
    if likelihood.get("impossible"):
        return _not_shown("an event has probability zero")
    gaps = {b["name"]: _sigmas(b["gap"], b["gap_std_err"]) for b in baselines}
    if None in gaps.values():
        return _not_shown("the error of a gap to a baseline is not known")
    closest = min(baselines, key=lambda b: gaps[b["name"]] or 0.0)
    sigmas = gaps[closest["name"]] or 0.0
    why = (
        f"{closest['gap']:+.2f} nats from {closest['name']}, {sigmas:.1f} standard errors "
        f"({SIGMAS:g} are needed)"
    )
    return Significance(sigmas >= SIGMAS, "likelihood", sigmas, why)


def _not_shown(why: str) -> Significance:
    return Significance(False, "likelihood", None, why)


def _sigmas(gap: float | None, error: float | None) -> float | None:
    """A gap in standard errors; None if one of the two is unknown."""
    if gap is None or error is None or not (math.isfinite(gap) and 0 < error < math.inf):
        return None
    return gap / error


def _by_samples(scores: list[Mapping[str, Any]]) -> Significance:
    features = scores[0]["features"]
    by_name = {s["score"]: s for s in scores if s["features"] == features}
    if not {"coverage", "frechet"} <= by_name.keys():
        return Significance(False, "samples", None, "neither likelihood nor coverage was measured")
    coverage, frechet = by_name["coverage"], by_name["frechet"]
    value, real, baseline = (float(coverage[k]["value"]) for k in ("value", "real", "null"))
    gap = float(frechet["null"]["value"]) - float(frechet["value"]["value"])
    errors = (from_json(frechet[k]["std_err"]) for k in ("null", "value"))
    sigmas = _sigmas(gap, math.hypot(*errors))
    if baseline >= COVERAGE * real:
        why = (
            f"the baseline covers {baseline:.3f} on {features}, real data {real:.3f}: "
            "nothing is shown"
        )
        return Significance(False, "samples", sigmas, why)
    if sigmas is None:
        return Significance(
            False, "samples", None, "the error of the Frechet distance is not known"
        )
    why = (
        f"coverage {value:.3f} on {features}, {value / real:.2f} of real data's {real:.3f} "
        f"({COVERAGE:g} is needed); Frechet distance {sigmas:.1f} standard errors below the "
        f"baseline's ({SIGMAS:g} are needed)"
    )
    return Significance(value >= COVERAGE * real and sigmas >= SIGMAS, "samples", sigmas, why)


def memorized(record: Mapping[str, Any]) -> str | None:
    """Why the samples of an evaluation are flagged as copies of training events, or None."""
    scores = (record.get("quality") or {}).get("scores", [])
    for score in (s for s in scores if s["score"] == "memorization"):
        value = float(score["value"]["value"])
        if beyond_chance(value, from_json(score["value"]["std_err"])):
            return (
                f"memorization {value:.3f} on {score['features']}: so many of the samples are "
                f"nearer to {score['n_reference']} events of train than to as many held-out ones, "
                "where half would be by chance"
            )
    return None


def beyond_chance(value: float, error: float) -> bool:
    """Whether a memorization with this standard error is too high to be chance."""
    return value - 0.5 > max(_MARGIN, _BINOMIAL_ERRORS * error)


def _unless_memorized(judged: Significance, quality: Mapping[str, Any]) -> Significance:
    """The same judgment, unless the samples may be copies of training events."""
    if not judged.pretrained:
        return judged
    flagged, measured = memorized({"quality": quality}), quality.get("memorization")
    if measured is None:
        flagged = "whether the samples are copies of training events was not measured"
    elif not beyond_chance(measured["copies"], 0.5 / math.sqrt(quality["n"])):
        flagged = (
            f"{measured['n']} held-out events are too few to tell: copies of training events "
            f"would have memorization {measured['copies']:.3f}"
        )
    return Significance(False, "samples", judged.sigmas, flagged) if flagged else judged
