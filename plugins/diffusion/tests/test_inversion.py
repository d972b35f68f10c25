"""From events to noise and back, starts other than the prior, and inpainting that conditions."""

from dataclasses import dataclass

import pytest
import torch

import zoo_core as zoo
from zoo_core.errors import DataError, NoCapabilityError, UsageError
from zoo_diffusion import (
    DDIM,
    ODE,
    Ancestral,
    DPMpp2M,
    DPMppSDE,
    Heun,
    UniPC,
    decode,
    encode,
    interpolate,
)
from zoo_diffusion.schedules import VP

COVARIANCE = torch.tensor([[1.0, 0.8, 0.3], [0.8, 1.0, 0.5], [0.3, 0.5, 0.6]]).double()
MEAN = torch.tensor([0.5, -0.3, 0.1]).double()


@dataclass(frozen=True)
class Nothing:
    pass


class Correlated(zoo.GenerativeModel):
    """E[x_0 | x_t] of N(MEAN, COVARIANCE)."""

    prediction, t_min = "x0", 1e-3

    def __init__(self):
        super().__init__(Nothing(), zoo.Event((3,)))
        self.schedule = VP()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def denoise(self, x_t, t, cond=None):
        t = t.double()
        a, s = self.schedule.alpha(t).view(-1, 1, 1), self.schedule.sigma(t).view(-1, 1, 1)
        gain = a * COVARIANCE @ torch.linalg.inv(a**2 * COVARIANCE + s**2 * torch.eye(3))
        off = x_t.double() - a.squeeze(-1) * MEAN
        return (MEAN + (gain @ off.unsqueeze(-1)).squeeze(-1)).to(x_t.dtype)

    predict = denoise


def draws(n=6):
    z = torch.randn(n, 3, generator=torch.Generator().manual_seed(0)).double()
    return (MEAN + z @ torch.linalg.cholesky(COVARIANCE).T).float()


def digits(n):
    return zoo.load_dataset("digits").split("test").batch(slice(n))[0]


def gap(iterations, steps):
    model, x, sampler = Correlated(), draws(), DDIM(steps=steps, spacing="karras")
    x_T = encode(model, x, sampler=sampler, iterations=iterations)
    return float((decode(model, x_T, sampler=sampler) - x).abs().max())


def test_plain_inversion_errs_at_first_order_and_five_iterations_end_it():
    plain = [gap(0, n) for n in (50, 100, 200)]
    slope = -torch.tensor(plain).log2().diff().mean()
    assert 0.7 < float(slope) < 1.3, plain
    assert gap(5, 100) < 1e-3


def test_the_flow_solved_adaptively_comes_back_too():
    model, x, sampler = Correlated(), draws(), ODE(rtol=1e-6, atol=1e-6)
    x_T = encode(model, x, sampler=sampler)
    assert (decode(model, x_T, sampler=sampler) - x).abs().max() < 2e-3


def test_noise_of_events_has_the_prior_s_moments():
    sampler = DDIM(steps=200, spacing="karras")
    x_T = encode(Correlated(), draws(2000), sampler=sampler, iterations=1).double()
    assert x_T.mean(0).abs().max() < 0.1 and (x_T.T.cov() - torch.eye(3)).abs().max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vdm.digits", "ddpm.digits"])
def test_digits_come_back_from_their_noise(name):
    model = zoo.load(name)
    x = digits(4)
    sampler = DDIM(steps=50, clip_denoised=False)
    back = decode(model, encode(model, x, sampler=sampler), sampler=sampler)
    assert (back - x).abs().float().mean() < 0.2
    assert back.dtype == x.dtype


def test_interpolation_keeps_the_norm_of_noise_and_its_ends():
    a, b = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    between = interpolate(a, b * a.norm() / b.norm(), torch.linspace(0, 1, 5))
    assert torch.allclose(between.flatten(1).norm(dim=1), a.norm(), rtol=1e-5)
    assert torch.allclose(interpolate(a, b, torch.tensor([0.0, 1.0])), torch.stack((a, b)))
    assert torch.allclose(interpolate(a, a, torch.tensor([0.3]))[0], a)


def test_a_given_start_replaces_the_prior_row_by_row():
    model, x_T = Correlated(), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    whole = model.sample(5, sampler=DDIM(steps=8), x_T=x_T)
    assert torch.allclose(model.sample(5, sampler=DDIM(steps=8), x_T=x_T, batch_size=2), whole)
    assert torch.allclose(model.sample(1, sampler=DDIM(steps=8), x_T=x_T[3]), whole[3:4])
    assert not torch.allclose(model.sample(5, sampler=DDIM(steps=8)), whole)


def test_strength_says_how_far_events_to_start_from_are_left():
    model, x = Correlated(), draws()
    far = [
        float((model.sample(6, sampler=UniPC(strength=s), init=x) - x).abs().mean())
        for s in (0.1, 0.4, 1.0)
    ]
    assert far[0] < far[1] < far[2]
    assert far[0] < 0.3


def test_starts_that_do_not_fit_are_refused():
    model, x = Correlated(), draws()
    with pytest.raises(UsageError, match="give one of them"):
        model.sample(6, x_T=x, init=x, sampler="ddim")
    with pytest.raises(UsageError, match="nothing says where they start"):
        model.sample(6, sampler="ddim", strength=0.5)
    with pytest.raises(DataError, match="x_T does not fit"):
        model.sample(6, x_T=x[:, :2], sampler="ddim")
    with pytest.raises(DataError, match="must be reals"):
        model.sample(6, x_T=x.long(), sampler="ddim")
    with pytest.raises(NoCapabilityError, match="takes no x_T"):
        zoo.create("made").sample(1, x_T=torch.zeros(28, 28))


