"""Options of samplers beside steps: guidance, inpainting, traces, spacings."""

import pytest
import torch

import zoo_core as zoo
from zoo_core.errors import ConfigError, UsageError
from zoo_core.sampling import how_drawn
from zoo_diffusion.samplers import DDIM, Ancestral, DPMpp2M, Heun, fused_mlp
from zoo_diffusion.samplers.loop import GuidanceAndClipping
from zoo_diffusion.samplers.timesteps import spaced_times

TINY = {"network": {"type": "mlp", "hidden": 16, "layers": 1}}
SOLVERS = (
    "ancestral",
    "ddim",
    "dpmpp_2m",
    "dpmpp_3m",
    "dpmpp_sde",
    "euler",
    "euler_ancestral",
    "heun",
    "pc",
    "unipc",
)
ONE_CALL = ("ancestral", "ddim", "dpmpp_2m", "euler", "euler_ancestral", "heun")
"""Solvers whose whole loop with an MLP is one kernel call: a row takes at most one buffer."""
SPACINGS = ("uniform", "leading", "trailing", "quadratic", "karras", "exponential")


def labelled():
    torch.manual_seed(0)
    model = zoo.create("ddpm", shape=(1, 2, 2), levels=5, classes=3, timesteps=20, **TINY)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


@pytest.mark.parametrize("sampler", SOLVERS)
def test_guidance_goes_from_no_class_to_the_class(sampler):
    model = labelled()
    options = {"sampler": sampler, "steps": 6, "seed": 1}
    conditional = model.sample(8, cond=2, **options)
    unconditional = model.sample(8, **options)
    assert torch.equal(model.sample(8, cond=2, guidance_scale=1.0, **options), conditional)
    assert torch.equal(model.sample(8, cond=2, guidance_scale=0.0, **options), unconditional)
    assert not torch.equal(conditional, unconditional)
    assert not torch.equal(model.sample(8, cond=2, guidance_scale=4.0, **options), conditional)


def test_guidance_acts_within_its_interval_alone():
    model, options = labelled(), {"sampler": "ddim", "steps": 6, "seed": 1, "cond": 2}
    options["guidance_scale"] = 4.0
    always, never = (
        model.sample(8, **options),
        model.sample(8, **options | {"guidance_scale": 1.0}),
    )
    assert torch.equal(model.sample(8, guidance_interval=(0.0, 1.0), **options), always)
    assert torch.equal(model.sample(8, guidance_interval=(0.05, 0.1), **options), never)
    some = model.sample(8, guidance_interval=(0.0, 0.5), **options)
    assert not torch.equal(some, always) and not torch.equal(some, never)


def test_rescaled_guidance_has_the_conditional_output_s_deviation():
    c, u = torch.randn(2, 5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    plain, half, whole = (
        GuidanceAndClipping(3.0, guidance_rescale=phi).guided(c, u) for phi in (0.0, 0.5, 1.0)
    )
    std = [m.flatten(1).std(1) for m in (c, plain, half, whole)]
    assert torch.allclose(plain, u + 3 * (c - u))
    assert torch.allclose(std[3], std[0]) and torch.allclose(std[2], (std[0] + std[1]) / 2)
    model = labelled()
    drawn = model.sample(4, cond=1, guidance_scale=3.0, guidance_rescale=0.7, steps=5)
    assert drawn.shape == (4, 1, 2, 2)


def test_guidance_without_a_class_is_refused():
    with pytest.raises(UsageError, match="needs a class"):
        labelled().sample(1, guidance_scale=3.0)
    with pytest.raises(UsageError, match="needs a class"):
        zoo.create("vp_sde", **TINY).sample(1, guidance_scale=3.0)
    strict = zoo.create("ddpm", classes=3, optional=False, **TINY)
    with pytest.raises(UsageError, match="needs a class"):
        strict.sample(1, cond=0, guidance_scale=3.0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"guidance": 2.0}, {"guidance_scale": 2.0}),
        ({"clip": False}, {"clip_denoised": False}),
        ({"threshold": 0.9}, {"dynamic_thresholding_ratio": 0.9}),
    ],
)
def test_old_names_of_options_draw_the_same_and_warn(old, new):
    model, options = labelled(), {"cond": 1, "sampler": "ddim", "steps": 4}
    with pytest.warns(DeprecationWarning, match=f"option {[*old][0]} is now {[*new][0]}"):
        x = model.sample(4, **options, **old)
    assert torch.equal(x, model.sample(4, **options, **new))


