"""The sampler that a diffusion tag draws by: the fewest calls that keep its coverage.

    python -m tools.default_sampler vdm.digits [--rounds 4] [--record]

Every case draws the same events from the same noise, n in each round, and each round is compared
with as many events of the validation split. The choice is the case with the fewest calls of the
network whose mean coverage is at least 97 % of the best mean; among equals, the best. Coverage is
also told as a share of that of real events.

Noise: after the first round, cases that are more than three standard errors below 97 % of the
best are dropped; the rest are drawn in every round, and the standard error of a mean is that of
its rounds. The best of several means is too high rather than too low by chance, so that noise
favours the sampler with more calls.

`--record` writes the choice into the tag's zoo.json: `zoo.load` then draws by it, and `zoo info`
shows it. Golden tensors stay those of the architecture's sampler.
"""

import argparse
import math
from collections.abc import Iterator
from statistics import mean, stdev
from typing import Any, NamedTuple

import zoo_core as zoo
from zoo_core import SampleQuality
from zoo_core.catalog.registry import current
from zoo_core.evaluation.features import fitting
from zoo_core.files import write_json
from zoo_core.reading import read_json

KEPT = 0.97
NOISY = ("ancestral", "dpmpp_sde"), (10, 20, 50)
FLOWS = ("ddim", "dpmpp_2m", "heun", "midpoint", "unipc"), (5, 10, 20)
_CALLS = {"heun": lambda steps: 2 * steps - 1, "midpoint": lambda steps: 2 * steps}


class Case(NamedTuple):
    """A sampler with its steps, and the calls of the network for an event."""

    sampler: str
    steps: int
    calls: int


class Measured(NamedTuple):
    """The mean coverage of a case, and its standard error."""

    case: Case
    coverage: float
    std_err: float

    def __str__(self) -> str:
        sampler, steps, calls = self.case
        error = f"{self.coverage:.3f} +- {self.std_err:.3f}"
        return f"{sampler:<10} {steps:>4} steps {calls:>4} calls  {error}"


def cases(at_most: int) -> list[Case]:
    """All cases of at most so many calls, the cheapest first."""
    every = [(s, n) for samplers, steps in (NOISY, FLOWS) for s in samplers for n in steps]
    made = [Case(s, n, _CALLS.get(s, int)(n)) for s, n in [*every, ("ancestral", 250)]]
    return sorted((c for c in made if c.calls <= at_most), key=lambda case: case.calls)


def chosen(measured: list[Measured]) -> Measured:
    """The case with the fewest calls that keeps 97 % of the best coverage."""
    best = max(m.coverage for m in measured)
    able = [m for m in measured if m.coverage >= KEPT * best]
    return min(able, key=lambda m: (m.case.calls, -m.coverage))


def able(measured: list[Measured]) -> list[Case]:
    """The cases that are not three standard errors below 97 % of the best coverage."""
    best = max(measured, key=lambda m: m.coverage)

    def reach(m: Measured) -> float:
        return m.coverage + 3 * math.hypot(m.std_err, KEPT * best.std_err)

    return [m.case for m in measured if m is best or reach(m) >= KEPT * best.coverage]


class Measurement:
    """Coverage of a tag's draws against its data's validation split."""

    def __init__(self, tag: str, n: int | None) -> None:
        recipe = zoo.load_recipe(tag)
        data = zoo.load_dataset(recipe.data, **recipe.data_options)
        self.model: Any = zoo.load(tag)
        self.features = fitting(data.event)[0]
        self.quality = SampleQuality(
            data,
            split="valid",
            n=n,
            features=[self.features],
            scores=["coverage"],
            conditional=self.model.condition.kind != "none",
        )
        self.n = self.quality.n

    def __call__(self, case: Case, rounds: range) -> Iterator[tuple[float, float]]:
        """The coverage and its standard error in each round."""
        for j in rounds:
            x = self.model.sample(
                self.n,
                first_row=j * self.n,
                cond=self.quality.classes,
                sampler=case.sampler,
                steps=case.steps,
            )
            (found,) = (q for q in self.quality(x) if q.score == "coverage")
            yield found.value.value, found.value.std_err

    @property
    def real(self) -> float:
        """The coverage of real events."""
        (found,) = (q for q in self.quality(self.quality.real_events) if q.score == "coverage")
        return found.real.value


def measure(measurement: Measurement, every: list[Case], rounds: int) -> Iterator[Measured]:
    """The cases that may be chosen, after all rounds."""
    first = {}
    for case in every:
        ((coverage, error),) = measurement(case, range(1))
        first[case] = Measured(case, coverage, error)
        print(first[case], flush=True)
    for case in able([*first.values()]):
        more = [value for value, _ in measurement(case, range(1, rounds))]
        values = [first[case].coverage, *more]
        error = stdev(values) / math.sqrt(len(values)) if more else first[case].std_err
        yield Measured(case, mean(values), error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tag")
    parser.add_argument("--n", type=int, help="events of a round; by default all of valid")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--at-most", type=int, default=250, help="calls of the dearest case")
    args = parser.parse_args()
    measurement = Measurement(args.tag, args.n)
    measured = []
    for found in measure(measurement, cases(args.at_most), args.rounds):
        measured.append(found)
        print(found, f"in {args.rounds} rounds", flush=True)
    pick, real = chosen(measured), measurement.real
    print(f"{args.tag}: {pick}, {100 * pick.coverage / real:.0f} % of real events' coverage")
    if args.record:
        record(args.tag, pick, real, measurement, args.rounds)


def record(tag: str, pick: Measured, real: float, measurement: Measurement, rounds: int) -> None:
    """Write the choice into the zoo.json of a bundled tag."""
    (found,) = current().list_models(tag)
    path = found.tag.folder / "zoo.json"
    metadata = read_json(path)
    metadata["sampler"] = {
        "name": pick.case.sampler,
        "options": {"steps": pick.case.steps},
        "calls": pick.case.calls,
        "coverage": pick.coverage,
        "std_err": pick.std_err,
        "real": real,
        "features": measurement.features,
        "split": "valid",
        "n": measurement.n,
        "rounds": rounds,
    }
    write_json(path, metadata)


if __name__ == "__main__":
    main()
