"""Laws on a linear-Gaussian problem whose score is known: orders, equalities in law, bounds."""

import math
from dataclasses import dataclass
from typing import get_args

import pytest
import torch

import zoo_core as zoo
from zoo_core.rng import Rng
from zoo_diffusion.likelihoods import VLB, ContinuousVLB, ODELikelihood, probability_flow, terms
from zoo_diffusion.likelihoods.ode import AugmentedFlow, rademacher_probes
from zoo_diffusion.likelihoods.terms import bin_width
from zoo_diffusion.model import ScoreAt
from zoo_diffusion.parameterization import Prediction, at_time, convert, to_x0
from zoo_diffusion.samplers import DDIM, ODE, Ancestral, Heun
from zoo_diffusion.schedules import VP, Betas, Karras, LogSNR, linear_betas
from zoo_kernels.denoise import PREDICTIONS
from zoo_kernels.denoise import reference as columns

MEAN = torch.tensor([0.5, -0.3], dtype=torch.float64)
STD = torch.tensor([0.6, 1.4], dtype=torch.float64)
KINDS = ("epsilon", "x0", "v", "score", "flow")


def levels_at(schedule, t):
    """alpha and sigma at one time, (1,) each."""
    t = torch.tensor([t], dtype=torch.float64)
    return schedule.alpha(t), schedule.sigma(t)


@dataclass(frozen=True)
class Nothing:
    pass


class Exact(zoo.GenerativeModel):
    """E[x_0 | x_t] of N(MEAN, STD^2), given as a network would, in continuous time."""

    def __init__(self, schedule, prediction="x0", *, t_min=1e-5, levels=None, std=STD, mean=MEAN):
        super().__init__(Nothing(), zoo.Event((2,), levels=levels))
        self.schedule, self.prediction, self.t_min = schedule, prediction, t_min
        self.std, self.mean = std, mean
        self.unused = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def denoise(self, x_t, t, cond=None):
        a, s = at_time(self.schedule, t, x_t.double())
        gain = a * self.std**2 / ((a * self.std) ** 2 + s**2)
        return (self.mean + gain * (x_t - a * self.mean)).to(x_t.dtype)

    def predict(self, x_t, t, cond=None):
        a, s = at_time(self.schedule, t, x_t)
        return convert(self.denoise(x_t, t), x_t, a, s, source="x0", target=self.prediction)

    def flow(self, x_1, alpha, sigma):
        """Where the probability flow carries x_1 exactly."""
        a, s = levels_at(self.schedule, 1.0)
        spread = [((k * self.std) ** 2 + n**2).sqrt() for k, n in ((a, s), (alpha, sigma))]
        return alpha * self.mean + spread[1] / spread[0] * (x_1 - a * self.mean)

    def log_p(self, x, t):
        """log density at time t."""
        a, s = levels_at(self.schedule, t)
        p = torch.distributions.Normal(a * self.mean, ((a * self.std) ** 2 + s**2).sqrt())
        return p.log_prob(x.double()).sum(1)


class ExactChain(Exact):
    """The same as a chain of T steps."""

    def __init__(self, T, variance="small", **options):
        super().__init__(Betas(linear_betas(T, 0.1 / T, 20 / T)), **options)
        del self.t_min
        self.timesteps, self.variance = T, variance


