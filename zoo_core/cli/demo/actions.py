"""What the buttons of the demo do: the calls of the command, for bundled models that can be drawn.

Each returns pictures and a text that begins with the command that does the same.
"""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from zoo_core import latent
from zoo_core.catalog.capabilities import Denoiser, has
from zoo_core.catalog.registry import ModelInfo, current
from zoo_core.cli.command import Settings
from zoo_core.cli.condition import condition_of
from zoo_core.cli.models import dataset, load
from zoo_core.cli.printing import headline, metric_text
from zoo_core.cli.scored_events import mean_text
from zoo_core.data import pictures
from zoo_core.data.images import read_image
from zoo_core.data.traces import Trace
from zoo_core.errors import DataError, NoCapabilityError, UsageError, ZooError
from zoo_core.evaluation.baselines import Baseline, fitted_baselines
from zoo_core.likelihood import LogLikelihood
from zoo_core.likelihoods.per_dimension import log_prob_map
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.spaces import Event
from zoo_core.workflows.verification import recipe_of

__all__ = ["MOST", "Actions", "Draw"]

MOST = 64
"""Events that are drawn at once."""
_MOST_STEPS = 1000
_KEPT = 4
"""Models that stay in memory."""
_LN2 = 0.6931471805599453


@dataclass(frozen=True)
class Draw:
    """What to draw, as the command's options say it; an empty one is left out."""

    name: str
    n: int = 16
    seed: int = 0
    sampler: str = ""
    steps: float | None = None
    guidance: float | None = None
    cond: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The sampler's options that are set."""
        given = {"steps": self.steps, "guidance_scale": self.guidance}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def words(self) -> str:
        """The command that draws the same."""
        words = ["zoo", "sample", self.name, "-n", str(self.n), "--seed", str(self.seed)]
        words += ["--sampler", self.sampler] if self.sampler else []
        words += ["--cond", self.cond] if self.cond else []
        words += [w for name, v in self.options.items() for w in ("--set", f"{name}={v}")]
        return shlex.join(words)

    def checked(self) -> "Draw":
        """Itself, with whole numbers, if it is not too much for a browser."""
        if not 1 <= self.n <= MOST:
            raise UsageError(f"n = {self.n}; the demo draws 1 to {MOST} events.")
        steps = None if self.steps is None else _whole(self.steps)
        return replace(self, n=int(self.n), seed=int(self.seed), steps=steps)


