"""Seeded orders are permutations that depend on the seed, the stream and the step alone."""

import pytest
import torch

from zoo_core.data.shuffle import cut, permutation
from zoo_core.errors import DataError, UsageError


def order(seed: int, step: int, n: int) -> torch.Tensor:
    return permutation(seed, n, stream="test", step=step)


@pytest.mark.parametrize("n", [1, 2, 17, 5000])
def test_an_order_is_a_permutation(n):
    assert torch.equal(order(3, 5, n).sort().values, torch.arange(n))


def test_an_order_is_the_same_everywhere():
    assert order(0, 0, 10).tolist() == [0, 1, 6, 7, 8, 5, 4, 2, 9, 3]
    assert order(2**63, 7, 10).tolist() == [2, 8, 7, 3, 9, 4, 0, 1, 6, 5]


def test_seeds_and_steps_give_different_orders():
    orders = {tuple(order(s, e, 50).tolist()) for s in range(4) for e in range(4)}
    assert len(orders) == 16


def test_streams_give_different_orders():
    assert not torch.equal(permutation(0, 50, stream="a"), permutation(0, 50, stream="b"))


def test_fewer_examples_keep_their_relative_order():
    full = order(1, 2, 100)
    assert torch.equal(full[full < 60], order(1, 2, 60))


def test_every_place_is_equally_likely():
    first = torch.tensor([int(order(0, e, 4)[0]) for e in range(2000)]).bincount(minlength=4)
    assert float(((first - 500.0) ** 2 / 500).sum()) < 16.3  # chi^2 with 3 degrees, p = 0.001


def test_an_order_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least one"):
        order(0, 0, 0)


def test_cut_rows_are_disjoint_and_all_there():
    parts = dict(cut(103, valid=0.1, test=0.2, seed=4))
    assert {k: len(v) for k, v in parts.items()} == {"train": 72, "valid": 10, "test": 21}
    assert torch.equal(torch.cat(list(parts.values())).sort().values, torch.arange(103))


@pytest.mark.parametrize(("valid", "test"), [(0.5, 0.5), (0.01, 0.2), (1.0, 0.0)])
def test_a_cut_that_leaves_a_split_empty_is_refused(valid, test):
    with pytest.raises(DataError, match="cannot be split"):
        cut(10, valid=valid, test=test, seed=0)
