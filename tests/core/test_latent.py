"""Latents of every family with latents: encoding, decoding, and paths between them."""

import math

import pytest
import torch

import zoo_core as zoo
from zoo_core import latent
from zoo_core.errors import NoCapabilityError, UsageError

pytestmark = pytest.mark.usefixtures("minis")


@pytest.fixture
def ends():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("path", [latent.lerp, latent.slerp])
def test_paths_begin_and_end_at_their_codes(ends, path):
    a, b = ends
    latents = latent.interpolate(a, b, steps=7, path=path)
    assert latents.shape == (5, 7, 3, 4)
    torch.testing.assert_close(latents[:, 0], a)
    torch.testing.assert_close(latents[:, -1], b)


def test_slerp_stays_on_the_sphere_at_equal_angles(ends):
    a, b = (c / c.flatten(1).norm(dim=1).view(-1, 1, 1) for c in ends)
    latents = latent.interpolate(a, b, steps=9).flatten(2)
    torch.testing.assert_close(latents.norm(dim=2), torch.ones(5, 9, dtype=torch.float64))
    cosines = (latents[:, 1:] * latents[:, :-1]).sum(2)
    torch.testing.assert_close(cosines, cosines[:, :1].expand_as(cosines))


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_slerp_of_codes_on_one_line_is_that_line(ends, factor):
    a = ends[0].float()
    t = torch.linspace(0, 1, 5)
    torch.testing.assert_close(latent.slerp(a, factor * a, t), latent.lerp(a, factor * a, t))


def test_plane_has_the_quantiles_of_the_prior_on_its_axes_and_keeps_the_rest():
    z = torch.arange(4.0)
    latents = latent.plane(z, side=8, axes=(3, 1)).view(8, 8, 4)
    assert torch.equal(latents[..., (0, 2)], z[[0, 2]].expand(8, 8, 2))
    cdf = 0.5 * (1 + torch.erf(latents[..., (3, 1)] / math.sqrt(2)))
    want = (torch.arange(8) + 0.5) / 8
    torch.testing.assert_close(cdf[:, 0, 0], want.flip(0))
    torch.testing.assert_close(cdf[0, :, 1], want)


@pytest.mark.parametrize("arch", ["mini_vae", "mini_flow"])
def test_encode_and_decode_serve_encoders_and_bijections(arch):
    model = zoo.create(arch)
    x = model.sample(300)  # more than one batch
    z = latent.encode(model, x)
    again = latent.decode(model, z)
    assert len(z) == 300 and again.shape == x.shape and again.is_floating_point()
    torch.testing.assert_close(latent.reconstruct(model, x), again)
    if arch == "mini_flow":
        torch.testing.assert_close(again, x, atol=1e-4, rtol=1e-4)
    else:
        assert again.min() >= 0 and again.max() <= 1


def test_generator_walks_between_draws_of_its_prior_but_encodes_nothing():
    model = zoo.create("mini_gan")
    a, b = (model.prior(3).sample(zoo.Rng(seed, 3), stream="z") for seed in (0, 1))
    walk = latent.decode(model, latent.interpolate(a, b, steps=4).flatten(0, 1))
    assert walk.shape == (12, 2)
    with pytest.raises(NoCapabilityError, match="MiniGAN gives events no latents"):
        latent.encode(model, walk)
    with pytest.raises(NoCapabilityError, match="MiniAR has no map from latents to events"):
        latent.decode(zoo.create("mini_ar"), a)


def test_what_is_no_path_and_no_plane_is_refused(ends):
    a, b = ends
    with pytest.raises(UsageError, match="expected latents"):
        latent.interpolate(a, b[:2])
    with pytest.raises(UsageError, match="steps = 1"):
        latent.interpolate(a, b, steps=1)
    with pytest.raises(UsageError, match="two different coordinates of 2"):
        latent.plane(torch.zeros(2), axes=(0, -2))
