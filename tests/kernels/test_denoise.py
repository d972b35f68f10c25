"""Denoising steps: exact noise, solvers' orders, tables against the papers, bad input."""

import math

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _extension, denoise, rng
from zoo_kernels.denoise import reference as columns

BACKENDS = ["reference"]
BACKENDS += ["triton"] if _dispatch.interpreted() else []
BACKENDS += ["cpp"] if _extension.load()[0] and not _dispatch.interpreted() else []


@pytest.fixture(params=BACKENDS)
def backend(request):
    with zoo_kernels.backend(request.param):
        yield request.param


def path(n, *, flow=False, end=0.0):
    t = torch.linspace(0.97, end, n + 1, dtype=torch.float64)
    if flow:
        return 1 - t, t
    return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)


def network(x, a, s, prediction, deviation=0.5, mean=0.3):
    """The exact output where x0 is normal(mean, deviation^2)."""
    x0 = mean + a * deviation**2 / ((a * deviation) ** 2 + s**2) * (x - a * mean)
    eps = (x - a * x0) / s
    v, score, flow = a * eps - s * x0, -eps / s, eps - x0
    return {"x0": x0, "epsilon": eps, "v": v, "score": score, "flow": flow}[prediction]


def solve(builder, n, prediction, *, flow=False, end=0.0):
    """(where the probability flow sends the start exactly, where the solver sends it)"""
    a, s = path(n, flow=flow, end=end)
    steps = builder(a, s, prediction=prediction)
    deviation, mean = 0.5, 0.3
    start = torch.linspace(-2, 2, 8).reshape(2, 4)
    x, kept = start, None
    stages = list(range(n))
    if builder is denoise.heun:
        stages = [j for i in range(n) for j in ((i, i + 1) if s[i + 1] > 0 else (i,))]
    for i, j in enumerate(stages):
        at = (float(a[j]), float(s[j]))
        x, kept = denoise.step(x, network(x, *at, prediction), steps, i, multistep_buffer=kept)
    spread = ((a * deviation) ** 2 + s**2).sqrt()
    ratio = float(spread[-1] / spread[0])
    return float(a[-1]) * mean + ratio * (start - float(a[0]) * mean), x


@pytest.mark.parametrize("prediction", denoise.PREDICTIONS)
@pytest.mark.parametrize("name", ["ddim", "euler", "heun", "dpm_solver_pp"])
def test_every_solver_and_prediction_reaches_the_data(name, prediction, backend):
    exact, got = solve(getattr(denoise, name), 24, prediction, flow=prediction == "flow")
    torch.testing.assert_close(
        got, exact, rtol=0, atol=0.08 if name in ("ddim", "euler") else 0.02
    )


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpm_solver_pp", 2)])
def test_solvers_converge_at_their_order(name, order):
    errors = []
    for n in (16, 32, 64):
        exact, got = solve(getattr(denoise, name), n, "x0", end=0.2)
        errors.append(float((exact - got).abs().max()))
    slope = math.log2(errors[0] / errors[2]) / 2
    assert order - 0.4 < slope < order + 0.8, errors


def test_euler_on_a_straight_path_is_flow_matchings_step():
    t = torch.linspace(1, 0, 6, dtype=torch.float64)
    steps = denoise.euler(1 - t, t, prediction="flow")
    x, u = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0)).unbind()
    for i in range(5):
        got, _ = denoise.step(x, u, steps, i)
        torch.testing.assert_close(got, x + (t[i + 1] - t[i]).float() * u, rtol=1e-5, atol=1e-5)


def test_the_noise_has_the_bits_of_the_generator(backend):
    table = torch.zeros(3, columns.COLUMNS)
    table[1, columns.S] = 1.0
    rows = torch.tensor([5, 2**32 - 1])
    x = torch.zeros(2, 3, 70)
    steps = denoise.Steps(table, noisy=True)
    got, _ = denoise.step(x, x, steps, 1, rows=rows, seed=-9, stream=4)
    assert torch.equal(got.flatten(1), rng.normal(-9, rows, 210, stream=4, step=1))


