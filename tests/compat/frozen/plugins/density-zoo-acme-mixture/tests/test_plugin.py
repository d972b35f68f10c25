"""The laws of every plugin, and those of this one."""

import pytest
import torch
import zoo_core as zoo
from zoo_core.testing import conformance

test_conformance = conformance("acme-mixture")


def test_the_zoo_lists_the_model_and_its_recipe() -> None:
    assert {"acme_mixture", "acme_mixture.moons"} <= set(zoo.list_models())


def test_maximum_likelihood_finds_a_gaussian() -> None:
    torch.manual_seed(0)
    x = torch.randn(2048, 2) * torch.tensor([0.5, 2.0]) + 1
    model = zoo.create("acme_mixture", components=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        loss = model.players()["model"].loss((x, None), zoo.Rng(0, len(x)), 0).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = model.sample(4096, seed=1)
    assert drawn.mean(0).tolist() == pytest.approx([1, 1], abs=0.15)
    assert drawn.std(0).tolist() == pytest.approx([0.5, 2.0], rel=0.1)
