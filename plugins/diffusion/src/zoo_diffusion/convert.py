"""Checkpoints of diffusers: UNet2DModel with a DDPM or DDIM scheduler, or NCSN++ with its own.

Both layouts are read: the network at the root of a repository, or in `unet/` with the scheduler
beside it. Tensor names are ours already, but for attention's older ones.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo_core.errors import IntegrityError
from zoo_core.weights.foreign import Converted, Foreign

__all__ = ["FromDDPM", "FromNCSN"]

_LEVELS = {
    "DownBlock2D": "plain",
    "UpBlock2D": "plain",
    "AttnDownBlock2D": "attention",
    "AttnUpBlock2D": "attention",
    "ResnetDownsampleBlock2D": "resnet",
    "ResnetUpsampleBlock2D": "resnet",
    "SkipDownBlock2D": "skip",
    "SkipUpBlock2D": "skip",
    "AttnSkipDownBlock2D": "attention_skip",
    "AttnSkipUpBlock2D": "attention_skip",
}
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
_VARIANCES = {"fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large",
              "fixed_large_log": "large"}  # fmt: skip
_FOLDERS = ("", "unet")


@dataclass(frozen=True)
class FromDDPM:
    """To `ddpm`: images of 256 levels. Without a scheduler's config its own defaults are meant."""

    levels: int = 256

    def __call__(self, foreign: Foreign) -> Converted:
        unet, tensors = _unet(foreign)
        scheduler = _scheduler(foreign, ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler"))
        _refuse(scheduler, "trained_betas", None)
        variance = scheduler.get("variance_type") or "fixed_small"
        options = {
            "shape": _shape(unet),
            "levels": self.levels,
            "classes": unet.get("num_class_embeds"),
            "optional": False,
            "network": _network(unet),
            "timesteps": scheduler.get("num_train_timesteps", 1000),
            "prediction": _one(_PREDICTIONS, scheduler.get("prediction_type", "epsilon")),
            "betas": _one(_BETAS, scheduler.get("beta_schedule", "linear")),
            "beta_first": scheduler.get("beta_start", 1e-4),
            "beta_last": scheduler.get("beta_end", 0.02),
            "variance": _one(_VARIANCES, variance),
        }
        return Converted(options, {f"network.{k}": v for k, v in tensors.items()})


@dataclass(frozen=True)
class FromNCSN:
    """To `ve_sde`: images of 256 levels."""

    levels: int = 256

    def __call__(self, foreign: Foreign) -> Converted:
        unet, tensors = _unet(foreign)
        scheduler = _scheduler(foreign, ("ScoreSdeVeScheduler",))
        options = {
            "shape": _shape(unet),
            "levels": self.levels,
            "network": _network(unet),
            "sigma_min": scheduler.get("sigma_min", 0.01),
            "sigma_max": scheduler.get("sigma_max", 1348.0),
        }
        return Converted(options, {f"network.{k}": v for k, v in tensors.items()})


def _unet(foreign: Foreign) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """The network's config and its tensors under our names."""
    for folder in _FOLDERS:
        config = foreign.configs.get(f"{folder}/config.json".lstrip("/"))
        if config is None or folder not in foreign.tensors:
            continue
        found = config.get("_class_name")
        if found not in ("UNet2DModel", "UNetUnconditionalModel"):
            raise IntegrityError(f"the network is a {found}; this converter reads UNet2DModel.")
        return config, {_current(k): v for k, v in foreign.tensors[folder].items()}
    raise IntegrityError(
        "no config.json with weights beside it, at the root or in unet/.",
        hint=f"there are {', '.join(sorted(foreign.configs)) or 'no JSON files'}",
    )


def _current(name: str) -> str:
    """Attention's names before diffusers 0.15 as they are now."""
    return re.sub(
        r"(attentions\.\d+)\.(query|key|value|proj_attn)\.",
        lambda m: f"{m[1]}.{_OLD_NAMES[m[2]]}.",
        name,
    )


def _scheduler(foreign: Foreign, known: tuple[str, ...]) -> Mapping[str, Any]:
    paths = ("scheduler_config.json", "scheduler/scheduler_config.json")
    config: Mapping[str, Any] = next(
        (foreign.configs[p] for p in paths if p in foreign.configs), {}
    )
    found = config.get("_class_name", known[0])
    if found not in known:
        raise IntegrityError(f"the scheduler is a {found}; this converter reads {known}.")
    return config


def _shape(unet: Mapping[str, Any]) -> tuple[int, int, int]:
    size = unet.get("sample_size") or 32
    height, width = (size, size) if isinstance(size, int) else size
    if unet.get("in_channels", 3) != unet.get("out_channels", 3):
        raise IntegrityError("the network's channels in and out differ; it is no denoiser alone.")
    return unet.get("in_channels", 3), height, width


def _network(unet: Mapping[str, Any]) -> dict[str, Any]:
    """UNetConfig's options; absent keys have diffusers' defaults."""
    _refuse(unet, "class_embed_type", None)
    _refuse(unet, "act_fn", "silu", "swish")
    _refuse(unet, "resnet_time_scale_shift", "default", "scale_shift")
    _refuse(unet, "mid_block_type", "UNetMidBlock2D", None)
    _refuse(unet, "downsample_type", "conv", "resnet")
    down = unet.get("down_block_types", ("DownBlock2D", *("AttnDownBlock2D",) * 3))
    up = unet.get("up_block_types", (*("AttnUpBlock2D",) * 3, "UpBlock2D"))
    return {
        "type": "unet",
        "channels": tuple(unet.get("block_out_channels", (224, 448, 672, 896))),
        "down": tuple(_one(_LEVELS, kind) for kind in down),
        "up": tuple(_one(_LEVELS, kind) for kind in up),
        "layers": unet.get("layers_per_block", 2),
        "groups": unet.get("norm_num_groups", 32),
        "eps": unet.get("norm_eps", 1e-5),
        "head": unet.get("attention_head_dim", 8),
        "dropout": unet.get("dropout", 0.0),
        "scale_shift": unet.get("resnet_time_scale_shift", "default") == "scale_shift",
        "middle": unet.get("mid_block_type", "UNetMidBlock2D") is not None,
        "middle_attention": unet.get("add_attention", True),
        "middle_groups": unet.get("attn_norm_num_groups"),
        "middle_scale": float(unet.get("mid_block_scale_factor", 1)),
        "downsample": unet.get("downsample_type", "conv"),
        "upsample": unet.get("upsample_type", "conv"),
        "downsample_padding": unet.get("downsample_padding", 1),
        "time": unet.get("time_embedding_type", "positional"),
        "time_size": unet.get("time_embedding_dim"),
        "time_flip": unet.get("flip_sin_to_cos", True),
        "time_shift": float(unet.get("freq_shift", 0)),
        "steps": unet.get("num_train_timesteps") or 1000,
        "center": unet.get("center_input_sample", False),
    }


def _one(names: Mapping[str, str], given: str) -> str:
    if given not in names:
        raise IntegrityError(f"{given!r} is not among what converts: {', '.join(names)}.")
    return names[given]


def _refuse(config: Mapping[str, Any], key: str, *allowed: Any) -> None:
    """Raise where a key is there with a value that has no counterpart."""
    if key in config and config[key] not in allowed:
        raise IntegrityError(f"{key} = {config[key]!r} has no counterpart; known: {allowed}.")
