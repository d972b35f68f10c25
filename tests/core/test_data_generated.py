"""Data sets with a known distribution: their truth is normalized and their samples follow it."""

import itertools
import math

import numpy as np
import pytest
import torch

import zoo_core as zoo
from zoo_core.data.ising import Lattice
from zoo_core.data.toys import Moons
from zoo_core.rng import Rng

# name, options, half width and spacing of a grid that holds the distribution and resolves it
TOYS = [
    ("moons", {}, 2.8, 0.05),
    ("moons", {"sd": 0.3}, 4.0, 0.1),
    ("rings", {}, 4.0, 0.04),
    ("rings", {"rings": 2, "sd": 0.2}, 3.5, 0.05),
    ("gaussians", {}, 2.25, 0.01),
    ("gaussians", {"layout": "grid"}, 4.3, 0.025),
    ("gaussians", {"layout": "grid", "sd": 0.5}, 7.0, 0.1),
    ("checkerboard", {}, 5.0, 0.05),
]
GENERATED = ["moons", "rings", "gaussians", "checkerboard", "ising"]


def midpoints(half: float, h: float) -> torch.Tensor:
    axis = torch.arange(-half + h / 2, half, h, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)


@pytest.mark.parametrize(("name", "options", "half", "h"), TOYS)
def test_truth_integrates_to_one_and_samples_have_its_entropy(name, options, half, h):
    data = zoo.load_dataset(name, train=1, valid=1, test=20_000, **options)
    log_p = data.truth(midpoints(half, h))
    p = log_p.exp() * h**2
    assert float(p.sum()) == pytest.approx(1, abs=1e-3)
    negative_entropy = float((p * log_p.clamp(min=-1e3)).sum())
    scores = data.truth(data.split("test").x)
    error = float(scores.std()) / math.sqrt(len(scores))
    assert float(scores.mean()) == pytest.approx(negative_entropy, abs=4 * error + 2e-3)


@pytest.mark.parametrize(("name", "options", "half", "h"), TOYS)
def test_samples_fall_into_the_half_plane_as_often_as_truth_says(name, options, half, h):
    x = zoo.load_dataset(name, train=1, valid=1, test=20_000, **options).split("test").x
    grid = midpoints(half, h)
    p = zoo.load_dataset(name, train=1, valid=1, test=1, **options).truth(grid).exp() * h**2
    for a, b, c in [(1, 0, 0.1), (0, 1, 0.3), (1, 1, -0.7), (1, -2, 0.9)]:
        expected = float(p[grid[:, 0] * a + grid[:, 1] * b > c].sum())
        found = float((x[:, 0] * a + x[:, 1] * b > c).double().mean())
        error = math.sqrt(0.25 / len(x))
        assert found == pytest.approx(expected, abs=4 * error + 2e-3)


def test_labels_are_the_component_nearest_to_a_point():
    data = zoo.load_dataset("gaussians", layout="grid")
    x, y = data.split("test").batch()
    axis = torch.arange(-2, 3) * 2.0
    assert torch.equal(torch.cdist(x, torch.cartesian_prod(axis, axis)).argmin(-1), y)
    assert data.condition == zoo.Condition("classes", classes=25)


@pytest.mark.parametrize("sd", [0.02, 0.1, 1.0])
def test_truth_of_moons_is_the_integral_to_1e_6(sd):
    x = torch.tensor([[0.0, 1.0], [0.5, 0.25], [1.0, -0.5], [-1.3, -0.2], [3.0, 3.0], [-7, 7]])
    node, weight = map(torch.from_numpy, np.polynomial.legendre.leggauss(8))
    panels = 4000
    t = ((torch.arange(panels)[:, None] + (node + 1) / 2) * math.pi / panels).flatten()
    log_w = (weight / 2 / panels).repeat(panels).log()
    arcs = [(t.cos(), t.sin()), (1 - t.cos(), 0.5 - t.sin())]
    for point in x.double():
        d2 = torch.stack([(point[0] - a) ** 2 + (point[1] - b) ** 2 for a, b in arcs])
        log_p = (log_w - d2 / (2 * sd**2)).logsumexp((0, 1)) - math.log(4 * math.pi * sd**2)
        assert float(Moons(sd=sd).log_prob(point[None])) == pytest.approx(float(log_p), abs=1e-6)


@pytest.mark.parametrize("name", GENERATED)
def test_a_larger_split_begins_with_the_smaller_one(name):
    small = zoo.load_dataset(name, train=50, valid=5, test=5)
    large = zoo.load_dataset(name, train=80, valid=5, test=9)
    assert torch.equal(small.split("train").x, large.split("train").x[:50])
    assert torch.equal(small.split("test").x, large.split("test").x[:5])