def test_ddpm_takes_the_posteriors_mean_and_variance():
    """Ho et al., eqs. 6 and 7, from alpha_bar and beta."""
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    bar = (1 - beta).cumprod(0)
    noise_to_data = torch.cat([torch.ones(1, dtype=torch.float64), bar]).flip(0)
    args = noise_to_data.sqrt(), (1 - noise_to_data).sqrt()
    before = torch.cat([torch.ones(1, dtype=torch.float64), bar[:-1]])
    small = (1 - before) / (1 - bar) * beta
    for variance, expected in {"small": small, "large": beta}.items():
        table = denoise.ddpm(*args, variance=variance).table.double().flip(0)
        wanted = {columns.C_X0: before.sqrt() * beta / (1 - bar),
                  columns.C_X: (1 - beta).sqrt() * (1 - before) / (1 - bar)}  # fmt: skip
        for column, values in wanted.items():
            torch.testing.assert_close(table[:, column], values, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(table[1:, columns.S] ** 2, expected[1:], rtol=1e-6, atol=0)
        assert table[0, columns.S] == 0
    learned = denoise.ddpm(*args, variance="learned").table.double().flip(0)
    torch.testing.assert_close(
        learned[1:, columns.LOG_VAR_MIN].exp(), small[1:], rtol=2e-6, atol=0
    )
    torch.testing.assert_close(learned[1:, columns.LOG_VAR_MAX].exp(), beta[1:], rtol=2e-6, atol=0)


def test_ddim_with_eta_one_has_ddpms_mean_and_variance():
    a, s = path(9)
    ddim = denoise.ddim(a, s, eta=1.0, clipped_epsilon=True).table
    ddpm = denoise.ddpm(a, s).table
    used = [columns.P_X, columns.P_M, columns.C_X0, columns.C_X, columns.S]
    torch.testing.assert_close(ddim[:, used], ddpm[:, used], rtol=1e-5, atol=1e-6)


def test_guidance_and_slices_of_a_bigger_output(backend):
    generator = torch.Generator().manual_seed(1)
    x, both = torch.randn(2, 3, 5, generator=generator), torch.randn(4, 6, 5, generator=generator)
    steps = denoise.ddpm(*path(4), variance="learned")
    conditional, free = both.chunk(2)
    c, v = conditional.chunk(2, dim=1)
    u = free.chunk(2, dim=1)[0]
    got, _ = denoise.step(x, c, steps, 1, unconditional=u, guidance=3.0, variance=v)
    wanted, _ = denoise.step(x, u + 3.0 * (c - u), steps, 1, variance=v.contiguous())
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_dynamic_thresholding_is_imagens(backend):
    x = 3 * torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(2))
    steps = denoise.euler(*path(4), prediction="x0")
    got, _ = denoise.step(x, x, steps, 3, threshold=(0.9, 10.0))
    limit = torch.quantile(x.abs().flatten(1), 0.9, dim=1).clamp(min=1).reshape(2, 1, 1)
    torch.testing.assert_close(got, x.clamp(-limit, limit) / limit, rtol=1e-6, atol=1e-6)


def test_the_argument_of_version_0_1_still_works_with_a_warning():
    x, steps = torch.zeros(1, 2), denoise.dpm_solver_pp(*path(4), prediction="x0")
    new = denoise.step(x, x, steps, 1, multistep_buffer=x + 1)
    with pytest.warns(DeprecationWarning, match="multistep_buffer"):
        old = denoise.step(x, x, steps, 1, history=x + 1)
    assert torch.equal(new[0], old[0])


def test_a_step_outside_the_table_gives_nan(backend):
    x = torch.zeros(1, 4)
    for i in (-1, 4, 2**40):
        got, _ = denoise.step(x, x, denoise.ddpm(*path(4)), torch.tensor([i]))
        assert got.isnan().all()


A, S = (t.tolist() for t in path(4))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: denoise.ddim(A[::-1], S[::-1]), "sigma may be 0 at the last time only"),
        (lambda: denoise.ddim([0.5, 0.4, 0.6], [0.5, 0.6, 0.4]), "must increase"),
        (lambda: denoise.ddim([0.5], [0.5]), "one length >= 2"),
        (lambda: denoise.ddim([0.5, float("nan")], [0.5, 0.4]), "finite"),
        (lambda: denoise.ddim(A, S, prediction="noise"), "prediction must be one of"),
        (lambda: denoise.ddim([0.0, 1.0], [1.0, 0.0]), "needs alpha > 0"),
        (lambda: denoise.ddim(A, S, eta=2.0), "eta must be in"),
        (lambda: denoise.ddpm(A, S, variance="big"), "variance must be small, large or learned"),
        (lambda: denoise.heun([0.0, 1.0], [1.0, 0.0]), "needs alpha > 0"),
        (lambda: denoise.dpm_solver_pp([0.0, 1.0], [1.0, 0.0]), "needs alpha > 0"),
    ],
)
def test_a_bad_schedule_is_named(build, said):
    with pytest.raises(ValueError, match=said):
        build()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": torch.zeros(2, 3, dtype=torch.int64)}, "x must be floating point"),
        ({"output": torch.zeros(2, 4)}, "output must be"),
        ({"unconditional": torch.zeros(2, 3, dtype=torch.float64)}, "unconditional must be"),
        ({"index": 4}, r"index must be in \[0, 4\)"),
        ({"index": torch.tensor(1)}, "index must be an int or int64 of shape"),
        ({"rows": torch.zeros(3, dtype=torch.int64)}, "rows must be int64"),
        ({"variance": torch.zeros(2, 3)}, "does not take a learned variance"),
        ({"clip": -1.0}, "clip must be positive"),
        ({"clip": 1.0, "threshold": (0.9, 2.0)}, "pass one of them"),
        ({"threshold": (1.5, 2.0)}, "threshold must be"),
        ({"guidance": float("nan")}, "guidance must be finite"),
        ({"stream": -1}, "stream in"),
        ({"steps": denoise.Steps(torch.zeros(4, 16, dtype=torch.float64))}, "steps must be"),
    ],
)
def test_bad_arguments_are_named(change, said):
    good = {"x": torch.zeros(2, 3), "output": torch.zeros(2, 3),
            "steps": denoise.ddim(A, S), "index": 0}  # fmt: skip
    with pytest.raises(ValueError, match=said):
        denoise.step(**(good | change))
