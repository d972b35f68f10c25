"""Events and conditions: what is let in, as what, and what is refused in which words."""

import math

import numpy as np
import pytest
import torch

from zoo_core import Condition, DataError, Event

BITS = Event((1, 2), levels=2)
REALS = Event((2,), low=-1, high=1)


def test_what_fits_becomes_a_tensor_of_the_events_type():
    assert BITS.check(np.zeros((3, 1, 2), dtype=np.uint8)).dtype == torch.int64
    assert BITS.check([[[0, 1]]]).tolist() == [[[0, 1]]]
    assert REALS.check(torch.zeros(2, 2, dtype=torch.float64)).dtype == torch.float64
    assert BITS.check(torch.ones(2, 1, 2, dtype=torch.bool)).tolist() == [[[1, 1]]] * 2


WRONG = [
    (BITS, torch.zeros(1, 2).long(), "x has shape (1, 2); expected (B, 1, 2): integers 0..1"),
    (BITS, torch.zeros(2, 1, 3).long(), "x has shape (2, 1, 3); expected (B, 1, 2)"),
    (BITS, torch.zeros(0, 1, 2).long(), "x is an empty batch; give at least one event"),
    (BITS, torch.zeros(1, 1, 2), "x has dtype torch.float32; expected integers"),
    (BITS, torch.full((1, 1, 2), 2), "x has values from 2 to 2; expected integers 0..1"),
    (BITS, torch.full((1, 1, 2), -1), "x has values from -1 to -1; expected integers 0..1"),
    (BITS, torch.zeros(1, 1, 2, dtype=torch.complex64), "x has dtype torch.complex64; expected"),
    (BITS, "bits", "x is no array of numbers (str"),
    (BITS, None, "x is no array of numbers (NoneType"),
    (REALS, torch.zeros(2, 2).long(), "x has dtype torch.int64; expected floating point"),
    (REALS, torch.full((1, 2), math.nan), "x holds NaN or infinite values"),
    (REALS, torch.full((1, 2), math.inf), "x holds NaN or infinite values"),
    (REALS, torch.full((1, 2), 1.5), "x has values from 1.5 to 1.5; expected reals in [-1, 1]"),
    (
        Event(()),
        torch.zeros(()),
        "x has shape (); expected (B,): reals in [-inf, inf] of shape scalar",
    ),
]


@pytest.mark.parametrize(("event", "x", "message"), WRONG)
def test_what_does_not_fit_is_refused_with_what_would(event, x, message):
    with pytest.raises(DataError) as caught:
        event.check(x)
    assert caught.value.message.startswith(message)


def test_events_come_back_from_the_networks_scale():
    event = Event((17,), levels=17)
    x = torch.arange(17)[None]
    seen = event.to_network(x)
    assert (float(seen.min()), float(seen.max()), seen.dtype) == (-1.0, 1.0, torch.float32)
    assert torch.equal(event.from_network(seen), x)
    assert torch.equal(event.from_network(seen + 0.06), x), "half a level is 1 / 16"
    assert event.from_network(torch.full((1, 17), 1.2)).unique().tolist() == [16]
    assert event.to_network(x, torch.float64).dtype == torch.float64


def test_reals_have_one_scale_and_are_held_in_their_range():
    x = torch.tensor([[-3.0, 0.5]])
    assert torch.equal(Event((2,)).to_network(x), x) and torch.equal(REALS.to_network(x), x)
    assert torch.equal(Event((2,)).from_network(x), x)
    assert REALS.from_network(x).tolist() == [[-1.0, 0.5]]


def test_what_is_held_in_a_range_that_floats_round_is_in_it():
    tenth = Event((1,), low=-0.1, high=0.1)
    tenth.check(tenth.from_network(torch.tensor([[1.0], [-1.0]])))


def test_conditions_are_let_in_one_for_all_or_one_each():
    classes = Condition("classes", classes=3)
    assert classes.check(2, 4).tolist() == [2] * 4
    assert classes.check([0, 1, 2], 3).tolist() == [0, 1, 2]
    vector = Condition("vector", shape=(2,))
    assert vector.check([1.0, 2.0], 3).shape == (3, 2)
    assert Condition("classes", classes=3, optional=True).check(None, 3) is None


WRONG_CONDITIONS = [
    (Condition(), 1, "cond was given; this model takes no condition."),
    (Condition("classes", classes=3), None, "cond is missing; this model needs a class 0..2."),
    (Condition("classes", classes=3), 3, "cond has values from 3 to 3; expected integers 0..2"),
    (Condition("classes", classes=3), 1.0, "cond has dtype torch.float32; expected integers"),
    (Condition("classes", classes=3), [0, 1], "cond has shape (2,); expected (4,): a class 0..2"),
    (Condition("vector", shape=(2,)), [math.nan, 0.0], "cond holds NaN or infinite values"),
]


@pytest.mark.parametrize(("condition", "cond", "message"), WRONG_CONDITIONS)
def test_conditions_that_do_not_fit_are_refused(condition, cond, message):
    with pytest.raises(DataError) as caught:
        condition.check(cond, 4)
    assert caught.value.message.startswith(message)


def test_one_condition_for_very_many_events_takes_the_memory_of_one():
    n = 10**12
    cond = Condition("vector", shape=(3,)).check([1.0, 2.0, 3.0], n)
    assert cond.shape == (n, 3)
    assert cond.untyped_storage().nbytes() < 100
