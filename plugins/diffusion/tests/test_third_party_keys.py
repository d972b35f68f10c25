"""Every key of diffusers' configs is honoured, said or refused by its name; none is overlooked.

The tables hold each key of diffusers 0.42.1, its default, and values beside it.
"""

import inspect

import pytest
import torch

from zoo_core.building import build
from zoo_core.catalog.registry import current
from zoo_core.errors import ConfigError, IntegrityError
from zoo_core.weights.third_party import Foreign
from zoo_diffusion.converters.diffusers import FromDDPM, FromNCSN

SMALL = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.42.1",
    "sample_size": 8,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}
NETWORK = {
    "sample_size": (None, [16, [16, 8], "large"]),
    "in_channels": (3, [1]),
    "out_channels": (3, [6]),
    "center_input_sample": (False, [True, 1]),
    "time_embedding_type": ("positional", ["fourier", "learned", "none"]),
    "time_embedding_dim": (None, [24]),
    "freq_shift": (0, [1, 2]),
    "flip_sin_to_cos": (True, [False, None]),
    "down_block_types": (
        ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        [
            ["DownBlock2D", "DownBlock2D"],
            ["CrossAttnDownBlock2D", "DownBlock2D"],
            "DownBlock2D",
            [["x"]],
        ],
    ),
    "mid_block_type": ("UNetMidBlock2D", [None, "UNetMidBlock2DCrossAttn"]),
    "up_block_types": (
        ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        [["UpBlock2D", "UpBlock2D"], ["CrossAttnUpBlock2D", "UpBlock2D"], 3],
    ),
    "block_out_channels": ((224, 448, 672, 896), [[8, 24], 8]),
    "layers_per_block": (2, [3, None, "2"]),
    "mid_block_scale_factor": (1, [2**0.5]),
    "downsample_padding": (1, [0, 2, None]),
    "downsample_type": ("conv", ["resnet", None]),
    "upsample_type": ("conv", ["resnet", "fir"]),
    "dropout": (0.0, [0.1, "0.1"]),
    "act_fn": ("silu", ["gelu", None, []]),
    "attention_head_dim": (8, [4, None]),
    "norm_num_groups": (32, [8, None]),
    "attn_norm_num_groups": (None, [2]),
    "norm_eps": (1e-5, [1e-6]),
    "resnet_time_scale_shift": ("default", ["scale_shift", "ada_group"]),
    "add_attention": (True, [False]),
    "class_embed_type": (None, ["timestep", "identity"]),
    "num_class_embeds": (None, [10]),
    "num_train_timesteps": (None, [500]),
}
_CHAIN = {
    "num_train_timesteps": (1000, [500]),
    "beta_start": (0.0001, [0.001]),
    "beta_end": (0.02, [0.01]),
    "beta_schedule": ("linear", ["scaled_linear", "squaredcos_cap_v2", "sigmoid", []]),
    "trained_betas": (None, [[0.1, 0.2]]),
    "prediction_type": ("epsilon", ["v_prediction", "sample", "flow"]),
    "timestep_spacing": ("leading", ["trailing", "linspace"]),
    "steps_offset": (0, [1]),
}
_BOUNDED = {
    "clip_sample": (True, [False]),
    "thresholding": (False, [True]),
    "dynamic_thresholding_ratio": (0.995, [0.9]),
    "clip_sample_range": (1.0, [2.0]),
    "sample_max_value": (1.0, [1.5]),
    "rescale_betas_zero_snr": (False, [True, "yes"]),
}
_VARIANCES = ["fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"]
SCHEDULERS = {
    "DDPMScheduler": _CHAIN | _BOUNDED | {"variance_type": ("fixed_small", _VARIANCES)},
    "DDIMScheduler": _CHAIN | _BOUNDED | {"set_alpha_to_one": (True, [False])},
    "PNDMScheduler": _CHAIN
    | {"skip_prk_steps": (False, [True]), "set_alpha_to_one": (False, [True])},
    "ScoreSdeVeScheduler": {
        "num_train_timesteps": (2000, [1000]),
        "snr": (0.15, [0.2]),
        "sigma_min": (0.01, [0.02]),
        "sigma_max": (1348.0, [50.0]),
        "sampling_eps": (1e-5, [1e-3]),
        "correct_steps": (1, [2]),
    },
}
SAME = (("variance_type", "fixed_small_log"), ("downsample_type", None))
"""Values that mean what the default means, here."""
OURS = {"norm_num_groups": "network.groups"}
"""Keys whose values are refused when the network is built, under the name of our option."""
CASES = [
    (scheduler, "network", key, value)
    for scheduler in ("DDPMScheduler", "ScoreSdeVeScheduler")
    for key, (_, values) in NETWORK.items()
    for value in values
] + [
    (scheduler, "scheduler", key, value)
    for scheduler, table in SCHEDULERS.items()
    for key, (_, values) in table.items()
    for value in values
]


