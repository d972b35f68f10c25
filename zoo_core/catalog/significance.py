"""Whether an evaluation shows that a model has learned anything; from its JSON form alone.

Weights count as pretrained if their likelihood beats every null baseline by five standard errors
of the paired difference. What a number shows depends on its relation to log p: an exact value or a
lower bound that is above the exact value of a baseline shows that the model is better; an upper
bound or an estimate shows nothing. A baseline whose own number is a lower bound (the Gaussian, on
integers) must be beaten as well, but shows nothing by itself.
Without a likelihood, samples must cover at least 0.9 of what real data cover, where the null does
not, and their Frechet distance must beat the null's by five standard errors, both on the most
special features there are (the first ones). Copies of training events would pass that, so samples
must not be flagged as memorized on any features: more than half of them nearer to events of
training than to as many held-out ones, by three binomial errors and by 0.1. An error that is
unknown (null in the record) or zero, as that of one event counted twice, gives no verdict.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo_core.uncertainty import from_json

__all__ = ["COVERAGE", "SIGMAS", "Verdict", "beyond_chance", "memorized", "verdict"]

SIGMAS = 5.0
COVERAGE = 0.9
_MARGIN, _BINOMIAL_ERRORS = 0.1, 3.0
"""Beyond 1/2, where memorization begins."""


@dataclass(frozen=True)
class Verdict:
    """Whether weights count as pretrained, by what, and how far they are beyond the null."""

    pretrained: bool
    by: str
    sigmas: float | None
    why: str

    def __str__(self) -> str:
        return f"{'pretrained' if self.pretrained else 'NOT pretrained'}: {self.why}"


def verdict(record: Mapping[str, Any]) -> Verdict:
    """The verdict on an evaluation's record."""
    if record.get("likelihood"):
        return _by_likelihood(record["likelihood"])
    if record.get("quality"):
        return _not_by_heart(_by_samples(record["quality"]["scores"]), record["quality"])
    return Verdict(False, "nothing", None, "nothing was measured")


def _by_likelihood(found: Mapping[str, Any]) -> Verdict:
    if found["relation"] not in ("equal", "lower"):
        what = {"upper": "an upper bound"}.get(found["relation"], "an estimate")
        why = f"{what} of log p shows no better model; exact values and lower bounds do"
        return Verdict(False, "likelihood", None, why)
    if all(n.get("relation") == "lower" for n in found["null"]):
        why = "no baseline has an exact likelihood here: better than a bound is not better"
        return Verdict(False, "likelihood", None, why)
    if found.get("impossible"):
        return Verdict(False, "likelihood", None, "an event has probability zero")
    gaps = {n["name"]: _sigmas(n["gap"], n["gap_std_err"]) for n in found["null"]}
    if None in gaps.values():
        return Verdict(False, "likelihood", None, "the error of a gap to the null is not known")
    null = min(found["null"], key=lambda n: gaps[n["name"]] or 0.0)
    sigmas = gaps[null["name"]] or 0.0
    why = (
        f"{null['gap']:+.2f} nats from {null['name']}, {sigmas:.1f} standard errors "
        f"({SIGMAS:g} are needed)"
    )
    return Verdict(sigmas >= SIGMAS, "likelihood", sigmas, why)


def _sigmas(gap: float | None, error: float | None) -> float | None:
    """How many standard errors a gap is; None if one of the two is not known."""
    if gap is None or error is None or not (math.isfinite(gap) and 0 < error < math.inf):
        return None
    return gap / error


def _by_samples(scores: list[Mapping[str, Any]]) -> Verdict:
    features = scores[0]["features"]
    found = {s["score"]: s for s in scores if s["features"] == features}
    if not {"coverage", "frechet"} <= found.keys():
        return Verdict(False, "samples", None, "neither likelihood nor coverage was measured")
    coverage, frechet = found["coverage"], found["frechet"]
    value, real, null = (float(coverage[k]["value"]) for k in ("value", "real", "null"))
    gap = float(frechet["null"]["value"]) - float(frechet["value"]["value"])
    errors = (from_json(frechet[k]["std_err"]) for k in ("null", "value"))
    sigmas = _sigmas(gap, math.hypot(*errors))
    if null >= COVERAGE * real:
        why = f"the null covers {null:.3f} on {features}, real data {real:.3f}: nothing is shown"
        return Verdict(False, "samples", sigmas, why)
    if sigmas is None:
        return Verdict(False, "samples", None, "the error of the Frechet distance is not known")
    why = (
        f"coverage {value:.3f} on {features}, {value / real:.2f} of real data's {real:.3f} "
        f"({COVERAGE:g} is needed); Frechet distance {sigmas:.1f} standard errors below the "
        f"null's ({SIGMAS:g} are needed)"
    )
    return Verdict(value >= COVERAGE * real and sigmas >= SIGMAS, "samples", sigmas, why)


def memorized(record: Mapping[str, Any]) -> str | None:
    """What flags the samples of an evaluation as copies of training events, or None."""
    scores = (record.get("quality") or {}).get("scores", [])
    for found in (s for s in scores if s["score"] == "memorization"):
        value = float(found["value"]["value"])
        if beyond_chance(value, from_json(found["value"]["std_err"])):
            return (
                f"memorization {value:.3f} on {found['features']}: so many of the samples are "
                f"nearer to {found['n_reference']} events of train than to as many held-out ones, "
                "where half would be by chance"
            )
    return None


def beyond_chance(value: float, error: float) -> bool:
    """Whether so many samples are nearer to training events that it flags them."""
    return value - 0.5 > max(_MARGIN, _BINOMIAL_ERRORS * error)


def _not_by_heart(found: Verdict, quality: Mapping[str, Any]) -> Verdict:
    """The verdict on samples, unless they may be copies of what the model was trained on."""
    if not found.pretrained:
        return found
    flagged, of = memorized({"quality": quality}), quality.get("memorization")
    if of is None:
        flagged = "whether the samples are copies of training events was not measured"
    elif not beyond_chance(of["copies"], 0.5 / math.sqrt(quality["n"])):
        flagged = (
            f"{of['n']} held-out events are too few to tell: copies of training events would have "
            f"memorization {of['copies']:.3f}"
        )
    return Verdict(False, "samples", found.sigmas, flagged) if flagged else found