def test_adaptive_flow_keeps_its_tolerance():
    model = Exact(VP())
    flow = probability_flow.ProbabilityFlow(model, None)
    first, last = flow.angles(0.01)
    u = torch.randn(16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, s = levels_at(VP(), 0.01)
    exact, errors = model.flow(u, a, s), []
    for tolerance in (1e-3, 1e-5, 1e-7):
        solved = probability_flow.solve_ode(
            flow.velocity, u, last, first, rtol=tolerance, atol=tolerance
        )
        errors.append(float((solved.y - exact).abs().max()))
        assert errors[-1] < 30 * tolerance
    assert errors[2] < errors[1] < errors[0]


def test_row_of_the_adaptive_flow_does_not_depend_on_the_others():
    model = Exact(Karras())
    flow = probability_flow.ProbabilityFlow(model, None)
    first, last = flow.angles(0.0)
    u = 3 * torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = probability_flow.solve_ode(flow.velocity, u, last, first, rtol=1e-4, atol=1e-4)
    alone = probability_flow.solve_ode(flow.velocity, u[4:5], last, first, rtol=1e-4, atol=1e-4)
    assert torch.allclose(whole.y[4:5], alone.y, atol=1e-12)
    assert whole.evaluations[4] == alone.evaluations[0]


@pytest.mark.parametrize("schedule", [VP(), Karras(), LogSNR(-8, 6)], ids=["vp", "ve", "snr"])
@pytest.mark.parametrize(
    "sampler", [DDIM(steps=200), Heun(steps=30), Heun(steps=50, churn=5.0), ODE()], ids=str
)
def test_samples_have_the_data_s_mean_and_covariance(sampler, schedule):
    model = Exact(schedule, t_min=1e-3 if isinstance(schedule, VP) else 0.0)
    x = model.sample(4096, sampler=sampler).double()
    assert torch.allclose(x.mean(0), MEAN, atol=0.1)
    assert torch.allclose(x.std(0), STD, rtol=0.07)
    assert abs(float(x.T.cov()[0, 1])) < 0.06


def moments(table, model):
    """The exact mean and variance after all rows of a table for "x0", from N(0, 1)."""
    m, v = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    coefficients = table.coefficients.table.double()
    for row, (_, a, s) in zip(coefficients, table.levels, strict=True):
        gain = a * STD**2 / ((a * STD) ** 2 + s**2)
        slope = row[columns.C_X0] * gain + row[columns.C_X] + row[columns.C_M] * gain
        shift = (row[columns.C_X0] + row[columns.C_M]) * MEAN * (1 - gain * a / 1)
        m, v = slope * m + shift, slope**2 * v + row[columns.S] ** 2
    return m, v


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ancestral_moments_come_to_the_data_s_as_steps_grow(variance):
    model, errors = Exact(VP()), []
    for n in (100, 200, 400, 800):
        m, v = moments(Ancestral(steps=n, variance=variance).table(model), model)
        errors.append(float((m - MEAN).abs().max() + (v - STD**2).abs().max()))
    slope = -torch.tensor(errors).log2().diff().mean()
    assert 0.7 < float(slope) < 1.3 and errors[-1] < 0.05, errors


def test_ddim_without_noise_is_deterministic_and_with_eta_one_is_ancestral():
    model = ExactChain(40, prediction="epsilon")
    assert not DDIM(steps=40).table(model).coefficients.noisy
    one = model.sample(64, sampler=DDIM(steps=40, eta=1.0))
    assert torch.allclose(one, model.sample(64, sampler=Ancestral(steps=40)), atol=2e-5)
    assert not torch.allclose(one, model.sample(64, sampler=DDIM(steps=40)), atol=0.1)


@pytest.mark.parametrize("schedule", [LogSNR(-10, 18), Karras(0.002, 4000.0)], ids=["vp", "ve"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_flow_likelihood_is_the_exact_log_density(schedule, tolerance):
    model = Exact(schedule, t_min=0.0)
    x = MEAN + STD * torch.randn(8, 2, generator=torch.Generator().manual_seed(0)).double()
    method = ODELikelihood(rtol=tolerance, atol=tolerance, probes=0)
    likelihood = model.log_likelihood(x.float(), method=method)
    assert (likelihood.nats - model.log_p(x.float(), 0.0)).abs().max() < 20 * tolerance + 2e-3
    assert likelihood.kind.relation == "estimate" and (likelihood.evaluations > 6).all()


def test_hutchinson_s_trace_has_the_exact_one_as_its_mean():
    torch.manual_seed(0)
    model = zoo.create("vp_sde", network={"type": "mlp", "hidden": 16, "layers": 1}).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x, rows = torch.randn(3, 2), torch.arange(3)
    y, phi = torch.cat((x.double(), torch.zeros(3, 1)), 1), torch.full((3,), 0.7).double()
    flow = probability_flow.ProbabilityFlow(model, None)

    def divergence(count, draw=0):
        probes = rademacher_probes(count, x, Rng(0, 3), draw)
        return AugmentedFlow(flow, probes)(y, phi, rows)[:, -1]

    exact = divergence(0)
    probed = torch.stack([divergence(1, draw) for draw in range(256)])
    assert ((probed.mean(0) - exact).abs() < 4 * probed.std(0) / 16 + 1e-9).all()
    assert torch.allclose(divergence(256), probed.mean(0))


@pytest.mark.parametrize(("variance", "max_gap"), [("small", 2.5), ("large", 0.6)])
def test_bound_of_a_chain_lies_below_the_exact_log_likelihood_and_is_tight(variance, max_gap):
    """The large variance is best for Gaussian data, the small one for points (Ho et al., 3.2)."""
    model = ExactChain(200, variance)
    x = (MEAN + STD * torch.randn(512, 2, generator=torch.Generator().manual_seed(0))).float()
    likelihood = model.log_likelihood(x, method=VLB(times=0))
    gap = model.log_p(x, 0.0) - likelihood.nats
    error = float(gap.std()) / len(gap) ** 0.5
    assert -3 * error < float(gap.mean()) < max_gap
    by_name = likelihood.terms
    assert torch.allclose(sum(by_name.values()), likelihood.nats)
    assert set(by_name) == {"L_T", "L_t", "L_0"}


def test_bound_of_continuous_time_rises_with_the_steps_to_below_the_exact():
    model = Exact(LogSNR(-8.0, 8.0), t_min=0.0)
    x = (MEAN + STD * torch.randn(1024, 2, generator=torch.Generator().manual_seed(0))).float()
    nats_by_steps = [
        model.log_likelihood(x, method=ContinuousVLB(steps=T, times=0)).nats for T in (5, 20, 80)
    ]
    nats_by_steps.append(model.log_likelihood(x, method=ContinuousVLB(times=80)).nats)
    exact = model.log_p(x, 0.0)
    means = [float((exact - nats).mean()) for nats in nats_by_steps]
    assert means[0] > means[1] > means[2] > means[3] - 0.01
    error = float((exact - nats_by_steps[3]).std()) / len(x) ** 0.5
    assert -3 * error < means[3] < 0.1


@pytest.mark.parametrize("variance", ["small", "large"])
def test_every_divergence_is_non_negative(variance):
    model = ExactChain(50, variance)
    generator = torch.Generator().manual_seed(0)
    i = torch.arange(2, 51)
    x, x_hat = torch.randn(2, 49, 2, generator=generator)
    assert (terms.step_kl(model, i, x, x_hat) >= 0).all()
    assert (terms.prior_kl(model.schedule, x) >= 0).all()
    if variance == "small":  # 1/2 (SNR(s) - SNR(t)) |x - x_hat|^2
        t = i.double() / 50
        snr = [(model.schedule.alpha(k) / model.schedule.sigma(k)) ** 2 for k in (t - 0.02, t)]
        want = 0.5 * (snr[0] - snr[1]) * (x - x_hat).double().square().sum(1)
        assert torch.allclose(terms.step_kl(model, i, x, x_hat), want, rtol=1e-6)


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_parameterizations_convert_into_each_other(source, target):
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator)
    alpha, sigma = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    x_t = alpha * x0 + sigma * eps
    all_kinds = {"x0": x0, "epsilon": eps, "v": alpha * eps - sigma * x0, "score": -eps / sigma}
    all_kinds["flow"] = eps - x0
    got = convert(all_kinds[source], x_t, alpha, sigma, source=source, target=target)
    assert torch.allclose(got, all_kinds[target], atol=1e-12)
    assert torch.allclose(to_x0(all_kinds[source], source, x_t, alpha, sigma), x0, atol=1e-12)
    assert KINDS == PREDICTIONS == get_args(Prediction)


def test_score_at_a_time_is_the_gradient_of_the_log_density():
    model = Exact(VP())
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    (want,) = torch.autograd.grad(model.log_p(x, 0.3).sum(), x)
    score = ScoreAt(model, 0.3)
    assert torch.allclose(score.score(x), want, atol=1e-10)
    assert (score.event, score.dtype) == (model.event, model.dtype)


@dataclass(frozen=True)
class Langevin:
    """A stranger's sampler, which knows `Score` alone."""

    steps: int = 200
    size: float = 0.2

    def __call__(self, model, rng, cond):
        x = rng.normal(model.event.shape, stream="start").to(model.dtype)
        for k in range(self.steps):
            noise = rng.normal(model.event.shape, stream="noise", step=k).to(x.dtype)
            x = x + self.size / 2 * model.score(x, cond) + self.size**0.5 * noise
        return x


def test_langevin_steps_by_the_score_at_a_time_draw_the_noised_data_of_that_time():
    """The chain is linear, so its variance is known: s^2 / (1 - eps / (4 s^2))."""
    model, sampler = Exact(VP()), Langevin()
    alpha, sigma = levels_at(model.schedule, 0.3)
    variance = (alpha * STD) ** 2 + sigma**2
    x = ScoreAt(model, 0.3).sample(4096, sampler=sampler).double()
    want = variance / (1 - sampler.size / (4 * variance))
    error = (2 / 4096) ** 0.5 * want
    assert ((x.var(0) - want).abs() < 5 * error).all()
    assert ((x.mean(0) - alpha * MEAN).abs() < 5 * (want / 4096).sqrt()).all()


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_decoders_sum_to_one_over_the_data_s_own_levels(levels):
    event = zoo.Event((1,), levels=levels)
    x = torch.arange(levels).unsqueeze(1)
    for mean, spread in ((0.0, 0.5), (-1.3, 0.01), (0.4, 3.0)):
        at = torch.full((levels, 1), mean, dtype=torch.float64)
        std = torch.tensor(spread).double()
        log_p = terms.discretized_gaussian_log_likelihood(event, x, at, std)
        assert math.isclose(float(log_p.exp().sum()), 1.0, rel_tol=1e-9)
        one = torch.ones(levels, 1, dtype=torch.float64)
        log_p = terms.decoder_log_likelihood(event, x, at, one, spread * one)
        assert math.isclose(float(log_p.exp().sum()), 1.0, rel_tol=1e-9)


def test_data_are_decoded_where_the_noise_tells_their_levels_apart():
    """256 levels: the gamma of -13.3 that Kingma et al. chose; 17 levels: -8."""
    schedule = LogSNR(-20.0, 5.0)
    for levels, gamma in ((256, -13.6), (17, -8.05), (2, -2.5)):
        t = terms.decoder_time(schedule, zoo.Event((1,), levels=levels), 0.0)
        assert abs(float(schedule.gamma(torch.tensor(t))) - gamma) < 0.1


@pytest.mark.parametrize("arch", ["ddpm", "vdm", "vp_sde", "edm"])
def test_bound_of_integers_sums_to_at_most_one(arch):
    """Were a term missing, or counted once instead of T times, the sum would exceed one."""
    torch.manual_seed(0)
    small = {"network": {"type": "mlp", "hidden": 8, "layers": 1}, "shape": (1,), "levels": 3}
    options = {"timesteps": 20, "beta_first": 0.1, "beta_last": 0.3} if arch == "ddpm" else {}
    model = zoo.create(arch, **small, **options)
    x = torch.arange(3).repeat(32).unsqueeze(1)
    nats = model.log_likelihood(x, method="vlb", times=0 if arch == "ddpm" else 128).nats
    total = float(nats.view(32, 3).mean(0).exp().sum())
    assert 0.01 < total < 1.0


def test_estimate_from_some_steps_agrees_with_all_of_them():
    """Protocol: the sum over T is T times the mean, and its error is told."""
    model = ExactChain(300, mean=MEAN + 0.3)  # a wrong denoiser, so that terms differ
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    whole = model.log_likelihood(x, method=VLB(times=0))
    part = model.log_likelihood(x, method=VLB(times=40), seed=1)
    gap = part.nats - whole.nats
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / 8
    z = gap / (part.std_err.square() + whole.std_err.square()).sqrt()
    assert 0.3 < float(z.std()) < 2.5
    assert (part.evaluations == 41).all() and (whole.evaluations == 300).all()


def test_uniform_dequantization_has_the_offset_of_the_levels_width():
    """bits/dim of [-1, 1] data is that of the density plus log2((K - 1) / 2): 6.99 for 256."""
    std, zero = torch.tensor(0.5, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    model = Exact(LogSNR(-14.0, 16.0), t_min=0.0, levels=33, std=std, mean=zero)
    x = torch.tensor([[16, 20], [10, 8]])
    method = ODELikelihood(probes=0, dequantization="uniform", draws=8)
    likelihood = model.log_likelihood(x, method=method)
    edges = torch.stack([(x + k) * bin_width(model.event) - 1 for k in (-0.5, 0.5)]).double()
    cdf = torch.distributions.Normal(zero, std).cdf(edges)
    exact = (cdf[1] - cdf[0]).log().sum(1)
    assert (likelihood.nats - exact).abs().max() < 0.15
    assert math.isclose(-math.log2(bin_width(zoo.Event((1,), levels=256))), 6.9944, abs_tol=1e-4)


def test_gaussian_dequantization_is_a_bound_on_what_the_levels_hold():
    """A flow of two sharp peaks, one a level, gives each its probability of one half."""

    class Peaks(Exact):
        def denoise(self, x_t, t, cond=None):
            a, s = at_time(self.schedule, t, x_t)
            return torch.tanh(a * x_t / s**2)

    model = Peaks(LogSNR(-10.0, 12.0), t_min=0.0, levels=2)
    x = torch.tensor([[0, 1], [1, 1]] * 32)
    likelihood = model.log_likelihood(x, method=ODELikelihood(probes=0, rtol=1e-4, atol=1e-4))
    assert abs(float(likelihood.bits_per_dim().mean()) - 1.0) < 0.05


def test_sampling_every_way_gives_a_row_the_same_whatever_else_is_drawn():
    torch.manual_seed(0)
    model = zoo.create(
        "vdm", shape=(1,), levels=5, network={"type": "mlp", "hidden": 8, "layers": 1}
    )
    for sampler in ("ancestral", "ddim", "heun", "dpmpp_2m"):
        whole = model.sample(6, sampler=sampler, steps=5)
        assert torch.equal(model.sample(2, sampler=sampler, steps=5, first_row=4), whole[4:])
    assert model.sample(3, sampler="ode", rtol=1e-2, atol=1e-2).shape == (3, 1)


def test_one_draw_of_an_estimate_does_not_know_its_error():
    """Where something is drawn: levels are dequantized, the divergence is probed."""
    torch.manual_seed(0)
    network = {"network": {"type": "mlp", "hidden": 8, "layers": 1}}
    reals, levels = zoo.create("vdm", **network), zoo.create("vdm", levels=3, **network)
    loose = {"method": "ode", "rtol": 1e-2, "atol": 1e-2}
    x = torch.zeros(2, 2)
    assert model_errors(levels, x.long(), probes=0, **loose) == [math.inf] * 2
    assert model_errors(reals, x, probes=1, **loose) == [math.inf] * 2
    assert model_errors(reals, x, probes=0, **loose) == [0.0] * 2
    assert all(0 < e < math.inf for e in model_errors(levels, x.long(), draws=2, **loose))
    assert model_errors(levels, x.long(), method="vlb", times=1) == [math.inf] * 2


def model_errors(model, x, **how):
    return model.log_likelihood(x, **how).std_err.tolist()
