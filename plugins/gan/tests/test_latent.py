"""Laws of the latent tools: truncation moves latents towards 0, projection inverts G."""

import math

import pytest
import torch

import zoo_core as zoo
from zoo_core.errors import NoCapabilityError, UsageError
from zoo_core.latent import decode, interpolate
from zoo_core.sampling import how_drawn
from zoo_gan.latent import project, truncation_sweep
from zoo_gan.samplers import Truncated, truncate


def model_of(levels=None, classes=None):
    torch.manual_seed(0)
    options = {"levels": levels, "classes": classes, "latent": 3, "widths": (16,)}
    model = zoo.create("r3gan", shape=(1, 4, 4), dense=True, **options)
    with torch.no_grad():
        for p in model.generator.parameters():
            p.add_(0.2 * torch.randn_like(p))
        model.generator.body[-2].weight.mul_(0.02)  # within [-1, 1]
    return model.eval()


def test_truncated_normals_have_the_moments_of_the_truncated_normal():
    """Var = 1 - 2 t phi(t) / (1 - 2 Phi(-t)), all within t."""
    t = 0.8
    z = truncate(zoo.Rng(0, 50).normal((1000,), stream="z").double(), t)
    phi = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * t * phi / math.erf(t / math.sqrt(2))
    assert float(z.abs().max()) <= t
    assert float(z.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(z.var()) == pytest.approx(variance, abs=0.005)


def test_truncation_keeps_order_and_sign_and_ends_in_the_latents_themselves():
    z = torch.arange(-50, 51, dtype=torch.float64) / 10
    for t in (0.3, 1.0, 2.0, 4.0):
        moved = truncate(z, t)
        assert bool((moved.diff() > 0).all()) and torch.equal(moved.sign(), z.sign())
        assert bool((moved.abs() <= z.abs() + 1e-12).all())
        assert torch.allclose(moved, -moved.flip(0), atol=1e-12)
    assert torch.allclose(truncate(z, 40.0), z, atol=1e-9)
    assert bool(truncate(torch.tensor([9.0, -9.0, 0.0]), 1.0).isfinite().all())


def test_a_sweep_shows_one_seed_at_every_threshold():
    model = model_of()
    sweep = truncation_sweep(model, 5, (0.5, 100.0), seed=3)
    assert sweep.shape == (2, 5, 1, 4, 4)
    assert torch.equal(sweep[0], model.sample(5, seed=3, sampler="truncated", threshold=0.5))
    torch.testing.assert_close(sweep[1], model.sample(5, seed=3), rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="thresholds is empty"):
        truncation_sweep(model, 5, ())


def test_rows_of_a_truncated_sample_do_not_depend_on_how_many():
    model = model_of(levels=5)
    many = model.sample(9, seed=5, sampler=Truncated(0.7), batch_size=4)
    assert torch.equal(many[:2], model.sample(2, seed=5, sampler=Truncated(0.7)))


def test_truncation_lowers_the_spread_of_samples():
    model = model_of()
    spreads = [float(model.sample(256, sampler=Truncated(t)).std(0).mean()) for t in (0.3, 1, 3)]
    assert spreads == sorted(spreads) and spreads[0] < 0.6 * spreads[-1]


def test_samplers_threshold_is_checked():
    with pytest.raises(zoo.ConfigError, match="threshold = 0.0 is out of range"):
        model_of().sample(1, sampler="truncated", threshold=0.0)


@pytest.mark.parametrize("classes", [None, 3])
def test_projection_of_generated_images_finds_them_again(classes):
    model = model_of(classes=classes)
    cond = None if classes is None else torch.arange(4) % classes
    x = model.sample(4, seed=9, cond=cond)
    inverted = project(model, x, cond=cond, steps=200, candidates=64)
    assert float(inverted.error.max()) < 1e-2 * float(x.var()), inverted.error / x.var()
    decoded = decode(model, inverted.z, cond=cond)
    torch.testing.assert_close(decoded.clamp(-1, 1), inverted.x)


def test_projection_improves_with_steps_and_repeats_itself():
    model = model_of(levels=5)
    x = torch.randint(5, (3, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    few, more = (project(model, x, steps=n, candidates=4) for n in (1, 60))
    assert bool((more.error <= few.error).all()) and bool((more.error < few.error).any())
    again = project(model, x[:2], steps=60, candidates=4)
    torch.testing.assert_close(again.z, more.z[:2], rtol=1e-3, atol=1e-3)
    assert more.x.dtype == torch.int64 and not any(p.grad is not None for p in model.parameters())


def test_projection_refuses_what_is_no_event():
    with pytest.raises(zoo.DataError, match="expected integers"):
        project(model_of(levels=5), torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="at least 1"):
        project(model_of(), torch.zeros(1, 1, 4, 4), steps=0)


def test_interpolation_of_the_core_walks_the_generators_latents():
    model = model_of()
    a, b = zoo.Rng(0, 2).normal((3,), stream="z").split(1)
    path = decode(model, interpolate(a, b, steps=5)[0])
    torch.testing.assert_close(path[[0, -1]].clamp(-1, 1), model.sample(2, seed=0))


def test_models_without_two_networks_cannot_be_truncated():
    with pytest.raises(NoCapabilityError, match="truncated"):
        zoo.create("made", shape=(1, 2, 2), hidden=4).sample(1, sampler="truncated")


def test_truncation_says_that_it_changes_the_distribution():
    assert how_drawn(Truncated(0.5))["distribution"] == "not the scored one: threshold = 0.5"
