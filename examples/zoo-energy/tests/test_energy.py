"""Laws of the energy-based family, against enumeration and integration."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import zoo_core as zoo
from zoo_core.testing import conformance
from zoo_energy.ais import EnergyAIS, log_z
from zoo_energy.langevin import Langevin
from zoo_energy.losses import ScoreMatching

test_conformance = conformance("energy")


def perturbed(name, seed=0, by=0.4, **options):
    torch.manual_seed(seed)
    model = zoo.create(name, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by * torch.randn_like(p))
    return model.eval()


def states(n):
    return torch.cartesian_prod(*[torch.arange(2)] * n * n).view(-1, 1, n, n)


@torch.no_grad()
def exact_log_z(model, half_width=12.0, cells=20_001):
    """By enumeration of a lattice, or on a grid of one dimension."""
    if model.event.discrete:
        return float(torch.logsumexp(-model.energy(states(model.config.size)).double(), 0))
    grid = torch.linspace(-half_width, half_width, cells, dtype=torch.float64)
    mass = torch.logsumexp(-model.double().energy(grid[:, None]), 0)
    model.float()
    return float(mass) + math.log(2 * half_width / (cells - 1))


MODELS = {"energy_lattice": {"size": 3}, "energy_mlp": {"features": 1, "hidden": 16, "move": 0.3}}


def test_the_zoo_lists_the_family_under_a_density_type_of_its_own():
    listed = zoo.list_models(density="explicit/unnormalized")
    assert {"energy_lattice", "energy_mlp", "energy_lattice.ising"} <= set(listed)


@pytest.mark.parametrize("name", MODELS)
def test_annealed_importance_sampling_finds_the_constant(name):
    model = perturbed(name, **MODELS[name])
    estimate, error = log_z(model, EnergyAIS(steps=200, chains=4096), seed=1)
    assert 0 < error < 0.1
    assert abs(float(estimate) - exact_log_z(model)) < 5 * float(error)


@pytest.mark.parametrize("name", MODELS)
def test_the_likelihood_is_an_upper_bound_on_average(name):
    """Few chains of few steps and no margin: Jensen's gap must be of the right sign."""
    model = perturbed(name, by=0.8, **MODELS[name])
    x = model.sample(1, seed=9, sampler="tempered_chain")
    with torch.no_grad():
        truth = -float(model.energy(x)) - exact_log_z(model)
    options = EnergyAIS(steps=2, chains=2, margin=0.0)
    bounds = torch.cat([model.log_likelihood(x, method=options, seed=s).nats for s in range(400)])
    gap, error = float(bounds.mean()) - truth, float(bounds.std()) / 20
    assert gap > 3 * error, (gap, error)
    assert model.log_likelihood(x).kind.relation == "upper"


