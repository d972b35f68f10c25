"""diffusers' checkpoints and schedulers: the same outputs, the same trajectories."""

import json

import pytest
import torch

import zoo_core as zoo
from zoo_core import building
from zoo_core.errors import ConfigError, IntegrityError
from zoo_core.rng import Rng
from zoo_core.weights import third_party
from zoo_diffusion.likelihoods import terms
from zoo_diffusion.samplers import DDIM, Ancestral, MultiStep
from zoo_diffusion.samplers.loop import GuidanceAndClipping, Outputs, sample_prior, trajectory

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

COMMON = {"sample_size": 8, "in_channels": 3, "out_channels": 3, "layers_per_block": 1}
DDPM_NET = COMMON | {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}
SKIP_NET = COMMON | {
    "block_out_channels": (32, 32, 64),
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"),
    "up_block_types": ("SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "norm_num_groups": None,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
    "mid_block_scale_factor": 2**0.5,
    "time_embedding_type": "fourier",
    "center_input_sample": True,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
}
NETS = {
    "ddpm": DDPM_NET,
    "heads": DDPM_NET | {"attention_head_dim": 4, "downsample_padding": 1, "layers_per_block": 2},
    "learned": DDPM_NET | {"time_embedding_type": "learned", "num_train_timesteps": 1000},
    "labelled": DDPM_NET | {"num_class_embeds": 5, "flip_sin_to_cos": True, "freq_shift": 0},
    "scale_shift": DDPM_NET
    | {
        "resnet_time_scale_shift": "scale_shift",
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
    },
    "no_middle": DDPM_NET | {"add_attention": False},
    "k": DDPM_NET
    | {
        "block_out_channels": (32, 64),
        "layers_per_block": 2,
        "down_block_types": ("KDownBlock2D", "KDownBlock2D"),
        "up_block_types": ("KUpBlock2D", "KUpBlock2D"),
    },
    "k_one_layer": DDPM_NET
    | {
        "block_out_channels": (32, 32),
        "down_block_types": ("KDownBlock2D", "KDownBlock2D"),
        "up_block_types": ("KUpBlock2D", "KUpBlock2D"),
        "act_fn": "gelu",
    },
    "mish": DDPM_NET | {"act_fn": "mish"},
    "relu": DDPM_NET | {"act_fn": "relu", "freq_shift": 2},
    "odd_heads": DDPM_NET | {"attention_head_dim": 7},
    "old_prefix": DDPM_NET | {"down_block_types": ("UNetResDownBlock2D", "AttnDownBlock2D")},
    "no_type": DDPM_NET | {"downsample_type": None, "upsample_type": None},
    "labels_as_times": DDPM_NET | {"class_embed_type": "timestep", "num_class_embeds": 5},
    "no_middle_block": DDPM_NET | {"mid_block_type": None},
    "resnet_everywhere": DDPM_NET
    | {
        "down_block_types": ("AttnDownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D"),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "attn_norm_num_groups": 2,
        "time_embedding_dim": 24,
        "mid_block_scale_factor": 1.5,
        "dropout": 0.3,
    },
    "scaled_skip": SKIP_NET
    | {
        "resnet_time_scale_shift": "scale_shift",
        "attention_head_dim": 8,
        "time_embedding_type": "positional",
        "center_input_sample": False,
    },
    "skip_below": DDPM_NET
    | {
        "block_out_channels": (16, 32),
        "down_block_types": ("DownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    },
    "ncsnpp": SKIP_NET,
}


def unet(name):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(**NETS[name]).eval()


def convert(folder, converter="diffusers_ddpm"):
    return building.convert(third_party.read(folder), converter, {})


@pytest.mark.parametrize("name", NETS)
def test_network_of_a_folder_gives_the_same_outputs(name, tmp_path):
    theirs = unet(name)
    theirs.save_pretrained(tmp_path)
    ours = convert(tmp_path, "diffusers_ncsnpp" if name == "ncsnpp" else "diffusers_ddpm")
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 961])
    label = torch.tensor([0, 4]) if theirs.class_embedding is not None else None
    with torch.no_grad():
        want = theirs(x, t, class_labels=label).sample
        have = ours.network(x, t.float(), label)
    assert torch.allclose(have, want, rtol=1e-5, atol=1e-5)
    assert ours.event == zoo.Event((3, 8, 8), levels=256)


@pytest.mark.parametrize("layout", ["root", "subfolder"])
def test_pipeline_loads_in_both_layouts_with_its_scheduler(layout, tmp_path):
    net = unet("ddpm")
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=50,
        beta_schedule="squaredcos_cap_v2",
        variance_type="fixed_large",
        prediction_type="v_prediction",
    )
    if layout == "subfolder":
        diffusers.DDPMPipeline(net, scheduler).save_pretrained(tmp_path)
    else:
        net.save_pretrained(tmp_path)
        scheduler.save_pretrained(tmp_path)
        (tmp_path / "model_index.json").write_text("{}")
    model = convert(tmp_path)
    c = model.config
    assert (c.timesteps, c.betas, c.variance, c.prediction) == (50, "cosine", "large", "v")
    i = torch.arange(1, 51, dtype=torch.float64) / 50
    assert torch.allclose(
        model.schedule.alpha(i) ** 2, scheduler.alphas_cumprod.double(), rtol=2e-5
    )


