"""Random numbers: a row is its own, streams are apart, and the laws are the right ones."""

import pytest
import torch

from zoo_core import Rng
from zoo_core.errors import UsageError


def draws(rng, **place):
    return torch.cat((rng.normal((3,), **place), rng.uniform((3,), **place)), 1)


def test_a_row_draws_the_same_in_any_batch():
    whole = draws(Rng(7, 10), stream="x", step=2)
    assert torch.equal(draws(Rng(7, [8, 3]), stream="x", step=2), whole[[8, 3]])
    assert torch.equal(draws(Rng(7, 10)[4:6], stream="x", step=2), whole[4:6])


def test_seed_row_stream_step_and_scope_each_change_the_draws():
    base = draws(Rng(0, 4), stream="x")
    others = [
        draws(Rng(1, 4), stream="x"),
        draws(Rng(0, [4, 5, 6, 7]), stream="x"),
        draws(Rng(0, 4), stream="y"),
        draws(Rng(0, 4), stream="x", step=1),
        draws(Rng(0, 4).scope("part"), stream="x"),
    ]
    assert all(not (other == base).any() for other in others)


def test_scopes_are_a_path():
    nested = Rng(0, 2).scope("a").scope("b").normal(stream="c")
    assert torch.equal(nested, Rng(0, 2).scope("a/b").normal(stream="c"))
    assert torch.equal(nested, Rng(0, 2).to("cpu").normal(stream="a/b/c"))


def test_draws_are_on_the_device_of_the_rows_and_of_the_asked_shape():
    rng = Rng(0, 5)
    assert len(rng) == 5 and rng.device.type == "cpu"
    assert rng.normal((2, 3), stream="x").shape == (5, 2, 3)
    assert rng.uniform(stream="x").shape == (5,)
    assert rng.normal((2, 3), stream="x").dtype == torch.float32


def test_normals_and_uniforms_have_their_moments():
    n = 200_000
    z, u = Rng(3, n).normal(stream="z").double(), Rng(3, n).uniform(stream="u").double()
    moments = torch.stack([z.mean(), (z**2).mean(), (z**3).mean(), u.mean(), (u**2).mean()])
    spread = torch.tensor([1, 2**0.5, 15**0.5, 12**-0.5, (4 / 45) ** 0.5]) / n**0.5
    assert ((moments - torch.tensor([0, 1, 0, 0.5, 1 / 3])).abs() < 5 * spread).all()


def test_categorical_frequencies_are_the_probabilities():
    n, logits = 100_000, torch.tensor([0.0, 1.0, -2.0, -torch.inf, 0.5])
    drawn = Rng(0, n).categorical(logits.expand(n, 2, 5), stream="x")
    assert drawn.shape == (n, 2) and drawn.dtype == torch.int64
    p = logits.double().softmax(0)
    for column in drawn.T:
        have = torch.bincount(column, minlength=5) / n
        assert ((have - p).abs() <= 5 * (p * (1 - p) / n).sqrt()).all()


def test_bernoulli_frequencies_are_the_probabilities():
    n = 100_000
    drawn = Rng(0, n).bernoulli(torch.tensor([-3.0, 0.0, 2.0]).expand(n, 3), stream="x")
    p = torch.tensor([-3.0, 0.0, 2.0]).sigmoid()
    assert ((drawn.float().mean(0) - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()
    assert drawn.unique().tolist() == [0, 1]


@pytest.mark.parametrize("seed", [-1, 1 << 64, 1.0, True, "0", None])
def test_seeds_outside_64_bits_are_refused(seed):
    with pytest.raises(UsageError, match="seed"):
        Rng(seed, 2)


@pytest.mark.parametrize("rows", [[-1], [1 << 32], [[0, 1]]])
def test_rows_outside_32_bits_are_refused(rows):
    with pytest.raises(UsageError, match="rows"):
        Rng(0, rows)


def test_extreme_seeds_and_rows_draw():
    assert Rng((1 << 64) - 1, [(1 << 32) - 1]).normal(stream="x").isfinite().all()
