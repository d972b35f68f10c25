"""Solvers' loops: equal to their tables and to diffusers' schedulers, and of their order."""

import math
from dataclasses import dataclass, replace
from types import ModuleType

import pytest
import torch

import zoo_core as zoo
from zoo_core.errors import ConfigError
from zoo_diffusion.parameterization import convert
from zoo_diffusion.samplers import (
    DDIM,
    PC,
    Ancestral,
    DPMpp2M,
    DPMpp3M,
    DPMppSDE,
    Euler,
    EulerAncestral,
    Heun,
    Midpoint,
    UniPC,
)
from zoo_diffusion.samplers.loop import Outputs, loop_states, prediction_type, start, trajectory
from zoo_diffusion.samplers.timesteps import DATA, Level, Path

TINY = {"network": {"type": "mlp", "hidden": 16, "layers": 1}}
MODELS = {
    "vp_sde": ("vp_sde", {}),
    "vp_sde score": ("vp_sde", {"prediction": "score"}),
    "ve_sde": ("ve_sde", {}),
    "edm": ("edm", {}),
    "vdm": ("vdm", {}),
    "zero snr": ("ddpm", {"zero_snr": True, "prediction": "v", "timesteps": 100}),
    "flow": ("flow_matching", {}),
    "flow vp x0": ("flow_matching", {"path": "variance_preserving", "prediction": "x0"}),
    "flow epsilon": ("flow_matching", {"prediction": "epsilon", "t_last": 0.999}),
    "one step": ("ddpm", {"timesteps": 1, "prediction": "x0"}),
}
SOLVERS = (
    Ancestral(steps=12),
    Ancestral(steps=12, variance="large"),
    DDIM(steps=12, spacing="quadratic"),
    DDIM(steps=12, eta=0.7, clipped_epsilon=False),
    Euler(steps=12),
    EulerAncestral(steps=12, spacing="exponential"),
    Heun(steps=12),
    Midpoint(steps=12),
    Heun(steps=12, churn=3.0, churn_min=0.0, churn_max=1e9),
    DPMpp2M(steps=12),
    DPMpp3M(steps=12),
    DPMppSDE(steps=12),
    UniPC(steps=12),
    UniPC(steps=12, order=3),
)


def model_of(name):
    arch, options = MODELS[name]
    torch.manual_seed(0)
    model = zoo.create(arch, **options, **TINY)
    for p in model.network.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_the_loop_takes_the_steps_of_its_table(solver, name):
    model, rng = model_of(name), zoo.Rng(3, 5)
    if name == "one step":
        solver = type(solver)(steps=1)
    path = solver.path(model)
    table = solver.on(path, prediction_type(model))
    outputs, x = Outputs(model, rng, None, solver.options()), start(model, rng, path, None, None)
    noise = noise_rows(solver, table)
    shape, stream = model.event.shape, "step"

    def z(i):
        return rng.normal(shape, stream=stream, step=noise[i]).double()

    with torch.no_grad():
        *_, want = solver.loop(lambda x, p: outputs.denoised(0, x, p), x.double(), path, z)
        *_, have = trajectory(outputs, x, table, rng)
    assert (have - want).abs().max() < 2e-5 * want.abs().max().clamp(min=1)


def noise_rows(solver, table):
    """The row of a table that has the noise of step i: of churn, the row before the calls."""
    if not isinstance(solver, Heun):
        return range(len(table.levels))
    churn = [j for j, calls in enumerate(table.calls) if not calls]
    return [0, *churn]  # the first step starts at the most noise, so it adds none


def test_a_solver_whose_steps_depend_on_x_has_no_table_and_runs_its_loop():
    model, rng = model_of("ve_sde"), zoo.Rng(0, 6)
    assert PC(steps=4).table(model) is None
    whole = model.sample(6, sampler=PC(steps=4))
    part = model.sample(2, sampler=PC(steps=4), first_row=4)
    assert torch.allclose(part, whole[4:], rtol=1e-5)
    path = PC(steps=4).path(model)
    x = start(model, rng, path, None, None)
    outputs = Outputs(model, rng, None, PC().options())
    with torch.no_grad():
        states = [*loop_states(PC(steps=4).loop, outputs, x, path, rng)]
    assert torch.allclose(model.event.from_network(states[-1]), whole)