@pytest.mark.parametrize(
    "sampler",
    [DPMppSDE(steps=50), DPMpp2M(steps=40), Heun(steps=30)],
    ids=lambda s: type(s).__name__,
)
def test_inpainting_draws_the_exact_posterior_of_a_gaussian(sampler):
    model, n = Correlated(), 2000
    fixed = torch.tensor([1.5, 0.0, 0.0]), torch.tensor([True, False, False])
    x = model.sample(n, sampler=sampler, fixed=fixed).double()
    assert torch.equal(x[:, 0], torch.full((n,), 1.5).double())
    gain = COVARIANCE[1:, 0] / COVARIANCE[0, 0]
    mean = MEAN[1:] + gain * (1.5 - MEAN[0])
    covariance = COVARIANCE[1:, 1:] - torch.outer(gain, COVARIANCE[0, 1:])
    assert (x[:, 1:].mean(0) - mean).abs().max() < 0.05
    assert (x[:, 1:].T.cov() - covariance).abs().max() < 0.05


def test_replacement_does_not_draw_the_posterior():
    """Why it is no longer the default."""
    fixed = torch.tensor([1.5, 0.0, 0.0]), torch.tensor([True, False, False])
    sampler = Ancestral(steps=100, spacing="karras", inpainting="replacement")
    x = Correlated().sample(2000, sampler=sampler, fixed=fixed).double()
    mean = MEAN[1:] + COVARIANCE[1:, 0] / COVARIANCE[0, 0] * (1.5 - MEAN[0])
    assert (x[:, 1:].mean(0) - mean).abs().max() > 0.1


def test_repaint_comes_to_the_exact_mean_as_its_steps_are_repeated():
    """Its spread stays too wide: in a step, observed values have noise that hidden ones do not."""
    fixed = torch.tensor([1.5, 0.0, 0.0]), torch.tensor([True, False, False])
    gain = COVARIANCE[1:, 0] / COVARIANCE[0, 0]
    mean = MEAN[1:] + gain * (1.5 - MEAN[0])
    covariance = COVARIANCE[1:, 1:] - torch.outer(gain, COVARIANCE[0, 1:])
    errors = []
    for times in (1, 4, 12):
        sampler = DPMppSDE(steps=20, inpainting="repaint", inpainting_iterations=times)
        x = Correlated().sample(1000, sampler=sampler, fixed=fixed).double()
        assert torch.equal(x[:, 0], torch.full((1000,), 1.5).double())
        errors.append(float((x[:, 1:].mean(0) - mean).abs().max()))
    assert errors[0] > 0.25 > errors[1] > errors[2] and errors[2] < 0.08, errors
    assert (x[:, 1:].T.cov() - covariance).abs().max() < 0.2


def test_repaint_draws_a_row_alike_in_every_batch():
    fixed = torch.tensor([1.5, 0.0, 0.0]), torch.tensor([True, False, False])
    sampler = DPMpp2M(steps=6, inpainting="repaint", inpainting_iterations=3)
    whole = Correlated().sample(5, sampler=sampler, fixed=fixed)
    part = Correlated().sample(2, sampler=sampler, fixed=fixed, first_row=3)
    assert torch.allclose(part, whole[3:], atol=1e-5)


def test_two_observed_values_take_two_iterations():
    """Conjugate gradients end after as many steps as there are values."""
    fixed = torch.tensor([1.5, -1.0, 0.0]), torch.tensor([True, True, False])
    sampler = DPMpp2M(steps=40, inpainting_iterations=2)
    x = Correlated().sample(1000, sampler=sampler, fixed=fixed).double()
    gain = torch.linalg.solve(COVARIANCE[:2, :2], COVARIANCE[:2, 2])
    mean = MEAN[2] + gain @ (torch.tensor([1.5, -1.0]) - MEAN[:2])
    variance = COVARIANCE[2, 2] - gain @ COVARIANCE[:2, 2]
    assert (x[:, 2].mean() - mean).abs() < 0.05
    assert (x[:, 2].var() - variance).abs() < 0.05


@pytest.mark.slow
def test_hidden_halves_of_digits_follow_from_the_seen_ones():
    """Root mean square error in levels, of valid: 5.2 by replacement, 4.8 by moment matching, 4.5
    by repaint with ten times the calls."""
    x = zoo.load_dataset("digits").split("valid").x[:96]
    upper = torch.zeros(1, 8, 8, dtype=torch.bool)
    upper[:, :4] = True
    model, rmse = zoo.load("ddpm.digits"), {}
    for how, times in {"replacement": 1, "moment_matching": 1, "repaint": 10}.items():
        sampler = DDIM(steps=20, eta=1.0, inpainting=how, inpainting_iterations=times)
        drawn = model.sample(len(x), sampler=sampler, fixed=(x, upper))
        rmse[how] = float((drawn - x)[:, :, 4:].float().square().mean().sqrt())
        assert torch.equal(drawn[:, :, :4], x[:, :, :4])
    assert rmse["repaint"] < 4.65 < rmse["moment_matching"] < 5.0 < rmse["replacement"]
