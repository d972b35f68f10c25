"""Plugins that add one thing alone: a sampler, a likelihood, a density type. It meets strangers'
models by their capabilities."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import use
from zoo_core.testing import run_checks

MINI = EntryPoint("mini", "zoo_mini.plugin", "density_zoo")

SAMPLER = """
from zoo_core.plugin import SamplerSpec, hookimpl
ZOO_API = 1

@hookimpl
def zoo_samplers():
    return [SamplerSpec("langevin", "{module}_code:Langevin", requires=("Density",))]
"""
LANGEVIN = '''
from dataclasses import dataclass
from typing import Annotated
import torch
from zoo_core.plugin import Range
from zoo_core.errors import NoCapabilityError

@dataclass(frozen=True)
class Langevin:
    """x += eps/2 grad log p(x) + sqrt(eps) noise, from a wide normal."""
    steps: Annotated[int, Range(1, 10_000)] = 200
    size: Annotated[float, Range(0, 1)] = 0.05

    def __call__(self, model, rng, cond):
        if model.event.discrete:
            raise NoCapabilityError("Langevin dynamics walk over reals.")
        x = rng.normal(model.event.shape, stream="start")
        for step in range(self.steps):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                (score,) = torch.autograd.grad(model.log_prob(x, cond).sum(), x)
            noise = rng.normal(model.event.shape, stream="noise", step=step)
            x = x + 0.5 * self.size * score + self.size**0.5 * noise
        return x.detach()
'''
LIKELIHOOD = """
from zoo_core.plugin import LikelihoodKind, LikelihoodSpec, hookimpl
ZOO_API = 1

@hookimpl
def zoo_likelihoods():
    kind = LikelihoodKind("denoising_error", "unrelated")
    return [LikelihoodSpec("denoising", "{module}_code:Denoising", kind, requires=("Denoiser",))]
"""
DENOISING = '''
from dataclasses import dataclass
from typing import Annotated
import torch
import zoo_core as zoo
from zoo_core.plugin import Range

@dataclass(frozen=True)
class Denoising:
    """Minus the mean squared error of x_0 over a few noise levels: no p(x), and labelled so."""
    draws: Annotated[int, Range(2, 1000)] = 8

    @property
    def kind(self):
        return zoo.LikelihoodKind("denoising_error", "unrelated", f"draws={self.draws}")

    def __call__(self, model, x, cond, rng):
        found = torch.stack([self._one(model, x, cond, rng, step) for step in range(self.draws)])
        return found.mean(0), found.std(0) / self.draws**0.5

    def _one(self, model, x, cond, rng, step):
        t = rng.uniform(stream="t", step=step)
        x = model.event.to_network(x)
        shape = (-1, *[1] * len(model.event.shape))
        alpha, sigma = model.schedule.alpha(t).view(shape), model.schedule.sigma(t).view(shape)
        x_t = alpha * x + sigma * rng.normal(x.shape[1:], stream="eps", step=step)
        return -(model.denoise(x_t, t, cond) - x).square().flatten(1).sum(1)
'''
DENSITY = """
from zoo_core.plugin import DensityType, hookimpl
ZOO_API = 1

@hookimpl
def zoo_density_types():
    return [DensityType("explicit/unnormalized", "p(x) up to a constant", "ais, from above",
                        "iterative")]
"""


def sound(registry):
    return [r for r in run_checks("acme", registry) if r.status == "failed"] == []


def test_a_plugin_that_adds_only_a_sampler_serves_models_it_has_never_seen(install, registry_of):
    with use(registry_of(MINI, install(SAMPLER, code=LANGEVIN))) as registry:
        assert sound(registry)
        model = zoo.create("mini_flow")
        drawn = model.sample(64, sampler="langevin", steps=100, size=0.1)
        few = model.sample(3, sampler="langevin", steps=100, size=0.1)
        torch.testing.assert_close(few, drawn[:3], atol=1e-4, rtol=1e-4)
        start = zoo.Rng(0, 64).normal((2,), stream="start")
        direct = model.log_likelihood(model.sample(64)).mean()
        walked = model.log_likelihood(drawn).mean()
        assert walked.nats > model.log_likelihood(3 * start).mean().nats
        assert abs(walked.nats - direct.nats) < 5 * (walked.std_err + direct.std_err)


def test_a_plugin_that_adds_only_a_likelihood_scores_models_it_has_never_seen(
    install, registry_of
):
    with use(registry_of(MINI, install(LIKELIHOOD, code=DENOISING))) as registry:
        assert sound(registry)
        model = zoo.create("mini_diffusion")
        x = torch.zeros(5, 2)
        with pytest.raises(zoo.NoLikelihoodError, match="method='denoising'"):
            model.log_likelihood(x)
        scored = model.log_likelihood(x, method="denoising", cond=1, draws=4)
        assert str(scored.kind) == "denoising_error(draws=4)" and scored.kind.sign == "!"
        assert (scored.std_err > 0).all()


def test_a_plugin_that_adds_only_a_density_type_lets_others_refer_to_it(install, registry_of):
    family = """
        from zoo_core.plugin import ModelSpec, hookimpl
        ZOO_API = 1

        @hookimpl
        def zoo_models():
            return [ModelSpec("ebm", "energy", "explicit/unnormalized", "m:M", "m:C")]
        """
    with use(registry_of(install(DENSITY), install(family, name="ebm"))) as registry:
        assert sound(registry)
        assert registry.plugins.records["ebm"].problems == []
        assert zoo.list_models(density="explicit/unnormalized") == ["ebm"]
    assert registry_of(install(family, name="ebm")).plugins.records["ebm"].problems


def test_installed_plugins_are_found_by_their_metadata_in_a_fresh_process(install):
    install(SAMPLER, name="walk", dist="zoo-walk", code=LANGEVIN)
    code = (
        "from zoo_core.catalog.registry import current\n"
        "entry = current().samplers.one('zoo-walk:langevin')\n"
        "print(entry.plugin.name, entry.plugin.version, entry.plugin.status)"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "ZOO_PLUGINS": "walk"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "walk 1.0 ok\n", done.stderr