class Problem:
    """x_0 ~ N(0, C), of which D(x, p) = E[x_0 | x] is a factor of x."""

    C = 0.6**2

    def __init__(self, first=-2.0, last=1.5):
        self.first, self.last = first, last

    def path(self, n):
        """n steps of length h in lambda, and tiny ones at both ends, where the order is lower."""
        h = (self.last - self.first) / n
        lam = [self.first, self.first + h**2, *(self.first + h * i for i in range(1, n))]
        lam += [self.last - 2 * h**2, self.last - h**2, self.last]
        path = Path(level(math.exp(-k)) for k in lam)
        path.model = path.std = None
        return path

    def D(self, x, p):  # noqa: N802
        x_0 = p.a * self.C / self.variance(p) * x
        return x_0, (x - p.a * x_0) / p.s

    def variance(self, p):
        return p.a**2 * self.C + p.s**2


def level(n, t=0.0):
    """The variance-preserving level with sigma / alpha = n."""
    a = 1 / math.hypot(1, n)
    return Level(t, a, n * a) if n else DATA


def fitted_order(error):
    steps = (80, 160, 320)
    errors = torch.tensor([error(n) for n in steps], dtype=torch.float64)
    return float(-errors.log2().diff().mean()), errors.tolist()


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (DDIM(), 1),
        (Euler(), 1),
        (Heun(), 2),
        (DPMpp2M(), 2),
        (DPMpp3M(), 2),
        (DPMpp3M(full_order=True), 3),
        (UniPC(order=1), 2),
        (UniPC(order=2), 3),
        (UniPC(order=3), 4),
    ],
    ids=str,
)
def test_solver_converges_to_the_flow_at_its_order(solver, order):
    problem = Problem()

    def error(n):
        path = problem.path(n)
        *_, x = solver.loop(problem.D, torch.ones(1, dtype=torch.float64), path, None)
        exact = math.sqrt(problem.variance(path[-1]) / problem.variance(path[0]))
        return abs(float(x) - exact)

    slope, errors = fitted_order(error)
    assert order - 0.4 < slope < order + 0.7, errors


@pytest.mark.parametrize(
    ("solver", "order"),
    [(Ancestral(variance="small"), 1), (EulerAncestral(), 1), (DPMppSDE(), 2)],
    ids=str,
)
def test_noisy_solver_comes_to_the_variance_at_its_order(solver, order):
    """x is a linear form in x_1 and the noises, so that its variance is known without drawing."""
    problem = Problem()

    def error(n):
        path = problem.path(n)
        basis = torch.eye(len(path) + 1, dtype=torch.float64)
        x = math.sqrt(problem.variance(path[0])) * basis[0]
        *_, x = solver.loop(problem.D, x, path, lambda i: basis[1 + i])
        return abs(float(x.square().sum()) - problem.variance(path[-1]))

    slope, errors = fitted_order(error)
    assert order - 0.4 < slope < order + 0.7, errors


def test_an_interval_of_guidance_is_two_times_in_order():
    for wrong in ((0.5,), (0.8, 0.2), (0.0, 0.5, 1.0)):
        with pytest.raises(ConfigError, match="guidance_interval"):
            DDIM(guidance_interval=wrong)


class Double(ModuleType):
    """A module whose `float32` is float64: schedulers of diffusers round their tables to it."""

    def __init__(self, module):
        super().__init__(module.__name__)
        self.module, self.float32 = module, module.float64

    def __getattr__(self, name):
        return getattr(self.module, name)


BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
MULTISTEP = {"lower_order_final": False, "final_sigmas_type": "zero"}
THEIRS = {
    "ddpm": ("DDPMScheduler", "ddpm", {}, Ancestral(variance="small")),
    "ddpm large": (
        "DDPMScheduler",
        "ddpm",
        {"variance_type": "fixed_large"},
        Ancestral(variance="large"),
    ),
    "ddim": ("DDIMScheduler", "ddim", {}, DDIM(clipped_epsilon=False)),
    "euler": ("EulerDiscreteScheduler", "euler_discrete", {}, Euler()),
    "euler_ancestral": (
        "EulerAncestralDiscreteScheduler",
        "euler_ancestral_discrete",
        {},
        EulerAncestral(),
    ),
    "heun": ("HeunDiscreteScheduler", "heun_discrete", {}, Heun()),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", "dpmsolver_multistep", MULTISTEP, DPMpp2M()),
    "dpmpp_3m": (
        "DPMSolverMultistepScheduler",
        "dpmsolver_multistep",
        MULTISTEP | {"solver_order": 3},
        DPMpp3M(),
    ),
    "dpmpp_sde": (
        "DPMSolverMultistepScheduler",
        "dpmsolver_multistep",
        MULTISTEP | {"algorithm_type": "sde-dpmsolver++"},
        DPMppSDE(),
    ),
    "unipc": (
        "UniPCMultistepScheduler",
        "unipc_multistep",
        {"final_sigmas_type": "zero"},
        UniPC(),
    ),
    "unipc 3": (
        "UniPCMultistepScheduler",
        "unipc_multistep",
        {"final_sigmas_type": "zero", "solver_order": 3},
        UniPC(order=3),
    ),
}
PREDICTIONS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}