def test_the_margin_makes_the_bound_hold_nearly_always():
    model = perturbed("energy_lattice", size=3)
    x, exact = states(3)[:1], exact_log_z(model)
    with torch.no_grad():
        truth = -float(model.energy(x)) - exact
    held = [model.log_likelihood(x, seed=s, steps=20).nats.item() >= truth for s in range(60)]
    assert sum(held) >= 54


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_a_gibbs_sweep_leaves_its_distribution_invariant(beta):
    model = perturbed("energy_lattice", size=2, by=0.6)
    x = states(2)
    with torch.no_grad():
        p = (-beta * model.energy(x).double()).softmax(0)
    n = 40_000
    start = zoo.Rng(0, n).categorical(p.log().expand(n, -1), stream="start")
    moved = model.transition(x[start], beta, zoo.Rng(1, n), step=0)
    index = (moved.flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1)
    share = torch.bincount(index, minlength=16).double() / n
    assert ((share - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()
    assert (moved != x[start]).any()


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_a_metropolis_adjusted_move_leaves_its_distribution_invariant(beta):
    """With steps so large that some proposals are rejected."""
    model = perturbed("energy_mlp", features=1, hidden=16, move=0.2, by=0.8)
    grid = torch.linspace(-10, 10, 4001)[:, None]
    with torch.no_grad():
        base = model.base(len(grid)).log_prob(grid)
        log_f = ((1 - beta) * base - beta * model.energy(grid)).double()
    n = 40_000
    p = log_f.softmax(0)
    row = torch.searchsorted(p.cumsum(0), zoo.Rng(0, n).uniform(stream="x").double()).clamp(
        max=4000
    )
    x = grid[row]
    moved = model.transition(x, beta, zoo.Rng(1, n), step=0)
    assert 0.03 < float((moved == x).double().mean()) < 0.97
    for statistic in (lambda x: x, torch.square, torch.sin):
        expected = float((p * statistic(grid[:, 0]).double()).sum())
        actual = statistic(moved).double()
        assert abs(float(actual.mean()) - expected) < 5 * float(actual.std()) / n**0.5 + 1e-3


def test_log_odds_are_differences_of_energies():
    model = perturbed("energy_lattice", size=3)
    x = states(3)[::7]
    with torch.no_grad():
        odds = model._log_odds(model._spins(x))
        for i in range(3):
            for j in range(3):
                on, off = x.clone(), x.clone()
                on[..., i, j], off[..., i, j] = 1, 0
                expected = model.energy(off) - model.energy(on)
                torch.testing.assert_close(odds[:, i, j], expected, rtol=1e-4, atol=1e-4)


def test_score_matching_is_lowest_at_the_true_score():
    """Among N(0, v) the loss is minimal at the data's variance, where it is -1 / (2 v)."""
    n, sd = 20_000, 0.7
    x = sd * zoo.Rng(0, n).normal((1,), stream="x")
    losses = {}
    for scale in (0.5, 0.6, 0.7, 0.8, 0.9):
        model = zoo.create("energy_mlp", features=1, hidden=1, layers=1, scale=scale)
        with torch.no_grad():
            model.f[-1].weight.zero_()
        losses[scale] = ScoreMatching()(model, (x, None), zoo.Rng(1, n), 0).total.item()
    assert min(losses, key=losses.get) == 0.7
    assert losses[0.7] == pytest.approx(-1 / (2 * sd**2), rel=0.05)


def test_contrastive_divergence_finds_the_coupling_of_the_ising_model():
    data = zoo.load_dataset("ising", size=3).split("train").x.long()
    model = zoo.create("energy_lattice", size=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for step in range(150):
        rows = torch.arange(2048) + 2048 * (step % 4)
        loss = model.players()["model"].loss((data[rows], None), zoo.Rng(0, rows), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    couplings = torch.cat((model.across.flatten(), model.down.flatten()))
    assert float(couplings.mean()) == pytest.approx(0.4, abs=0.03)
    assert float(couplings.detach().std()) < 0.06


@dataclass(frozen=True)
class EmptyConfig:
    pass


class Foreign(zoo.GenerativeModel):
    """A model of another author that has a score: N(1/2, 0.3^2) in [-1, 1]^2."""

    def __init__(self):
        super().__init__(EmptyConfig(), zoo.Event((2,), low=-1.0, high=1.0))

    def score(self, x, cond=None):
        return (0.5 - x) / 0.3**2


def test_langevin_works_for_every_model_with_a_score():
    sampler = Langevin(steps=300, step_size=0.005)
    drawn = Foreign().sample(4000, sampler=sampler, seed=1)
    assert drawn.abs().max() <= 1
    assert drawn.mean(0).tolist() == pytest.approx([0.48, 0.48], abs=0.03)
    assert drawn.std(0).tolist() == pytest.approx([0.28, 0.28], abs=0.03)
    torch.testing.assert_close(Foreign().sample(3, sampler=sampler, seed=1), drawn[:3])


def test_langevin_reaches_a_diffusion_model_by_the_score_it_offers():
    """Tweedie: s(x_t) = (alpha_t D(x_t, t) - x_t) / sigma_t^2, here of normal data N(0, 0.5^2)."""

    class Diffusion(Foreign):
        def denoise(self, x_t, t, cond=None):
            alpha, var = t.cos()[:, None], t.sin()[:, None] ** 2
            return alpha * 0.25 * x_t / (alpha**2 * 0.25 + var)

        def score(self, x, cond=None):
            t = torch.full((len(x),), 0.1)
            alpha, var = t.cos()[:, None], t.sin()[:, None] ** 2
            return (alpha * self.denoise(x, t) - x) / var

    drawn = Diffusion().sample(4000, sampler=Langevin(steps=300, step_size=0.01, init_std=0.5))
    assert drawn.std(0).tolist() == pytest.approx([0.46, 0.46], abs=0.03)


def test_tempered_chains_follow_the_model():
    model = perturbed("energy_lattice", size=3)
    x = states(3)
    with torch.no_grad():
        p = (-model.energy(x).double()).softmax(0)
    expected = (p[:, None] * x.flatten(1).double()).sum(0)
    actual = model.sample(8000, seed=3).flatten(1).double()
    assert ((actual.mean(0) - expected).abs() < 5 * actual.std(0) / 8000**0.5).all()


def test_the_numbers_of_the_readme_are_those_recorded_with_the_weights():
    text = (Path(__file__).parents[1] / "README.md").read_text()
    rows = re.findall(
        r"^\| `(\S+\.\S+)` \| ([\d,]+) \| <= (\S+) \| >= (\S+) \| (.+) \|$", text, re.M
    )
    assert sorted(row[0] for row in rows) == zoo.list_models("energy_*", pretrained=True)
    for name, params, *stated in rows:
        tag = zoo.info(name).tag
        (test,) = [m for m in tag.metrics if m["split"] == "test"]
        shown = [f"{test['nats']:.3f}", f"{test['bits_per_dim']:.4f}", test["kind"]]
        assert (params, stated, test["relation"]) == (f"{tag.params:,}", shown, "upper")


def test_the_bundled_lattice_has_found_the_ising_model():
    """By enumeration: what the bound alone could not show."""
    model, data = zoo.load("energy_lattice.ising"), zoo.load_dataset("ising", size=4)
    x = data.split("test").x.long()
    with torch.no_grad():
        exact = (-model.energy(x).double() - exact_log_z(model)).mean().item()
    assert 0 <= float(data.truth(x).mean()) - exact < 0.02
    couplings = torch.cat((model.across.flatten(), model.down.flatten()))
    assert float(couplings.detach().mean()) == pytest.approx(0.4, abs=0.02)
