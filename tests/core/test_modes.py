"""Drawing and scoring leave a model that others train as it is, and are right all the same."""

import threading

import pytest
import torch
from torch import nn

import zoo_core as zoo
from zoo_core.data.dataset import Dataset, Split
from zoo_core.modes import at_rest, being_trained, changing_weights

THREADS = 20


def in_threads(function):
    """What the function returns in each of twenty threads."""
    results = [None] * THREADS

    def run(i):
        results[i] = function()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def model():
    torch.manual_seed(0)
    return zoo.create("made", shape=(1, 3, 3), hidden=16, dropout=0.5)


def draws(model):
    x = model.sample(3, seed=1)
    return x, model.log_likelihood(x).nats


def test_twenty_threads_draw_from_a_model_in_training_mode(model):
    expected = draws(model.eval())
    model.train()
    for x, nats in in_threads(lambda: draws(model)):
        assert torch.equal(x, expected[0])
        assert torch.equal(nats, expected[1])
    assert all(module.training for module in model.modules())


def test_twenty_threads_draw_from_a_model_while_it_trains(model):
    expected, modes = draws(model.eval()), []
    x = torch.zeros(8, 1, 3, 3, dtype=torch.int64)
    data = Dataset("zeros", model.event, zoo.Condition(), {"train": Split(x)}, "none", "here")
    over = threading.Event()

    def loss(model, batch, rng, step):
        modes.append(all(module.training for module in model.modules()))
        return zoo.plugin.Loss(-model.log_prob(*batch).mean())

    def train():
        while not over.is_set():
            config = zoo.TrainConfig(steps=3, batch_size=8, lr=0.0)
            zoo.train(model, data, config, loss=loss)

    trainer = threading.Thread(target=train)
    trainer.start()
    results = [pair for _ in range(2) for pair in in_threads(lambda: draws(model))]
    over.set()
    trainer.join()
    assert all(torch.equal(x, expected[0]) for x, _ in results)
    assert modes
    assert all(modes)


def test_a_copy_of_a_model_in_training_has_the_weights_between_two_steps():
    model, torn = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), []
    over = threading.Event()

    def train():
        with being_trained(model):
            step = 0
            while not over.is_set():
                step += 1
                with changing_weights(model), torch.no_grad():
                    for p in model.parameters():
                        p.fill_(step)

    trainer = threading.Thread(target=train)
    trainer.start()
    while model[0].weight[0, 0] < 2:
        pass
    for _ in range(50):
        with at_rest(model) as still:
            torn.append(len({float(v) for p in still.parameters() for v in p.flatten()}))
    over.set()
    trainer.join()
    assert torn == [1] * 50


def test_a_model_that_nobody_trains_is_not_copied(model):
    with at_rest(model.eval()) as still:
        assert still is model


class Uncopyable(nn.Module):
    def __deepcopy__(self, memo):
        raise TypeError("holds a file")


def test_a_model_that_cannot_be_copied_is_switched_and_switched_back():
    model = nn.Sequential(Uncopyable()).train()
    with at_rest(model) as still:
        assert still is model
        assert not model[0].training
    assert model[0].training
