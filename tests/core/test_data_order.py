"""Orders of examples are permutations that depend on the seed and the epoch alone."""

import pytest
import torch

from zoo_core.data.order import cut, epoch_order
from zoo_core.errors import DataError, UsageError


@pytest.mark.parametrize("n", [1, 2, 17, 5000])
def test_an_order_is_a_permutation(n):
    assert torch.equal(epoch_order(3, 5, n).sort().values, torch.arange(n))


def test_an_order_is_the_same_everywhere():
    assert epoch_order(0, 0, 10).tolist() == [2, 8, 1, 4, 3, 9, 6, 0, 5, 7]
    assert epoch_order(2**63, 7, 10).tolist() == [3, 2, 5, 4, 9, 6, 0, 7, 8, 1]


def test_seeds_and_epochs_give_different_orders():
    orders = {tuple(epoch_order(s, e, 50).tolist()) for s in range(4) for e in range(4)}
    assert len(orders) == 16


def test_fewer_examples_keep_their_relative_order():
    full = epoch_order(1, 2, 100)
    assert torch.equal(full[full < 60], epoch_order(1, 2, 60))


def test_every_place_is_equally_likely():
    first = torch.tensor([int(epoch_order(0, e, 4)[0]) for e in range(2000)]).bincount(minlength=4)
    assert float(((first - 500.0) ** 2 / 500).sum()) < 16.3  # chi^2 with 3 degrees, p = 0.001


def test_an_order_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least one"):
        epoch_order(0, 0, 0)


def test_cut_rows_are_disjoint_and_all_there():
    parts = dict(cut(103, valid=0.1, test=0.2, seed=4))
    assert {k: len(v) for k, v in parts.items()} == {"train": 72, "valid": 10, "test": 21}
    assert torch.equal(torch.cat(list(parts.values())).sort().values, torch.arange(103))


@pytest.mark.parametrize(("valid", "test"), [(0.5, 0.5), (0.01, 0.2), (1.0, 0.0)])
def test_a_cut_that_leaves_a_split_empty_is_refused(valid, test):
    with pytest.raises(DataError, match="cannot be split"):
        cut(10, valid=valid, test=test, seed=0)
