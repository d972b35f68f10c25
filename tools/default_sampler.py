"""The sampler that a diffusion tag should draw by: the fewest calls that keep its coverage.

    python -m tools.default_sampler vdm.digits [--n 200] [--record]

Every case draws the same n events from the same noise and is compared with as many of the
validation split. Of those with at least 97 % of the best coverage, the one with the fewest calls
of the network is chosen, and among equals the one of higher coverage. Coverage is also told as a
share of that of real events. Its standard error is about .02 for n = 200, so that the choice says
which samplers are no worse, not which is best.

`--record` writes the choice into the tag's zoo.json, where `zoo info` shows it.
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import zoo_core as zoo
from zoo_core import SampleQuality
from zoo_core.catalog.registry import current

KEPT = 0.97
STEPS = (10, 20, 50)
SAMPLERS = ("ancestral", "ddim", "dpmpp_2m", "dpmpp_sde", "heun", "unipc")
_CALLS = {"heun": 2}


class Case(NamedTuple):
    """A sampler with its steps, the calls of the network for an event, and the coverage."""

    sampler: str
    steps: int
    calls: int
    coverage: float
    std_err: float


def cases() -> Iterator[tuple[str, int, int]]:
    """(sampler, steps, calls), the cheapest first."""
    every = [(s, n, _CALLS.get(s, 1) * n - (s == "heun")) for s in SAMPLERS for n in STEPS]
    return iter(sorted([*every, ("ancestral", 250, 250)], key=lambda case: case[2]))


def chosen(measured: list[Case]) -> Case:
    """The case with the fewest calls that keeps 97 % of the best coverage."""
    best = max(case.coverage for case in measured)
    able = [case for case in measured if case.coverage >= KEPT * best]
    return min(able, key=lambda case: (case.calls, -case.coverage))


def measure(model: Any, quality: SampleQuality, sampler: str, steps: int, calls: int) -> Case:
    x = model.sample(quality.n, sampler=sampler, steps=steps, seed=0)
    (found,) = (q for q in quality(x) if q.score == "coverage")
    return Case(sampler, steps, calls, found.value.value, found.value.std_err)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tag")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--at-most", type=int, default=250, help="calls of the dearest case")
    args = parser.parse_args()
    recipe = zoo.load_recipe(args.tag)
    data = zoo.load_dataset(recipe.data, **recipe.data_options)
    quality = SampleQuality(
        data, split="valid", n=args.n, features=["digits"], scores=["coverage"]
    )
    model, measured = zoo.load(args.tag), []
    for case in cases():
        if case[2] <= args.at_most:
            measured.append(measure(model, quality, *case))
            print(
                "{:<10} {:>4} steps {:>4} calls  {:.3f} +- {:.3f}".format(*measured[-1]),
                flush=True,
            )
    real = next(q for q in quality(quality.real_events) if q.score == "coverage").real.value
    pick = chosen(measured)
    print(
        f"{args.tag}: {pick.sampler}, steps={pick.steps}: {pick.calls} calls, "
        f"{100 * pick.coverage / real:.0f} % of real events' coverage"
    )
    if args.record:
        record(args.tag, pick, real, args.n)


def record(tag: str, pick: Case, real: float, n: int) -> None:
    """Write the choice into the zoo.json of a bundled tag."""
    (found,) = current().list_models(tag)
    path = found.tag.folder / "zoo.json"
    metadata = json.loads(path.read_text())
    metadata["sampler"] = {
        "name": pick.sampler,
        "options": {"steps": pick.steps},
        "calls": pick.calls,
        "coverage": pick.coverage,
        "real": real,
        "split": "valid",
        "n": n,
    }
    path.write_text(json.dumps(metadata, indent=2) + "\n")


if __name__ == "__main__":
    main()