@pytest.mark.parametrize("name", GENERATED)
def test_splits_and_seeds_differ(name):
    a = zoo.load_dataset(name, train=20, valid=20, test=20)
    b = zoo.load_dataset(name, train=20, valid=20, test=20, seed=1)
    draws = [d.split(s).x for d in (a, b) for s in ("train", "valid", "test")]
    assert all(not torch.equal(x, y) for x, y in itertools.combinations(draws, 2))


def images(size: int) -> torch.Tensor:
    """All binary images (2^D, 1, size, size)."""
    d = size * size
    bits = torch.arange(2**d)[:, None] >> torch.arange(d) & 1
    return bits.reshape(-1, 1, size, size)


def neighbours(size: int, periodic: bool) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    sites = itertools.product(range(size), range(size))
    pairs = [((i, j), (i + a, j + b)) for i, j in sites for a, b in ((0, 1), (1, 0))]
    if periodic:
        return [(p, (q[0] % size, q[1] % size)) for p, q in pairs]
    return [(p, q) for p, q in pairs if max(q) < size]


def energies(x: torch.Tensor, periodic: bool) -> torch.Tensor:
    """Sum over bonds of s_i s_j, bond by bond."""
    s = 2.0 * x[:, 0].double() - 1
    return sum(s[:, *p] * s[:, *q] for p, q in neighbours(x.shape[-1], periodic))


LATTICES = list(itertools.product([False, True], [(0.4, 0.0), (-0.7, 0.3), (1.5, -0.1)]))


@pytest.mark.parametrize(("periodic", "terms"), LATTICES)
@pytest.mark.parametrize("size", [2, 3])
def test_ising_log_p_matches_enumeration(periodic, terms, size):
    lattice = Lattice(size, *terms, periodic)
    x = images(size)
    log_p = lattice.log_prob(x)
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-10)
    spins = (2.0 * x.double() - 1).sum((1, 2, 3))
    log_weight = terms[0] * energies(x, periodic) + terms[1] * spins
    assert lattice.log_z == pytest.approx(float(log_weight.logsumexp(0)), abs=1e-10)
    torch.testing.assert_close(log_p, log_weight.log_softmax(0), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("periodic", "terms"), LATTICES)
def test_ising_samples_have_the_probabilities_of_enumeration(periodic, terms):
    lattice = Lattice(3, *terms, periodic)
    n = 40_000
    x = lattice.sample(Rng(3, n))
    states = (x.flatten(1) << torch.arange(9)).sum(-1)
    p = lattice.log_prob(images(3)).exp()
    found = torch.bincount(states, minlength=512).double()
    common = p * n >= 5
    chi2 = float(((found - n * p) ** 2 / (n * p))[common].sum())
    freedom = int(common.sum())
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)
    assert float(found[~common].sum()) == pytest.approx(
        float(n * p[~common].sum()), abs=5 * math.sqrt(n * float(p[~common].sum()) + 1)
    )
    for value in (energies, lambda x, _: (2.0 * x.double() - 1).sum((1, 2, 3))):
        every, drawn = value(images(3), periodic), value(x, periodic)
        mean = float((p * every).sum())
        error = math.sqrt(float((p * (every - mean) ** 2).sum()) / n)
        assert float(drawn.mean()) == pytest.approx(mean, abs=4 * error)


@pytest.mark.parametrize("periodic", [False, True])
def test_mean_bonds_of_8x8_samples_are_the_derivative_of_log_z(periodic):
    step = 1e-4
    up, down = (Lattice(8, 0.4 + d, 0.1, periodic).log_z for d in (step, -step))
    bonds = energies(Lattice(8, 0.4, 0.1, periodic).sample(Rng(0, 4000)), periodic)
    error = float(bonds.std()) / math.sqrt(len(bonds))
    assert float(bonds.mean()) == pytest.approx((up - down) / (2 * step), abs=4 * error)


def test_strong_coupling_neither_overflows_nor_leaves_the_ground_states():
    lattice = Lattice(10, 2.0, 0.0, False)
    ground = torch.stack([torch.zeros(1, 10, 10), torch.ones(1, 10, 10)])
    assert float(lattice.log_prob(ground).exp().sum()) == pytest.approx(1, abs=0.01)
    assert lattice.sample(Rng(0, 50)).flatten(1).double().var(1).eq(0).double().mean() > 0.9


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ising", {"size": 11}),
        ("ising", {"size": 8.0}),
        ("ising", {"boundary": "open"}),
        ("moons", {"sd": 0}),
        ("moons", {"noise": 0.1}),
        ("rings", {"train": 0}),
        ("checkerboard", {"seed": -1}),
        ("gaussians", {"layout": "line"}),
    ],
)
def test_options_out_of_range_are_refused_by_name(name, options):
    with pytest.raises(zoo.ConfigError, match=next(iter(options))):
        zoo.load_dataset(name, **options)