def test_dropped_labels_train_the_model_without_a_class():
    model = labelled()
    batch = (torch.randint(5, (16, 1, 2, 2)), torch.zeros(16, dtype=torch.long))
    losses = {p: model.players("simple", p_uncond=p)["model"].loss for p in (0.0, 1.0)}
    for p_uncond, trained in ((0.0, 0), (1.0, 3)):
        model.zero_grad()
        losses[p_uncond](batch, zoo.Rng(0, 16), 0).total.backward()
        assert model.network.label.weight.grad.abs().sum(1).nonzero().flatten().tolist() == [
            trained
        ]


@pytest.mark.parametrize("sampler", SOLVERS)
def test_known_values_stay_and_the_others_follow_from_them(sampler):
    model = labelled()
    values = torch.tensor([[[4, 0], [0, 0]]])
    mask = torch.tensor([[[True, False], [False, False]]])
    options = {"sampler": sampler, "steps": 6, "fixed": (values, mask)}
    x = model.sample(16, **options)
    assert (x[:, 0, 0, 0] == 4).all()
    free = model.sample(16, sampler=sampler, steps=6)
    assert not torch.equal(x.flatten(1)[:, 1:], free.flatten(1)[:, 1:])
    assert torch.equal(model.sample(4, **options), x[:4])


@pytest.mark.parametrize(("sampler", "calls"), [("ddim", 6), ("dpmpp_2m", 6), ("heun", 11)])
def test_trace_shows_the_denoised_events_of_every_call(sampler, calls):
    seen = []
    model = labelled()
    x = model.sample(3, sampler=sampler, steps=6, trace=lambda j, events: seen.append((j, events)))
    assert [j for j, _ in seen] == list(range(calls))
    assert all(e.shape == x.shape and e.dtype == x.dtype for _, e in seen)


def test_spacings_fall_from_the_noise_to_where_the_model_starts():
    chain, flow = zoo.create("ddpm", **TINY), zoo.create("vp_sde", **TINY)
    for model, end in ((chain, 1e-3), (flow, 1e-3)):
        for spacing in ("uniform", "quadratic", "karras", "exponential"):
            t = spaced_times(model, 12, spacing)
            assert t[0] == pytest.approx(1.0, abs=1e-6) and (t.diff() < 0).all()
            assert t[-1] == pytest.approx(1 / 12 if spacing == "uniform" else end)
    leading, uniform = spaced_times(chain, 50, "leading"), spaced_times(chain, 1000, "uniform")
    assert (leading * 1000 - 1).round().tolist() == list(range(980, -1, -20))
    trailing = spaced_times(chain, 7, "trailing")  # 7 does not divide 1000
    assert (trailing * 1000 - 1).round().tolist() == [999, 856, 713, 570, 428, 285, 142]
    assert (uniform * 1000 - 1).round().tolist() == list(range(999, -1, -1))
    with pytest.raises(UsageError, match="chains of discrete steps"):
        spaced_times(flow, 10, "leading")
    with pytest.raises(UsageError, match="the chain has 1000"):
        spaced_times(chain, 1001, "leading")


def test_every_update_of_fixed_steps_is_one_row_of_a_table():
    model = zoo.create("edm", **TINY)
    for sampler, rows in (
        (DDIM(steps=7), 7),
        (Ancestral(steps=7), 7),
        (DPMpp2M(steps=7), 7),
        (Heun(steps=7), 13),
        (Heun(steps=7, churn=3.0, churn_min=0.0, churn_max=1e9), 13 + 6),
    ):
        table = sampler.table(model)
        assert len(table.coefficients) == len(table.times) == len(table.calls) == rows
        assert sum(table.calls) == min(rows, 13)


def test_dynamic_thresholding_bounds_x_0_by_a_quantile():
    model = labelled()
    assert model.sample(4, steps=5, dynamic_thresholding_ratio=0.9).shape == (4, 1, 2, 2)


