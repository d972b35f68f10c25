"""The guard catches whatever draws from a generator that is not the zoo's, and nothing else."""

import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import zoo_core as zoo
from zoo_core.testing import forbid_torch_randomness

X = torch.ones(1, 2, 4, 4)
DRAWS = {
    "randn": lambda: torch.randn(3),
    "rand_like": lambda: torch.rand_like(X),
    "randint": lambda: torch.randint(4, (2,)),
    "randperm": lambda: torch.randperm(4),
    "normal_": lambda: torch.empty(3).normal_(),
    "uniform_": lambda: torch.empty(3).uniform_(),
    "exponential_": lambda: torch.empty(3).exponential_(),
    "bernoulli": lambda: torch.bernoulli(X),
    "multinomial": lambda: torch.multinomial(torch.ones(3), 1),
    "own generator": lambda: torch.rand(2, generator=torch.Generator().manual_seed(0)),
    "distributions": lambda: torch.distributions.Normal(0.0, 1.0).sample(),
    "gamma": lambda: torch.distributions.Gamma(torch.ones(2), 1.0).sample(),
    "initialization": lambda: torch.nn.Linear(2, 2),
    "dropout": lambda: F.dropout(X, 0.5, True),
    "dropout2d": lambda: F.dropout2d(X, 0.5, True),
    "attention": lambda: F.scaled_dot_product_attention(X, X, X, dropout_p=0.5),
    "rrelu": lambda: F.rrelu(X, training=True),
    "random": lambda: random.random(),
    "numpy": lambda: np.random.rand(),
}
QUIET = {
    "idle dropout": lambda: F.dropout(X, 0.5, False),
    "dropout of nothing": lambda: F.dropout(X, 0.0, True),
    "attention": lambda: F.scaled_dot_product_attention(X, X, X),
    "idle rrelu": lambda: F.rrelu(X, training=False),
    "the zoo's own": lambda: zoo.Rng(0, 4).normal((2,), stream="x"),
    "the zoo's classes": lambda: zoo.Rng(0, 4).categorical(torch.zeros(4, 3), stream="x"),
    "arithmetic": lambda: (X @ X).softmax(-1).sum(),
}
MODES = [torch.no_grad, torch.inference_mode, torch.enable_grad]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_is_caught(name, mode):
    with mode(), pytest.raises(AssertionError, match="rng"), forbid_torch_randomness():
        DRAWS[name]()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", QUIET)
def test_what_draws_nothing_passes(name, mode):
    with mode(), forbid_torch_randomness():
        QUIET[name]()
