"""Quality of every sampler at 1000, 50, 20 and 10 steps, for docs/studies.

    python examples/diffusion_steps.py [--model vdm.digits] [--n 360] [--out docs/studies/x]

Every row draws the same n events from the same noise, and is compared with as many of the data
set's test split (docs/guides/evaluation.md). Rows are kept in OUT.jsonl and not drawn again;
OUT.md is the table. A step of Heun's method calls the network twice, except the last; `ode` is
adaptive.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zoo_core as zoo
from zoo_core import SampleQuality

STEPS = (1000, 50, 20, 10)
SCORES = ("coverage", "precision", "recall", "frechet")
SAMPLERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ddim", {}),
    ("ddim", {"clip_denoised": False}),
    ("ddim", {"clipped_epsilon": False}),
    ("dpmpp_2m", {}),
    ("ancestral", {}),
    ("heun", {}),
)
ADAPTIVE = ("ode", {"rtol": 1e-3, "atol": 1e-3})


class CallCounter:
    """Counts the calls of a model's network, for each event."""

    def __init__(self, model: Any) -> None:
        self.calls = 0
        model.network.register_forward_pre_hook(self._count)

    def _count(self, module: Any, arguments: Any) -> None:
        self.calls += len(arguments[0])


def measure(model: Any, quality: SampleQuality, sampler: str, options: dict[str, Any]) -> Any:
    """One row of the table."""
    counter, started = CallCounter(model), time.process_time()
    x = model.sample(quality.n, sampler=sampler, seed=0, **options)
    measured = {q.score: q for q in quality(x)}
    return {
        **key(sampler, options),
        "calls": round(counter.calls / quality.n),
        "cpu_seconds": round(time.process_time() - started, 1),
        "n": quality.n,
        **{s: [measured[s].value.value, measured[s].value.std_err] for s in SCORES},
        "real": {s: measured[s].real.value for s in SCORES},
    }


def key(sampler: str, options: dict[str, Any]) -> dict[str, Any]:
    """The sampler, its steps and its other options: what a row is known by."""
    others = {k: v for k, v in options.items() if k != "steps"}
    return {"sampler": sampler, "steps": options.get("steps"), "options": others}


def table(name: str, rows: list[Any]) -> str:
    """The page."""
    lines = [
        f"# Quality of `{name}` by sampler and steps",
        "",
        f"Made by `python examples/diffusion_steps.py --model {name} --n {rows[0]['n']}`: as many",
        "events of the same seed (0) in every row, compared with as many of the test split on the",
        "digits classifier's features; ± one standard error. The last row is for real events.",
        "Coverage and recall measure how much of the data is represented, precision and the",
        "Frechet distance how closely the samples resemble the data.",
        "",
        "| sampler | steps | network calls | coverage | precision | recall | Frechet distance |",
        "|---|---|---|---|---|---|---|",
        *(line(r) for r in sorted(rows, key=lambda r: (label(r), -(r["steps"] or 0)))),
        "| real events | | | " + " | ".join(f"{rows[0]['real'][s]:.3f}" for s in SCORES) + " |",
        "",
        f"DDIM has {of_real(rows, '`ddim`', 50)} of the coverage of real events at 50 steps and "
        f"{of_real(rows, '`ddim`', 1000)} at 1000;",
        f"without clipping {of_real(rows, '`ddim`, `clip_denoised=false`', 50)} and "
        f"{of_real(rows, '`ddim`, `clip_denoised=false`', 1000)}.",
        "With `clipped_epsilon=false`, the default of diffusers, x_0 is clipped to the data's",
        "range and the predicted noise is not. Every step then adds an error that does not",
        "shrink with the step, so that DDIM with very many steps leaves the probability flow.",
    ]
    return "\n".join(lines) + "\n"


def line(r: Any) -> str:
    scores = " | ".join("{:.3f} ± {:.3f}".format(*r[s]) for s in SCORES)
    return f"| {label(r)} | {r['steps'] or 'adaptive'} | {r['calls']} | {scores} |"


def label(r: Any) -> str:
    options = (f"`{name}={json.dumps(value)}`" for name, value in r["options"].items())
    return ", ".join((f"`{r['sampler']}`", *options)) if r["steps"] else f"`{r['sampler']}`"


def of_real(rows: list[Any], name: str, steps: int) -> str:
    """Coverage of the row with a label and steps, as a share of that of real events."""
    (row,) = (r for r in rows if label(r) == name and r["steps"] == steps)
    return f"{100 * row['coverage'][0] / row['real']['coverage']:.0f} %"


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Samplers with their options, the cheapest first."""
    yield ADAPTIVE
    for steps in STEPS[::-1]:
        for sampler, options in SAMPLERS:
            yield sampler, {"steps": steps, **options}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vdm.digits")
    parser.add_argument("--n", type=int, default=360)
    parser.add_argument("--out", type=Path, default=Path("docs/studies/diffusion-steps"))
    args = parser.parse_args()
    kept = args.out.with_suffix(".jsonl")
    rows = [json.loads(s) for s in kept.read_text().splitlines()] if kept.exists() else []
    recipe = zoo.load_recipe(args.model)
    data = zoo.load_dataset(recipe.data, **recipe.data_options)
    quality = SampleQuality(data, n=args.n, features=["digits"], scores=SCORES)
    done = {(label(r), r["steps"]) for r in rows}
    for sampler, options in cases():
        case = key(sampler, options)
        if (label(case), case["steps"]) not in done:
            rows.append(measure(zoo.load(args.model), quality, sampler, options))
            with kept.open("a") as file:
                print(json.dumps(rows[-1]), file=file)
            print(line(rows[-1]), flush=True)
    args.out.with_suffix(".md").write_text(table(args.model, rows))


if __name__ == "__main__":
    main()