def scheduler_of(name, monkeypatch, noise, **options):
    """Their scheduler in double precision, which draws z(0), z(1), ... as its noise."""
    pytest.importorskip("diffusers", reason="diffusers is not installed")
    from importlib import import_module

    cls, module, more, _ = THEIRS[name]
    module = import_module(f"diffusers.schedulers.scheduling_{module}")
    for library in ("torch", "np"):
        if hasattr(module, library):
            monkeypatch.setattr(module, library, Double(getattr(module, library)))
    drawn = iter(range(10**6))
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: noise(next(drawn)))
    return getattr(module, cls)(num_train_timesteps=1000, **BETAS, **more, **options)


def network(x, p):
    """Some denoiser: x_0 at level p."""
    return torch.tanh(1.3 * p.a * x + 0.2 * torch.cos(3 * x)) * (1 - 0.3 * p.s)


def noise(row):
    return torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(row))


@pytest.mark.parametrize(
    ("name", "prediction"),
    [
        *((name, "epsilon") for name in THEIRS),
        *((name, kind) for name in ("ddim", "heun", "unipc") for kind in ("x0", "v")),
    ],
)
def test_trajectory_is_that_of_diffusers_scheduler_of_that_name(name, prediction, monkeypatch):
    steps = 37  # does not divide 1000
    scheduler = scheduler_of(name, monkeypatch, noise, prediction_type=PREDICTIONS[prediction])
    if "clip_sample" in scheduler.config:
        scheduler.register_to_config(clip_sample=False)
    scheduler.set_timesteps(steps)
    path = path_of(scheduler)
    x_1 = noise(1000)
    theirs = list(their_states(scheduler, path, x_1, prediction))
    D = lambda x, p: (network(x, p), (x - p.a * network(x, p)) / p.s)  # noqa: E731, N806
    ours = list(THEIRS[name][3].loop(D, x_1, path, noise))
    assert len(ours) == len(theirs) == steps
    for i, (have, want) in enumerate(zip(ours, theirs, strict=True)):
        assert (have - want).abs().max() < 1e-6, i


def path_of(scheduler):
    """The levels at which a scheduler calls the network, and the data."""
    times = list(dict.fromkeys(scheduler.timesteps.tolist()))  # Heun's are there twice
    if hasattr(scheduler, "sigmas"):
        levels = [level(n) for n in dict.fromkeys(scheduler.sigmas.tolist())]
    else:
        bar = [float(scheduler.alphas_cumprod[int(t)]) for t in times]
        levels = [*(Level(0.0, math.sqrt(b), math.sqrt(1 - b)) for b in bar), DATA]
    assert len(levels) == len(times) + 1
    path = Path(levels)
    path.model = path.std = None
    return path


def their_states(scheduler, path, x_1, prediction):
    """x = alpha y after every step; some schedulers hold y."""
    holds_y = type(scheduler).__name__.startswith(("Euler", "Heun"))
    scales = [p.a if holds_y else 1.0 for p in path]
    state, step, calls = x_1 / scales[0], 0, 1
    for j, t in enumerate(scheduler.timesteps):
        # Heun's second call of a step is at the step's end
        i = (j + 1) // 2 if len(scheduler.timesteps) > len(path) else j
        x, p = scheduler.scale_model_input(state, t), path[i]
        a, s = torch.tensor(p.a).double(), torch.tensor(p.s).double()
        m = convert(network(x, p), x, a, s, source="x0", target=prediction)
        state = scheduler.step(m, t, state).prev_sample
        if len(scheduler.timesteps) < len(path) or j % 2 == 1 or j == len(scheduler.timesteps) - 1:
            step += calls
            yield state * scales[step]