class Actions:
    """Bundled models by name; `folder` takes animations."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = replace(settings, offline=True)
        self.folder = folder
        self.infos = {info.name: info for info in current().list_models() if _shown(info)}
        self.model = lru_cache(_KEPT)(self._model)
        self.baselines = lru_cache(_KEPT)(self._baselines)

    def names(self, family: str | None = None) -> list[str]:
        """Models of a family, or all."""
        found = self.infos.values()
        return [i.name for i in found if family in (None, i.spec.family)]

    @property
    def families(self) -> list[str]:
        return sorted({info.spec.family for info in self.infos.values()})

    @property
    def of_images(self) -> list[str]:
        """Models of images, which can be asked of an uploaded one; first those with a map."""
        names = [name for name, info in self.infos.items() if len(_event(info).shape) == 3]
        return sorted(names, key=lambda n: "Conditionals" not in self.infos[n].spec.capabilities)

    def has_latents(self, name: str) -> bool:
        """Whether there is something to interpolate."""
        able = {*self.infos[name].spec.capabilities}
        return bool(able & {"Denoiser", "Bijection", "Decoder", "Generator"})

    def samplers(self, name: str) -> list[str]:
        """Samplers whose required capabilities the model has."""
        able = {*self.infos[name].spec.capabilities}
        return [e.spec.name for e in current().samplers if {*e.spec.requires} <= able]

    def about(self, name: str) -> str:
        """The density type of a model, its recorded likelihood and its condition."""
        info = self.infos[name]
        best = headline(info.tag.metrics if info.tag else [])
        condition = self.model(name).condition
        told = "" if condition.kind == "none" else f"; condition: {condition}"
        measured = f"; {metric_text(best)}" if best else ""
        return f"{info.spec.density}{measured}{told}"

    def sample(self, draw: Draw, *, trajectory: bool = False) -> tuple[Image.Image, str, str]:
        """A grid of events, the text, and the file of an animation or ''."""
        draw = draw.checked()
        model, trace = self.model(draw.name), Trace() if trajectory else None
        x = self._draw(draw, trace)
        animation = ""
        if trace is not None:
            animation = str(self.folder / "trajectory.gif")
            trace.write(animation, model.event)
        return picture(x, model.event), f"{draw.words}\n{self.about(draw.name)}", animation

    def compare(self, a: Draw, b: Draw) -> tuple[Image.Image, Image.Image, str]:
        """Grids of two models from the same seeds."""
        (first, told, _), (second, also, _) = self.sample(a), self.sample(b)
        return first, second, f"{told}\n{also}"

    def score(
        self, name: str, file: str | None, cond: str = ""
    ) -> tuple[Image.Image, Image.Image | None, str]:
        """What the model sees of an image, the bits of each pixel, and log p beside baselines."""
        if not file:
            raise UsageError("no image is given.", hint="upload a .png or .jpg file")
        model, notes = self.model(name), Counter[str]()
        x = _read(Path(file), model.event, notes)
        condition = condition_of(model.condition, cond or None, 1)
        scored = model.log_likelihood(x, cond=condition)
        lines = [_words_of_score(name, model.event), *(+notes)]
        lines.append(f"{name}: {mean_text(scored.mean(), 'this image')}")
        lines += self._beside(name, x, model.event)
        heat, told = self._heat(model, x, condition)
        lines += [told, f"held-out data: {self.about(name)}"]
        return picture(x, model.event), heat, "\n".join(filter(None, lines))

    def interpolate(self, draw: Draw, end: int, *, frames: int = 8) -> tuple[Image.Image, str]:
        """Events along the great circle between the latents of two seeds."""
        draw = replace(draw, n=frames).checked()
        model = self.model(draw.name)
        seeds = (draw.seed, int(end))
        cond = condition_of(model.condition, draw.cond or None, frames)
        if has(model, "Denoiser") and isinstance(model, Denoiser):
            noise = [_noise(model, seed) for seed in seeds]
            path = latent.interpolate(*noise, steps=frames)[0]
            x = model.sample(
                frames, sampler=draw.sampler or None, cond=cond, x_T=path, **draw.options
            )
            what = "the noise x_T; the sampler must add none, such as ddim or heun"
        else:
            ends = [self._latent(model, replace(draw, n=1, seed=seed)) for seed in seeds]
            path = latent.interpolate(*ends, steps=frames)[0]
            x = model.event.from_network(latent.decode(model, path, cond=cond))
            what = "the latents z"
        told = f"{draw.name}: from seed {seeds[0]} to seed {seeds[1]} on a great circle of {what}"
        return picture(x, model.event, columns=frames), told

    def _model(self, name: str) -> GenerativeModel:
        return load(self.settings, name)

    def _baselines(self, name: str) -> list[Baseline]:
        info = self.infos[name]
        assert info.tag is not None and info.tag.folder is not None  # it is bundled
        recipe = recipe_of(info.tag.folder)
        return fitted_baselines(dataset(self.settings, recipe.data, recipe.data_options))

    def _draw(self, draw: Draw, trace: Trace | None = None) -> Tensor:
        model = self.model(draw.name)
        return model.sample(
            draw.n,
            seed=draw.seed,
            sampler=draw.sampler or None,
            cond=condition_of(model.condition, draw.cond or None, draw.n),
            trace=trace,
            **draw.options,
        )

    def _latent(self, model: GenerativeModel, draw: Draw) -> Tensor:
        """A draw of the prior, or the latent of a drawn event: (1, *Z)."""
        if has(model, "Bijection"):
            return latent.encode(model, self._draw(draw))
        if has(model, "Generator") or has(model, "Decoder"):
            prior: Any = model
            with torch.no_grad():
                z: Tensor = prior.prior(1).sample(Rng(draw.seed, 1), stream="z")
            return z
        raise NoCapabilityError(
            f"{draw.name} has no latents to interpolate.",
            hint="flows, VAEs, GANs and diffusion models have",
        )

    def _beside(self, name: str, x: Tensor, event: Event) -> list[str]:
        try:
            return [f"{b.name}: {_of_baseline(b, x, event)}" for b in self.baselines(name)]
        except ZooError as error:  # data that are not bundled
            return [f"no baselines: {error.message}"]

    def _heat(
        self, model: GenerativeModel, x: Tensor, cond: Any
    ) -> tuple[Image.Image | None, str]:
        if not has(model, "Conditionals"):
            return None, "bits of each pixel: only models with conditionals have them"
        bits = -log_prob_map(model, x, cond=cond).cpu()[0].sum(0) / _LN2
        top = max(float(bits.max()), 1e-12)
        event = Event((3, *bits.shape), low=0.0, high=1.0)
        colors = pictures.heat(bits[None] / top)
        return picture(colors, event), f"bits of each pixel: black is 0, white {top:.2f}"


def _whole(steps: float) -> int:
    if not (steps.is_integer() and 1 <= steps <= _MOST_STEPS):
        raise UsageError(f"steps = {steps:g}; give a whole number from 1 to {_MOST_STEPS}.")
    return int(steps)


def picture(x: Tensor, event: Event, columns: int | None = None) -> Image.Image:
    """Events (n, *S) in a grid, or as a density plot of the plane."""
    x = x.cpu()
    if len(event.shape) == 1:
        return Image.fromarray(pictures.scatter(x))
    rows, columns, scale, _ = pictures.grid_layout(event, len(x), columns=columns)
    low = float(x.min()) if event.low is None else event.low
    high = float(x.max()) if event.high is None else event.high
    return Image.fromarray(
        pictures.grid(pictures.shade(x, event, low, high), rows, columns, scale)
    )


def _shown(info: ModelInfo) -> bool:
    """Whether the weights are bundled and the events can be drawn."""
    tag = info.tag
    return tag is not None and tag.status == "bundled" and pictures.drawable(_event(info))


def _event(info: ModelInfo) -> Event:
    metadata: Mapping[str, Any] = (info.tag and info.tag.metadata) or {}
    record = metadata["event"]
    return Event(tuple(record.get("shape", ())), levels=record.get("levels"))


def _read(path: Path, event: Event, notes: Counter[str]) -> Tensor:
    """An image file as the model's event, (1, C, H, W): cropped, resized, quantized."""
    channels, height, width = event.shape
    if height != width or event.levels is None or channels not in (1, 3):
        raise DataError(f"images cannot be made {event}.")
    pixels = read_image(path, notes, channels=channels, size=height)
    x = torch.from_numpy(pixels.copy()).long() * event.levels // 256
    notes[f"cropped to a square, resized to {height}x{width}, {event.levels} levels"] += 1
    return x[None]


def _words_of_score(name: str, event: Event) -> str:
    """The command that scores the images of a folder in the same way."""
    options = {"channels": event.shape[0], "size": event.shape[1], "levels": event.levels}
    options |= {"valid": 0, "test": 1}
    words = ["zoo", "likelihood", name, "--data", "folder:FOLDER"]
    return shlex.join(
        [*words, *(w for k, v in options.items() for w in ("--data-option", f"{k}={v}"))]
    )


def _noise(model: Denoiser, seed: int) -> Tensor:
    """x_T of a seed, (1, *S): sigma_1 z, since alpha_1 x_0 is as good as nothing."""
    z = Rng(seed, 1).normal(model.event.shape, stream="x_1")
    return model.schedule.sigma(torch.ones((), dtype=torch.float64)).to(z) * z


def _of_baseline(baseline: Baseline, x: Tensor, event: Event) -> str:
    nats = baseline.log_prob(x, None)
    scored = LogLikelihood(nats, baseline.kind, torch.zeros_like(nats), event)
    return mean_text(scored.mean(), "this image")
