"""The sampling driver: rows, batches, conditions, known values, refusals."""

import itertools
from dataclasses import dataclass

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.specs import ModelSpec
from zoo_core.errors import NoCapabilityError, UsageError

pytestmark = pytest.mark.usefixtures("minis")


@dataclass(frozen=True)
class Complete:
    """A sampler that knows how to complete and shows its work."""

    def __call__(self, model, rng, cond, fixed=None, trace=None):
        x = model.sample_rows(rng, cond)
        if trace is not None:
            trace(0, x)
        return x if fixed is None else fixed.apply(x)


@dataclass(frozen=True)
class Rows:
    """Events that say in their first bits which row they are."""

    def __call__(self, model, rng, cond):
        bits = rng.rows[:, None] >> torch.arange(model.event.dims) & 1
        return bits.view(-1, *model.event.shape)


@dataclass(frozen=True)
class Gives:
    """A stranger's sampler that gives what it was made with."""

    value: object

    def __call__(self, model, rng, cond):
        return self.value


def test_reals_of_a_sampler_become_integers_where_the_events_are():
    model = zoo.create("mini_ar")
    y = torch.tensor([-1.1, -0.2, 0.3, 1.4]).view(4, 1, 1, 1).expand(4, 1, 3, 3)
    x = model.sample(4, sampler=Gives(y))
    assert x.dtype == torch.int64 and x[:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    assert torch.equal(model.sample(4, sampler=Gives(x)), x), "integers are what they are"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((4, 1, 3, 3), torch.nan), "what Gives drew of 4 of 4 events is not finite"),
        (torch.full((4, 1, 3, 3), torch.inf), "what Gives drew of 4 of 4 events is not finite"),
        (torch.full((4, 1, 3, 3), 2), "what Gives drew has values from 2 to 2"),
        (torch.zeros(4, 3, 3), "what Gives drew has shape"),
        (torch.zeros(3, 1, 3, 3), "what Gives drew has 3 rows; 4 were asked for"),
        (torch.zeros(()), "what Gives drew is a Tensor, not a batch of events"),
        ([0] * 4, "what Gives drew is a list, not a batch of events"),
    ],
)
def test_what_cannot_be_events_is_refused_with_the_samplers_name(value, message):
    with pytest.raises(zoo.ZooError, match=message):
        zoo.create("mini_ar").sample(4, sampler=Gives(value))


def test_rows_are_the_same_in_any_batch_and_from_any_start():
    model = zoo.create("mini_ar")
    whole = model.sample(10, seed=4)
    assert whole.shape == (10, 1, 3, 3) and whole.dtype == torch.int64
    for size in (1, 3, 10, 99):
        assert torch.equal(model.sample(10, seed=4, batch_size=size), whole)
    assert torch.equal(model.sample(4, seed=4, first_row=6), whole[6:])
    parts = list(model.sample_batches(10, seed=4, batch_size=4))
    assert [len(p) for p in parts] == [4, 4, 2]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(model.sample(10, seed=5), whole)


def test_very_many_events_come_in_bounded_batches_as_they_are_asked_for():
    batches = zoo.create("mini_ar").sample_batches(1 << 31, sampler=Rows())
    first, second = itertools.islice(batches, 2)
    assert len(first) == len(second) <= 256
    assert int((second[0].flatten() << torch.arange(9)).sum()) == len(first)


def test_very_many_conditioned_or_completed_events_come_in_bounded_batches():
    model = zoo.create("mini_diffusion")
    assert len(next(model.sample_batches(1 << 31, cond=1, steps=1))) <= 256
    fixed = (torch.ones(1, 3, 3).long(), torch.ones(1, 3, 3).bool())
    batches = zoo.create("mini_ar").sample_batches(1 << 31, sampler=Complete(), fixed=fixed)
    assert next(batches).eq(1).all()


def test_more_events_than_fit_into_memory_are_refused_with_the_way_out():
    with pytest.raises(UsageError, match=r"sample_batches"):
        zoo.create("mini_ar").sample(10**15)


def test_each_event_has_its_condition_or_all_have_one():
    model = zoo.create("mini_diffusion")
    each = model.sample(6, cond=[0, 1, 2, 0, 1, 2], batch_size=4)
    for label in range(3):
        same = model.sample(6, cond=label)
        assert torch.allclose(each[label::3], same[label::3], atol=1e-5)
    assert not torch.allclose(model.sample(6, cond=0), model.sample(6), atol=1e-3)


