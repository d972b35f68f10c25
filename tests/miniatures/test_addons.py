"""The example that adds a sampler and a likelihood, on miniatures of both families."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import use
from zoo_core.testing import run_checks

ADDONS = Path(__file__).parents[2] / "examples" / "zoo-addons" / "src"
POINTS = [
    EntryPoint("mini", "zoo_mini.plugin", "density_zoo"),
    EntryPoint("addons_sampler", "zoo_addons.sampler_plugin", "density_zoo"),
    EntryPoint("addons_likelihood", "zoo_addons.likelihood_plugin", "density_zoo"),
]


@pytest.fixture
def addons(registry_of, monkeypatch):
    monkeypatch.syspath_prepend(str(ADDONS))
    with use(registry_of(*POINTS)) as registry:
        yield registry


def test_both_plugins_pass_the_kit(addons):
    for name in ("addons_sampler", "addons_likelihood"):
        assert [r for r in run_checks(name, addons) if r.status == "failed"] == []


def test_the_sampler_comes_to_the_diffusion_model_and_ends_where_its_ode_does(addons):
    model = zoo.create("mini_diffusion")
    heun = model.sample(16, sampler="heun_ode", steps=200, cond=1)
    finer = model.sample(16, sampler="heun_ode", steps=400, cond=1)
    torch.testing.assert_close(heun, finer, atol=5e-3, rtol=5e-3)
    torch.testing.assert_close(model.sample(3, sampler="heun_ode", steps=200, cond=1), heun[:3])
    with pytest.raises(zoo.ZooError, match="needs Denoiser"):
        zoo.create("mini_vae").sample(1, sampler="heun_ode")


def test_the_sampler_gives_integers_where_the_events_are(monkeypatch):
    monkeypatch.syspath_prepend(str(ADDONS))
    from zoo_addons.heun import Heun

    model = zoo.load("ddpm.digits")
    x = model.sample(4, sampler=Heun(steps=12))
    assert x.dtype == torch.int64 and x.shape == (4, 1, 8, 8)
    assert (int(x.min()), int(x.max())) == (0, 16)
    pixels = x.float()
    assert float(pixels[:, :, :, 0].mean()) < 2 < float(pixels[:, :, :, 3].mean()), "no digits"


def test_the_likelihood_comes_to_the_vae_and_is_nearer_to_log_p_than_its_bound(addons):
    model = zoo.create("mini_vae", side=2)
    with torch.no_grad():
        model.decoder[-1].weight.mul_(8)  # a posterior that the encoder does not match
    x = torch.cartesian_prod(*[torch.arange(2)] * 4).view(-1, 1, 2, 2)
    truth = model.log_likelihood(x, method="iwae", k=20_000).nats
    many = x.repeat(250, 1, 1, 1)
    gaps = {
        name: (model.log_likelihood(many, method=name, k=4).nats.view(250, 16).mean(0) - truth)
        for name in ("iwae", "jackknife")
    }
    assert gaps["iwae"].mean() < 0
    assert gaps["jackknife"].mean().abs() < 0.5 * gaps["iwae"].mean().abs()
