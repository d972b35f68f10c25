"""Does a GAN find every mode? A ring of 8 Gaussians and a grid of 25: docs/gan-modes.md.

    python examples/gan_modes.py [--only wgan_gp.ring] [--seeds 0 1 2] [--out docs/gan-modes]

Each recipe is trained anew for each seed, which is that of its parameters, batches and noise; the
points of the data are the same. A sample counts for a mode if it lies within 3 sd of its mean.
Rows are kept in OUT.jsonl and not trained again unless their recipe has changed; OUT.md is the
table. With --keep FOLDER the trained models are left there.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import zoo_core as zoo
from zoo_core import Gaussians, load_recipe, run_recipe

RECIPES = ("wgan_gp.ring", "wgan_gp.grid", "r3gan.ring", "r3gan.grid")
WITHIN = {"wgan_gp": 0.85, "r3gan": 0.95}
"""Goal: the least part of the samples within 3 sd of a mode."""
SHARE = {"ring": 0.01, "grid": 0.004}
"""Goal: the least part of the samples that the rarest mode has."""
_RADIUS = 3  # sd; a two-dimensional normal has exp(-9/2) = 1.1 % beyond
_SAMPLES = 10_000


@dataclass(frozen=True)
class Modes:
    """What samples (N, 2) have of the modes of a mixture."""

    found: int
    rarest: float
    within: float

    @classmethod
    def of(cls, x: torch.Tensor, mixture: Gaussians) -> "Modes":
        nearest = torch.cdist(x.double(), mixture.means).min(1)
        inside = nearest.values <= _RADIUS * mixture.noise
        count = torch.bincount(nearest.indices[inside], minlength=len(mixture.means))
        shares = count.double() / len(x)
        least = SHARE[mixture.layout]
        return cls(
            int((shares >= least).sum()), float(shares.min()), float(inside.double().mean())
        )


def row(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train a recipe with a seed and measure it."""
    recipe, started = load_recipe(name), time.process_time()
    trained = run_recipe(recipe, folder / f"{name}.{seed}", seed=seed)
    seconds = time.process_time() - started
    mixture = mixture_of(recipe)
    modes = Modes.of(zoo.load(str(trained.absolute())).sample(_SAMPLES, seed=0), mixture)
    return {
        "recipe": name,
        "sha256": recipe.sha256,
        "seed": seed,
        **vars(modes),
        "modes": len(mixture.means),
        "n": _SAMPLES,
        "cpu_seconds": round(seconds),
    }


def mixture_of(recipe: Any) -> Gaussians:
    return Gaussians(**recipe.data_options)


def reached(r: dict[str, Any]) -> bool:
    """Whether a row meets its goals."""
    within = r["within"] >= WITHIN[r["recipe"].partition(".")[0]]
    return bool(within and r["found"] == r["modes"])


def table(rows: list[dict[str, Any]]) -> str:
    """The page."""
    real = {layout: _real(layout) for layout in SHARE}
    lines = [
        "# Modes that GANs find",
        "",
        "Made by `python examples/gan_modes.py`: each recipe trained on the CPU with three seeds,",
        f"{_SAMPLES:,} samples of each. `ring` is 8 Gaussians of sd 0.02 on a circle of radius 2,",
        "`grid` 25 of sd 0.05 at a spacing of 2. A sample counts for a mode within 3 sd of its",
        "mean; the goals are every mode at least 1 % (ring) or 0.4 % (grid) of the samples, and",
        "85 % (`wgan_gp`) or 95 % (`r3gan`) of them within 3 sd of a mode.",
        "",
        "| recipe | seed | modes | rarest mode | within 3 sd | goal | CPU seconds |",
        "|---|---|---|---|---|---|---|",
        *(_line(r) for r in sorted(rows, key=lambda r: (r["recipe"], r["seed"]))),
        *(
            f"| real points, {layout} | | {m.found} of {m.found} | {100 * m.rarest:.2f} % | "
            f"{100 * m.within:.1f} % | | |"
            for layout, m in real.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _line(r: dict[str, Any]) -> str:
    return (
        f"| `{r['recipe']}` | {r['seed']} | {r['found']} of {r['modes']} | "
        f"{100 * r['rarest']:.2f} % | {100 * r['within']:.1f} % | "
        f"{'met' if reached(r) else 'missed'} | {r['cpu_seconds']} |"
    )


def _real(layout: Any) -> Modes:
    """What points of the mixture itself get."""
    mixture = Gaussians(layout=layout, train=1, valid=1, test=_SAMPLES)
    return Modes.of(mixture().split("test").x, mixture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=RECIPES, choices=RECIPES, metavar="RECIPE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("docs/gan-modes"))
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    kept_in = given.out.with_suffix(".jsonl")
    rows = [json.loads(s) for s in kept_in.read_text().splitlines()] if kept_in.exists() else []
    rows = [r for r in rows if r["sha256"] == load_recipe(r["recipe"]).sha256]
    done = {(r["recipe"], r["seed"]) for r in rows}
    wanted = [(n, s) for s in given.seeds for n in given.only if (n, s) not in done]
    with tempfile.TemporaryDirectory() as temporary:
        for name, seed in wanted:
            rows.append(row(name, seed, given.keep or Path(temporary)))
            kept_in.write_text("".join(json.dumps(r) + "\n" for r in rows))
            print(_line(rows[-1]), flush=True)
    given.out.with_suffix(".md").write_text(table(rows))


if __name__ == "__main__":
    main()
