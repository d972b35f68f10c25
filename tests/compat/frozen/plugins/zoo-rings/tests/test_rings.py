"""Laws of the ring mixture, and its place in the zoo."""

import pytest
import torch

import zoo_core as zoo
from zoo_core.testing import conformance

test_conformance = conformance("rings")


@pytest.fixture
def model():
    return zoo.create("ring_mixture", rings=2, width=0.2)


def test_the_zoo_lists_it_by_density_type():
    assert "ring_mixture" in zoo.list_models(density="explicit/tractable")


def test_density_integrates_to_one(model):
    side = torch.linspace(-8.0, 8.0, 801)
    grid = torch.cartesian_prod(side, side)
    mass = model.log_likelihood(grid).nats.exp().sum() * (side[1] - side[0]) ** 2
    assert mass.item() == pytest.approx(1.0, abs=1e-3)


def test_samples_lie_on_the_rings(model):
    radius = model.sample(2000, seed=1).norm(dim=-1)
    share = (radius < 2**0.5).double().mean().item()
    assert share == pytest.approx(0.5, abs=0.05)  # 4.5 standard errors, and 4% of overlap


def test_maximum_likelihood_finds_the_rings():
    data = zoo.create("ring_mixture", rings=1, width=0.05).sample(512, seed=0)
    model = zoo.create("ring_mixture", rings=1, width=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        loss = -model.log_prob(data).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model.log_s.exp().item() == pytest.approx(0.05, rel=0.1)


def test_a_folder_gives_the_same_model_back(model, tmp_path):
    again = zoo.load(str(model.save(tmp_path / "rings")))
    assert torch.equal(again.sample(8, seed=3), model.sample(8, seed=3))