def converted(scheduler, network=None, changes=None):
    converter = FromNCSN() if scheduler == "ScoreSdeVeScheduler" else FromDDPM()
    configs = {
        "config.json": SMALL | (network or {}),
        "scheduler_config.json": {"_class_name": scheduler, "_diffusers_version": "0.42.1"}
        | (changes or {}),
        "model_index.json": {"_class_name": "SomePipeline"},
    }
    return converter(Foreign(configs, {"": {}}))


def effect(scheduler, which, key, value):
    """How a key with a value ends: (an error's text, None) or (remarks, options)."""
    base = {"prediction_type": "v_prediction"} if key == "rescale_betas_zero_snr" else {}
    network = {key: value} if which == "network" else {}
    try:
        made = converted(scheduler, network, base if network else base | {key: value})
        build(current().models.one(arch(scheduler)).spec, made.options)
    except (IntegrityError, ConfigError) as error:
        return str(error), None
    return " ".join(made.remarks), made.options


def arch(scheduler):
    return "ve_sde" if scheduler == "ScoreSdeVeScheduler" else "ddpm"


@pytest.mark.parametrize(("scheduler", "which", "key", "value"), CASES)
def test_each_key_changes_the_options_or_is_named(scheduler, which, key, value):
    text, options = effect(scheduler, which, key, value)
    base = {"prediction_type": "v_prediction"} if key == "rescale_betas_zero_snr" else {}
    if options is not None and (key, value) not in SAME and key not in text:
        assert options != converted(scheduler, {}, base).options
    if options is None:
        assert key in text or OURS.get(key, str(value)) in text


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_defaults_convert_without_a_word(scheduler):
    theirs = {k: list(v) if isinstance(v, tuple) else v for k, (v, _) in NETWORK.items()}
    network = theirs | SMALL
    made = converted(scheduler, network, {k: v for k, (v, _) in SCHEDULERS[scheduler].items()})
    assert made.remarks == ()
    assert made.options == converted(scheduler).options


@pytest.mark.parametrize("which", ["network", "scheduler"])
def test_a_key_that_nobody_knows_is_refused_by_name_unless_null(which):
    new = {"use_linear_projection": True}
    args = (new, {}) if which == "network" else ({}, new)
    with pytest.raises(IntegrityError, match="use_linear_projection = True has no counterpart"):
        converted("DDPMScheduler", *args)
    assert converted("DDPMScheduler", *[{k: None for k in a} for a in args]).remarks == ()


def test_latents_are_not_taken_for_images():
    configs = {"unet/config.json": SMALL, "vqvae/config.json": {"_class_name": "VQModel"}}
    with pytest.raises(IntegrityError, match="vqvae/ hold weights too"):
        FromDDPM()(Foreign(configs, {"unet": {}, "vqvae": {}}))


def test_size_that_a_config_leaves_open_is_an_option():
    open_ended = Foreign({"config.json": SMALL | {"sample_size": None}}, {"": {}})
    with pytest.raises(IntegrityError, match="sample_size = None") as caught:
        FromDDPM()(open_ended)
    assert "--set size=32" in caught.value.hint
    assert FromDDPM(size=32)(open_ended).options["shape"] == (3, 32, 32)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_tables_are_those_of_diffusers(scheduler):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    for name, table in (("UNet2DModel", NETWORK), (scheduler, SCHEDULERS[scheduler])):
        signature = inspect.signature(getattr(diffusers, name).__init__).parameters
        theirs = {k: p.default for k, p in signature.items() if k != "self"}
        assert theirs == {key: default for key, (default, _) in table.items()}


NETWORKS = [(key, value) for key, (_, values) in NETWORK.items() for value in values]


@pytest.mark.parametrize(("key", "value"), NETWORKS)
def test_a_key_that_is_honoured_gives_the_outputs_of_diffusers(key, value):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    if effect("DDPMScheduler", "network", key, value)[1] is None or key == "in_channels":
        return  # it is refused (above), or takes other images
    config = SMALL | {key: value}
    more = {"num_train_timesteps": 1000} if value == "learned" else {}
    torch.manual_seed(0)
    theirs = diffusers.UNet2DModel(**{k: v for k, v in (config | more).items() if k[0] != "_"})
    made = converted("DDPMScheduler", config | more)
    ours = build(current().models.one("ddpm").spec, made.options).eval()
    ours.network.load_state_dict(theirs.eval().state_dict())
    x, t = torch.randn(2, *ours.event.shape), torch.tensor([3, 961])
    label = torch.tensor([0, 4]) if key == "num_class_embeds" else None
    with torch.no_grad():
        want, have = theirs(x, t, class_labels=label).sample, ours.network(x, t.float(), label)
    assert torch.allclose(have, want, rtol=1e-5, atol=1e-5)
