"""Actnorm is initialized from one large batch by `data_dependent_init`, and by nothing else."""

from dataclasses import replace

import pytest
import torch

import zoo_core as zoo
from zoo_core import Rng
from zoo_core.data.dataset import Dataset, Split

MODELS = {
    "realnvp": ("realnvp", {"shape": (8,), "layers": 2, "blocks": 1, "hidden": 12}),
    "realnvp_image": ("realnvp", {"shape": (2, 4, 8), "layers": 2, "blocks": 1, "hidden": 12}),
    "glow": ("glow", {"shape": (1, 8, 4), "steps": 2, "hidden": 12}),
    "maf": ("maf", {"shape": (8,), "layers": 3, "hidden": 12}),
    "nsf": ("nsf_coupling", {"shape": (8,), "steps": 2, "hidden": 12}),
    "nsf_image": ("nsf_coupling", {"shape": (2, 4, 4), "steps": 1, "hidden": 12}),
    "integers": ("glow", {"shape": (1, 4, 4), "scales": 1, "levels": 5, "steps": 2, "hidden": 12}),
}
CONFIG = zoo.TrainConfig(steps=1, batch_size=64, lr=0.0)


@pytest.fixture(params=MODELS)
def model(request):
    arch, options = MODELS[request.param]
    torch.manual_seed(0)
    return zoo.create(arch, **options).train()


def events(model, n, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    if model.event.levels is not None:
        return torch.randint(model.event.levels, (n, *model.event.shape), generator=generator)
    return 3 + 5 * torch.randn(n, *model.event.shape, generator=generator)


def score(model, x):
    return model.players()["model"].loss((x, None), Rng(0, len(x)), 0).total


def dataset(model, n):
    splits = {"train": Split(events(model, n)), "valid": Split(events(model, 64, seed=2))}
    return Dataset("drawn", model.event, zoo.Condition(), splits, "none", "drawn here")


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_what_leaves_the_first_layers_has_mean_0_and_variance_1(model):
    x = events(model, 256)
    model.data_dependent_init((x, None), Rng(0, 256))
    with torch.no_grad():
        z, _ = model.forward_and_ladj(x)
    assert abs(float(z.mean())) < 0.3 and 0.5 < float(z.std()) < 2


@pytest.mark.parametrize("n", [1, 2, 64])
def test_a_pass_in_training_mode_leaves_every_tensor_as_it_is(model, n):
    before = state(model)
    score(model, events(model, n)).backward()
    assert same(before, state(model))


def test_a_second_initialization_changes_nothing(model):
    model.data_dependent_init((events(model, 64), None), Rng(0, 64))
    before = state(model)
    model.data_dependent_init((10 + events(model, 64, seed=5), None), Rng(1, 64))
    assert same(before, state(model)) and model.training


def test_one_or_two_events_are_too_few_to_initialize_from(model):
    before = state(model)
    for n in (1, 2, 15):
        with pytest.warns(UserWarning, match=f"{n} events are too few to start from"):
            model.data_dependent_init((events(model, n), None), Rng(0, n))
    assert same(before, state(model))


def test_initialization_does_not_depend_on_gradient_accumulation(model):
    fresh, data, states = state(model), dataset(model, 64), []
    for accumulate in (1, 8, 64):
        model.load_state_dict(fresh)
        config = replace(CONFIG, accumulate=accumulate, ema=0.9)
        zoo.train(model, data, config, progress=False)
        states.append(state(model))
    assert all(same(states[0], other) for other in states[1:])


@pytest.mark.parametrize("arch", ["realnvp", "maf", "nsf_coupling"])
@pytest.mark.parametrize("accumulate", [1, 64])
def test_standard_normals_score_as_such_from_the_first_step(arch, accumulate):
    torch.manual_seed(0)
    model = zoo.create(arch, shape=(8,))
    x = torch.randn(2064, 8, generator=torch.Generator().manual_seed(0))
    splits = {"train": Split(x[:64])}
    data = Dataset("normal", model.event, zoo.Condition(), splits, "none", "drawn here")
    zoo.train(model, data, replace(CONFIG, accumulate=accumulate), progress=False)
    exact = torch.distributions.Normal(0, 1).log_prob(x[64:]).sum(1).mean()
    mean = float(model.log_likelihood(x[64:]).nats.mean())
    assert -0.5 < mean - float(exact) < 0


def test_batches_of_one_event_initialize_from_the_first_events_of_the_epoch(model):
    data = dataset(model, 64)
    zoo.train(model, data, replace(CONFIG, batch_size=1), progress=False)
    with torch.no_grad():
        assert score(model, data.split("valid").x) < 4 * model.event.dims


def test_training_goes_on_from_initialized_actnorms(model):
    data = dataset(model, 64)
    zoo.train(model, data, CONFIG, progress=False)
    before = state(model)
    zoo.train(model, data, replace(CONFIG, seed=1), progress=False)
    assert same(before, state(model))