def test_sampler_serves_a_plain_denoiser_of_another_plugin():
    class Plain(zoo.GenerativeModel):
        class schedule:  # noqa: N801
            alpha = staticmethod(lambda t: torch.cos(1.5707 * t))
            sigma = staticmethod(lambda t: torch.sin(1.5707 * t))

        def __init__(self):
            super().__init__(DDIM(), zoo.Event((2,)))

        def denoise(self, x_t, t, cond=None):
            return 0.5 * x_t

    for sampler in SOLVERS:
        assert Plain().sample(3, sampler=sampler, steps=4).shape == (3, 2)


@pytest.mark.parametrize("arch", ["ddpm", "vp_sde", "ve_sde", "edm", "vdm"])
def test_config_says_what_is_wrong(arch):
    with pytest.raises(ConfigError, match=f"{arch}.levels = 1 is out of range"):
        zoo.create(arch, levels=1)
    with pytest.raises(ConfigError, match="a U-Net is for images"):
        zoo.create(arch, network={"type": "unet"})
    unet = {"type": "unet", "channels": [8, 8, 8], "down": ["plain"] * 3, "groups": 4}
    with pytest.raises(ConfigError, match="give as many of each"):
        zoo.create(arch, shape=(1, 8, 8), network=unet | {"down": ["plain"]})


@pytest.mark.parametrize("arch", ["ddpm", "vp_sde", "vdm"])
@pytest.mark.parametrize("sampler", [*ONE_CALL, DDIM(steps=6, eta=1.0)])
def test_a_loop_in_one_call_takes_the_same_steps(arch, sampler, monkeypatch):
    torch.manual_seed(0)
    model = zoo.create(arch, shape=(3,), network={"type": "mlp", "hidden": 24, "layers": 2})
    for p in model.network.parameters():
        torch.nn.init.normal_(p, std=0.2)
    calls = []
    monkeypatch.setattr(fused_mlp, "run", lambda *a, run=fused_mlp.run: calls.append(a) or run(*a))
    once = model.sample(30, seed=5, sampler=sampler)
    assert len(calls) == 1
    alone = model.sample(1, seed=5, sampler=sampler, first_row=3)
    assert torch.equal(model.sample(30, seed=5, sampler=sampler)[3:4], alone)
    stepwise = model.sample(30, seed=5, sampler=sampler, trace=lambda j, events: None)
    assert len(calls) == 3
    torch.testing.assert_close(once, stepwise, rtol=1e-4, atol=1e-4)


def test_ddim_comes_closer_to_the_ode_with_more_steps_though_x_0_is_bounded():
    model = zoo.load("vdm.digits")
    exact = model.sample(8, sampler=Heun(steps=50)).float()
    few, many = (
        (model.sample(8, sampler=DDIM(steps=n)).float() - exact).abs().mean() for n in (20, 200)
    )
    assert many < 0.5 * few


CHAINS = {
    **{f"chain of {T}": ("ddpm", {"timesteps": T}) for T in (1, 2, 10)},
    **{arch: (arch, {}) for arch in ("vp_sde", "ve_sde", "edm", "vdm")},
}


@pytest.mark.parametrize("chain", CHAINS)
def test_one_step_or_two_of_any_spacing_are_taken_or_refused_in_our_words(chain):
    arch, options = CHAINS[chain]
    model = zoo.create(arch, **options, **TINY)
    for sampler in SOLVERS:
        for spacing in SPACINGS:
            for steps in (1, 2):
                try:
                    x = model.sample(1, sampler=sampler, spacing=spacing, steps=steps)
                except UsageError as error:
                    case = f"{sampler}, {spacing}, {steps} steps"
                    of_chains = spacing in ("leading", "trailing")
                    refused = of_chains or (chain == "chain of 1" and steps == 2)
                    assert refused and error.hint, case
                else:
                    assert x.isfinite().all()


def test_noise_that_would_fall_is_refused_as_a_config():
    with pytest.raises(ConfigError, match="must grow"):
        zoo.create("vdm", gamma_min=5.0, gamma_max=-5.0, **TINY)


def test_guidance_says_that_it_changes_the_distribution():
    assert "distribution" not in how_drawn(DDIM())
    stated = how_drawn(DDIM(guidance_scale=3.0))["distribution"]
    assert stated == "not the scored one: guidance_scale = 3.0"