def test_known_values_are_kept():
    model = zoo.create("mini_ar")
    values = torch.arange(4 * 9).view(4, 1, 3, 3) % 2
    mask = torch.zeros(1, 3, 3, dtype=torch.bool)
    mask[..., 0, :] = True
    found = model.sample(4, sampler=Complete(), fixed=(values, mask), batch_size=3)
    assert torch.equal(found[..., 0, :], values[..., 0, :])
    assert torch.equal(found[..., 1:, :], model.sample(4)[..., 1:, :])


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ((torch.zeros(2, 2).long(), True), "fixed does not fit"),
        ((torch.full((1, 3, 3), 2), True), "fixed values has values from 2 to 2"),
        ((torch.zeros(1, 3, 3), True), "fixed values has dtype torch.float32"),
        (torch.zeros(1, 3, 3), "fixed does not fit"),
        (3, "fixed does not fit"),
    ],
)
def test_known_values_that_do_not_fit_are_refused(fixed, message):
    with pytest.raises(zoo.ZooError, match=message):
        zoo.create("mini_ar").sample(2, sampler=Complete(), fixed=fixed)


def test_what_a_sampler_cannot_do_is_refused():
    model = zoo.create("mini_ar")
    with pytest.raises(NoCapabilityError, match="sampler Direct takes no fixed="):
        model.sample(2, fixed=(torch.zeros(1, 3, 3).long(), True))
    with pytest.raises(zoo.ConfigError, match="unknown option direct.steps; options: none"):
        model.sample(2, sampler="direct", steps=3)
    with pytest.raises(NoCapabilityError, match="MiniDiffusion does not sample by itself"):
        zoo.create("mini_diffusion").sample(2, sampler="direct")


def test_a_sampler_shows_its_work_to_a_trace():
    seen = []
    model = zoo.create("mini_ar")
    x = next(model.sample_batches(2, sampler=Complete(), trace=lambda i, x: seen.append((i, x))))
    ((step, shown),) = seen
    assert step == 0 and torch.equal(shown, x)


@pytest.mark.parametrize("n", [0, -1, 1.0, True, "3", None])
def test_a_number_of_events_that_is_none_is_refused(n):
    with pytest.raises(UsageError, match=r"n = .*; it must be an integer of at least 1"):
        zoo.create("mini_ar").sample(n)


@pytest.mark.parametrize("size", [0, -1, 2.5, "3"])
def test_a_batch_size_that_is_none_is_refused(size):
    with pytest.raises(UsageError, match="batch_size = "):
        zoo.create("mini_ar").sample(2, batch_size=size)


def test_rows_beyond_32_bits_are_refused():
    with pytest.raises(UsageError, match="rows"):
        zoo.create("mini_ar").sample(2, first_row=(1 << 32) - 1)


def test_modes_of_all_modules_come_back_and_gradients_are_off():
    model = zoo.create("mini_vae").train()
    model.decoder.eval()
    assert not model.sample(2).requires_grad
    assert (model.training, model.encoder.training, model.decoder.training) == (True, True, False)


def test_a_sampler_may_differentiate():
    @dataclass(frozen=True)
    class Ascend:
        def __call__(self, model, rng, cond):
            x = rng.normal(model.event.shape, stream="x")
            with torch.enable_grad():
                x = x.requires_grad_()
                (score,) = torch.autograd.grad(model.log_prob(x).sum(), x)
            return (x + 0.01 * score).detach()

    model = zoo.create("mini_flow")
    start = zoo.Rng(0, 8).normal((2,), stream="x")
    end = model.sample(8, sampler=Ascend())
    before, after = (model.log_likelihood(x).nats for x in (start, end))
    assert (after > before).all()


def test_few_events_may_have_a_default_sampler_of_their_own():
    def spec(**defaults):
        return ModelSpec("a", "f", "implicit", "m:M", "m:C", default_sampler="many", **defaults)

    few = spec(sampler_of_few=("few", 4))
    assert [few.sampler_of(n) for n in (1, 4, 5, None)] == ["few", "few", "many", "many"]
    assert spec().sampler_of(1) == "many"
