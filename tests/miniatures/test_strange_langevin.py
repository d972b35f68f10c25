"""Anybody's Langevin sampler draws from diffusion models, by name, through their `Score`."""

from importlib.metadata import EntryPoint

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import use
from zoo_diffusion import ScoreAt
from zoo_diffusion.parameterization import earliest_time

DIFFUSION = EntryPoint("diffusion", "zoo_diffusion.plugin", "density_zoo")
SAMPLER = """
from zoo_core.plugin import SamplerSpec, hookimpl
ZOO_API = 1

@hookimpl
def zoo_samplers():
    return [SamplerSpec("langevin", "{module}_code:Langevin", requires=("Score",))]
"""
LANGEVIN = '''
from dataclasses import dataclass

@dataclass(frozen=True)
class Langevin:
    """x += eps/2 score + sqrt(eps) noise, from a standard normal."""
    steps: int = 20
    size: float = 1e-4

    def __call__(self, model, rng, cond):
        x = rng.normal(model.event.shape, stream="start")
        for step in range(self.steps):
            noise = rng.normal(model.event.shape, stream="noise", step=step)
            x = x + self.size / 2 * model.score(x, cond) + self.size**0.5 * noise
        return x
'''
ARCHS = ("ddpm", "vp_sde", "ve_sde", "edm", "vdm")
TINY = {"network": {"type": "mlp", "hidden": 16, "layers": 1}}


@pytest.fixture
def registry(install, registry_of):
    with use(registry_of(DIFFUSION, install(SAMPLER, code=LANGEVIN))) as registry:
        yield registry


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("levels", [None, 17])
@pytest.mark.parametrize("arch", ARCHS)
def test_a_stranger_s_langevin_sampler_draws_events_by_its_name(arch, levels):
    model = zoo.create(arch, shape=(1, 2, 2), levels=levels, **TINY)
    drawn = model.sample(6, sampler="langevin", size=1e-6)
    assert drawn.shape == (6, 1, 2, 2) and drawn.is_floating_point() == (levels is None)
    few = model.sample(2, sampler="langevin", size=1e-6)
    torch.testing.assert_close(few, drawn[:2], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("arch", ARCHS)
def test_the_score_is_that_of_the_model_s_earliest_time(arch):
    model = zoo.create(arch, **TINY).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    want = ScoreAt(model, earliest_time(model)).score(x)
    assert torch.equal(model.score(x), want) and bool(want.isfinite().all())


@pytest.mark.usefixtures("registry")
def test_a_time_before_the_earliest_has_no_score():
    with pytest.raises(zoo.UsageError, match="earliest time of DDPM is 0.05"):
        ScoreAt(zoo.create("ddpm", timesteps=20, **TINY), 0.01)