def wide(x):
    """Some denoiser's x_0, much of it outside of [-1, 1]."""
    return 1.6 * torch.tanh(1.3 * x) + 0.4 * torch.cos(3 * x)


@dataclass(frozen=True)
class Nothing:
    pass


class Wide(zoo.GenerativeModel):
    """`wide` as a model of integers, whose x_0 our solvers bound."""

    def __init__(self):
        super().__init__(Nothing(), zoo.Event((3, 1, 1), levels=17))
        self.unused = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def denoise(self, x_t, t, cond=None):
        return wide(x_t)


BOUNDS = {
    # their thresholding by the smallest |x_0|, at least 1 and at most 1, is clipping
    "clipped": (
        {},
        {"clip_sample": True},
        {"thresholding": True, "dynamic_thresholding_ratio": 0.0, "sample_max_value": 1.0},
    ),
    "dynamic": (
        {"dynamic_thresholding_ratio": 0.7},
        {"clip_sample": False, "thresholding": True, "dynamic_thresholding_ratio": 0.7}
        | {"sample_max_value": 1e6},
        {"thresholding": True, "dynamic_thresholding_ratio": 0.7, "sample_max_value": 1e6},
    ),
}
BOUNDING = ("ddpm", "ddpm large", "ddim", "dpmpp_2m", "dpmpp_3m", "dpmpp_sde", "unipc", "unipc 3")


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("name", BOUNDING)  # their Euler and Heun have no bound
def test_first_step_of_a_bounded_x_0_is_that_of_diffusers_scheduler(name, bound, monkeypatch):
    ours, clips, thresholds = BOUNDS[bound]
    pixels = lambda row: noise(row)[..., None, None]  # noqa: E731  their bound is of images
    scheduler = scheduler_of(name, monkeypatch, pixels)
    scheduler.register_to_config(**(clips if "clip_sample" in scheduler.config else thresholds))
    scheduler.set_timesteps(37)
    path, x = path_of(scheduler), pixels(1000)
    p, t = path[0], scheduler.timesteps[0]
    epsilon = (x - p.a * wide(x)) / p.s
    want = scheduler.step(epsilon, t, x).prev_sample
    solver = replace(THEIRS[name][3], **ours)
    D = Outputs(Wide(), zoo.Rng(0, 2), None, solver.options()).denoised  # noqa: N806
    have = next(iter(solver.loop(lambda x, p: D(0, x, p), x, path, pixels)))
    assert (wide(x).abs() > 1).any()
    assert (have - want).abs().max() < 1e-6


@pytest.mark.parametrize("corrections", [0, 1])
def test_predictor_corrector_is_that_of_the_sde_scheduler(corrections, monkeypatch):
    pytest.importorskip("diffusers", reason="diffusers is not installed")
    from diffusers.schedulers import scheduling_sde_ve

    monkeypatch.setattr(scheduling_sde_ve, "torch", Double(torch))
    drawn = iter(range(10**6))
    one = lambda row: noise(row)[:1]  # noqa: E731  theirs has one step size for the batch
    monkeypatch.setattr(scheduling_sde_ve, "randn_tensor", lambda *a, **k: one(next(drawn)))
    scheduler = scheduling_sde_ve.ScoreSdeVeScheduler(num_train_timesteps=12, sigma_max=50.0)
    scheduler.set_timesteps(12)
    scheduler.set_sigmas(12)
    sigmas = scheduler.discrete_sigmas.flip(0).tolist()
    path = Path([*(Level(0.0, 1.0, s) for s in sigmas), DATA])
    solver = PC(corrections=corrections, snr=scheduler.config.snr)
    D = lambda x, p: (network(x / 50, p), None)  # noqa: E731, N806
    *_, have = solver.loop(D, 50 * one(1000), path, one)
    x = 50 * one(1000)
    for p, t in zip(path, scheduler.timesteps, strict=False):
        score = lambda x, p=p: (network(x / 50, p) - x) / p.s**2  # noqa: E731
        for _ in range(corrections):
            x = scheduler.step_correct(score(x), x).prev_sample
        out = scheduler.step_pred(score(x), t.expand(1), x)
        x, mean = out.prev_sample, out.prev_sample_mean
    assert (have - mean).abs().max() < 1e-6