@pytest.mark.parametrize("arch", ["ddpm", "ve_sde"])
def test_pipeline_loads_by_its_path_as_what_its_scheduler_says(arch, tmp_path):
    pipelines = {
        "ddpm": lambda: diffusers.DDIMPipeline(unet("ddpm"), diffusers.DDIMScheduler()),
        "ve_sde": lambda: diffusers.ScoreSdeVePipeline(
            unet("ncsnpp"), diffusers.ScoreSdeVeScheduler()
        ),
    }
    pipelines[arch]().save_pretrained(tmp_path)
    assert zoo.load(str(tmp_path)).spec.arch == arch


def test_old_names_of_attention_are_read(tmp_path):
    from safetensors.torch import load_file, save_file

    unet("ddpm").save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, name in old.items():
        tensors = {k.replace(f".{new}.", f".{name}."): v for k, v in tensors.items()}
    save_file(tensors, path)
    assert any(".query." in k for k in tensors)
    convert(tmp_path)


def test_checkpoint_of_another_kind_is_refused_by_what_it_is(tmp_path):
    unet("ddpm").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    path = tmp_path / "config.json"
    for change, text in (
        ({"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel"),
        ({"act_fn": "tanh"}, "act_fn = 'tanh' has no counterpart"),
        ({"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}, "CrossAttnDownBlock2D"),
        ({"class_embed_type": "identity"}, "class_embed_type = 'identity'"),
        ({"class_embed_type": "timestep"}, "does not say how many"),
    ):
        path.write_text(json.dumps(config | change))
        with pytest.raises(IntegrityError, match=text):
            convert(tmp_path)


@pytest.mark.parametrize("steps", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ddpm_trajectory_is_that_of_the_scheduler(steps, variance, tmp_path, monkeypatch):
    from diffusers.schedulers import scheduling_ddpm

    scheduler = diffusers.DDPMScheduler(num_train_timesteps=steps, variance_type=variance)
    diffusers.DDPMPipeline(unet("ddpm"), scheduler).save_pretrained(tmp_path)
    model, rng = convert(tmp_path), Rng(3, 2)
    drawn = iter(range(steps))

    def noise(shape, **_):
        return rng.normal(shape[1:], stream="step", step=next(drawn))

    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", noise)
    scheduler.set_timesteps(steps)
    _compare(model, Ancestral(steps=steps), scheduler, rng)


@pytest.mark.parametrize("steps", [20, 50])
def test_ddim_trajectory_is_that_of_the_scheduler(steps, tmp_path):
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(steps)
    net = unet("ddpm")
    # an untrained network's flow magnifies 1e-7 to 1e-2 within 50 steps, theirs as ours
    torch.nn.init.normal_(net.conv_out.weight, std=0.01)
    net.save_pretrained(tmp_path)
    _compare(
        convert(tmp_path),
        DDIM(steps=steps, spacing="leading", clipped_epsilon=False),
        scheduler,
        Rng(3, 2),
    )


def _compare(model, sampler, scheduler, rng):
    """x after every step, from the same noise."""
    theirs = sample_prior(model, rng)
    outputs = Outputs(model, rng, None, GuidanceAndClipping())
    ours = trajectory(outputs, theirs, sampler.table(model), rng)
    with torch.no_grad():
        for t, have in zip(scheduler.timesteps, ours, strict=True):
            output = model.network(theirs, t.float().expand(len(theirs)))
            theirs = scheduler.step(output, t, theirs).prev_sample
            assert (have - theirs).abs().max() < 1e-4, int(t)


ZERO_SNR = {
    "num_train_timesteps": 100,
    "rescale_betas_zero_snr": True,
    "prediction_type": "v_prediction",
}


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_zero_terminal_snr_gives_the_chain_of_the_scheduler(beta_schedule, tmp_path):
    scheduler = diffusers.DDPMScheduler(**ZERO_SNR, beta_schedule=beta_schedule)
    diffusers.DDPMPipeline(unet("ddpm"), scheduler).save_pretrained(tmp_path)
    i = torch.arange(1, 101, dtype=torch.float64) / 100
    bar = convert(tmp_path).schedule.alpha(i).square()
    assert bar[-1] == 0 == scheduler.alphas_cumprod[-1]
    # theirs is a difference of float32: absolute, not relative to alpha
    assert torch.allclose(bar, scheduler.alphas_cumprod.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_ddpm_trajectory_from_zero_snr_is_that_of_the_scheduler(prediction, tmp_path, monkeypatch):
    from diffusers.schedulers import scheduling_ddpm

    scheduler = diffusers.DDPMScheduler(**(ZERO_SNR | {"prediction_type": prediction}))
    diffusers.DDPMPipeline(unet("ddpm"), scheduler).save_pretrained(tmp_path)
    model, rng = convert(tmp_path), Rng(3, 2)
    drawn = iter(range(100))

    def noise(shape, **_):
        return rng.normal(shape[1:], stream="step", step=next(drawn))

    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", noise)
    scheduler.set_timesteps(100)
    _compare(model, Ancestral(steps=100), scheduler, rng)


def test_ddim_trajectory_from_zero_snr_is_that_of_the_scheduler(tmp_path):
    options = ZERO_SNR | {"timestep_spacing": "trailing"}
    scheduler = diffusers.DDIMScheduler(**options)
    scheduler.set_timesteps(20)
    net = unet("ddpm")
    torch.nn.init.normal_(net.conv_out.weight, std=0.01)
    diffusers.DDIMPipeline(net, scheduler).save_pretrained(tmp_path)
    sampler = DDIM(steps=20, spacing="uniform", clipped_epsilon=False)
    _compare(convert(tmp_path), sampler, scheduler, Rng(3, 2))


def test_zero_snr_of_a_network_that_predicts_noise_is_refused(tmp_path):
    scheduler = diffusers.DDPMScheduler(rescale_betas_zero_snr=True)
    diffusers.DDPMPipeline(unet("ddpm"), scheduler).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="zero_snr: prediction 'epsilon' does not determine x_0"):
        convert(tmp_path)


def test_a_variance_in_a_learned_range_is_that_of_the_scheduler(tmp_path):
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(**(DDPM_NET | {"out_channels": 6})).eval()
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range", num_train_timesteps=50)
    diffusers.DDPMPipeline(net, scheduler).save_pretrained(tmp_path)
    model = convert(tmp_path)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        out = net(x, torch.tensor([20, 20])).sample
        _, v = model.denoise_and_weigh(x, torch.full((2,), 21 / 50))
    i = torch.tensor([21])
    _, small, large = terms.posterior_coefficients(model, i)
    ours = (v.double() * large.log() + (1 - v.double()) * small.log()).view(2, 3, 8, 8)
    want = scheduler._get_variance(20, predicted_variance=out[:, 3:])
    torch.testing.assert_close(ours.float(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("later", [[], [22], [13, 30]])
@pytest.mark.parametrize("classes", [None, 5])
def test_consistency_models_draw_what_their_pipeline_draws(later, classes, tmp_path, monkeypatch):
    from diffusers.schedulers import scheduling_consistency_models as theirs

    torch.manual_seed(0)
    net = diffusers.UNet2DModel(**(NETS["scale_shift"] | {"num_class_embeds": classes})).eval()
    scheduler = diffusers.CMStochasticIterativeScheduler(sigma_max=60.0, sigma_data=0.6)
    pipeline = diffusers.ConsistencyModelPipeline(net, scheduler)
    pipeline.save_pretrained(tmp_path)
    model = building.convert(
        third_party.read(tmp_path), "diffusers_consistency", {"levels": 65536}
    )
    assert model.condition.classes == classes and model.config.sigma_max == 60.0
    rng, cond = Rng(3, 2), None if classes is None else torch.tensor([0, 4])
    drawn = iter(range(3))

    def noise(shape, **_):
        return rng.normal(shape[1:], stream="step", step=next(drawn))

    monkeypatch.setattr(theirs, "randn_tensor", noise)
    pipeline.set_progress_bar_config(disable=True)
    want = pipeline(
        batch_size=2,
        class_labels=cond,
        num_inference_steps=None,
        timesteps=[*reversed(later), 0],  # k of 39 below the largest sigma
        latents=rng.normal((3, 8, 8), stream="x_1"),
        output_type="pt",
    ).images
    sampler = MultiStep(steps=1 + len(later), times=tuple(1 - k / 39 for k in later))
    with torch.no_grad():
        have = sampler(model, rng, cond) / 65535
    assert 0.01 < float(want.std()) and (have - want).abs().max() < 1e-4


def test_a_consistency_model_loads_by_its_path(tmp_path):
    scheduler = diffusers.CMStochasticIterativeScheduler()
    diffusers.ConsistencyModelPipeline(unet("labelled"), scheduler).save_pretrained(tmp_path)
    model = zoo.load(str(tmp_path))
    assert model.spec.arch == "consistency" and model.condition.classes == 5
