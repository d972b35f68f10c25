"""Jacobi sampling finds the sequential sample of any model with conditionals, in fewer passes."""

from dataclasses import dataclass

import pytest
import torch

import zoo_core as zoo
from zoo_autoregressive import Jacobi, Sequential
from zoo_core import Event, Rng
from zoo_core.plugin import GenerativeModel

ARCHES = (
    "made",
    "row_lstm",
    "diagonal_bilstm",
    "pixelcnn",
    "gated_pixelcnn",
    "multiscale_pixelcnn",
    "pixelcnn_pp",
)


@dataclass(frozen=True)
class WalkConfig:
    dims: int = 20
    levels: int = 5
    strength: float = 1.0


class Walk(GenerativeModel):
    """Somebody's model: a walk over K levels, from the last value to the first.

    It counts its passes, and the rows of each.
    """

    def __init__(self, config=None):
        c = config or WalkConfig()
        super().__init__(c, Event((c.dims,), levels=c.levels))
        generator = torch.Generator().manual_seed(0)
        steps = torch.randn(c.levels, c.levels, generator=generator) * c.strength
        self.register_buffer("steps", steps)
        self.rows = []

    def order(self):
        return torch.arange(self.event.dims).flip(0)

    def logits(self, x, cond=None):
        self.rows.append(len(x))
        previous = torch.nn.functional.pad(x, (0, 1))[:, 1:]
        return self.steps[previous]

    def init_cache(self, batch, cond=None):
        return torch.zeros(batch, dtype=torch.long)

    def decode_step(self, x, i, cache):
        if i > 0:
            cache = x[:, self.event.dims - i]
        return self.steps[cache], cache


def both(model, n, **options):
    rng = Rng(1, n)
    return Sequential(**options)(model, rng, None), Jacobi(**options)(model, rng, None)


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_the_sequential_sample_of_a_strangers_model_is_found_in_at_most_a_pass_a_value(strength):
    model = Walk(WalkConfig(strength=strength))
    sequential, parallel = both(model, 64)
    assert torch.equal(sequential, parallel) and len(model.rows) <= 20


def test_rows_that_have_converged_leave():
    model = Walk(WalkConfig(dims=40))
    both(model, 64)
    assert model.rows[0] == 64 and model.rows == sorted(model.rows, reverse=True)
    assert model.rows[-1] < 16 and len(model.rows) < 40


def test_a_pass_of_many_logits_is_split_without_a_trace_in_the_draws(monkeypatch):
    whole = Jacobi()(Walk(), Rng(0, 16), None)
    monkeypatch.setattr("zoo_autoregressive.jacobi._MAX_LOGITS", 300)
    model = Walk()
    assert torch.equal(Jacobi()(model, Rng(0, 16), None), whole) and max(model.rows) == 3


def test_a_trace_is_called_after_each_pass_and_ends_with_the_sample():
    seen = []
    x = Jacobi()(Walk(), Rng(0, 4), None, trace=lambda k, x: seen.append((k, x.clone())))
    assert [k for k, _ in seen] == list(range(len(seen))) and torch.equal(seen[-1][1], x)


@pytest.mark.slow
def test_of_a_thousand_rows_of_the_bundled_models_at_most_one_differs():
    n = 1000 // len(ARCHES) + 1
    models = [zoo.load(f"{arch}.digits") for arch in ARCHES]
    drawn = [[m.sample(n, sampler=s) for s in (Sequential(), Jacobi())] for m in models]
    assert sum(int((a != b).flatten(1).any(1).sum()) for a, b in drawn) <= 1


def test_rows_of_an_image_take_far_fewer_passes_than_pixels():
    model, passes = zoo.load("pixelcnn.digits"), []
    x = Jacobi()(model, Rng(0, 4), None, trace=lambda k, x: passes.append(k))
    assert torch.equal(x, Sequential()(model, Rng(0, 4), None)) and len(passes) < 48
