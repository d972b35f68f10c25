"""Checkpoints of diffusers: UNet2DModel with a DDPM or DDIM scheduler, NCSN++ and consistency
models with theirs.

Both layouts are read: the network at the root of a repository, or in `unet/` with the scheduler
beside it. Tensor names are the same as ours, except older names in attention.

Every key of both configs is read (`ForeignConfig`). A scheduler has two kinds of keys. Those of
the chain (betas, prediction, variance) become options of the model or are refused. Those of
sampling (clipping, spacing) are options of our samplers; they are reported where they differ from
diffusers' defaults.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from torch import Tensor

from zoo_core.plugin import Converted, Foreign, ForeignConfig, IntegrityError, Range

__all__ = [
    "FromConsistency",
    "FromDDPM",
    "FromNCSN",
    "chain_options",
    "read_network",
    "read_scheduler",
]

_BLOCK_TYPES = {
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
    "KDownBlock2D": "k",
    "KUpBlock2D": "k",
}
"""Block types of UNet2DModel; its others need text, or return what it does not take."""
_PREFIX = "UNetRes"
"""An old prefix of block types, which diffusers ignores."""
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "mish": "mish", "gelu": "gelu", "relu": "relu"}
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
_VARIANCES = {
    "fixed_small": "small",
    "fixed_small_log": "small",
    "fixed_large": "large",
    "fixed_large_log": "large",
    "learned_range": "learned",
}
_LABELS = {None: "table", "timestep": "time"}
_TIMES = {"positional": "positional", "fourier": "fourier", "learned": "learned"}
_RESAMPLING = {"conv": "conv", "resnet": "resnet", None: "conv"}
_MIDDLE = "UNetMidBlock2D"
_FOLDERS = ("", "unet")
_NETWORKS = ("UNet2DModel", "UNetUnconditionalModel")
_CHAINS = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler")
_HARMLESS = ("tensor_format", "timestep_values")
"""Keys of schedulers before diffusers 0.4 that have no effect: the array library, saved times."""
_SAMPLING = {
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "steps_offset": 0,
}
"""Keys of how a chain's scheduler samples, with diffusers' defaults, which are not reported."""
_SET_ALPHA_TO_ONE = {"DDIMScheduler": True, "PNDMScheduler": False}
"""Defaults of the schedulers for `set_alpha_to_one`."""
_NCSN_SAMPLING = {
    "snr": 0.15,
    "sampling_eps": 1e-5,
    "correct_steps": 1,
    "num_train_timesteps": 2000,
}
_CONSISTENCY_SAMPLING = {"num_train_timesteps": 40, "s_noise": 1.0, "clip_denoised": True}
_CONSISTENCY = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "rho": 7.0}
"""Keys of the scheduler of consistency models that are options of ours, with its defaults."""


@dataclass(frozen=True)
class FromDDPM:
    """To `ddpm`: images of `levels` quantization levels.

    Without a scheduler's config, diffusers' defaults apply. `size` is the height and width of the
    images and `classes` the number of classes, for networks whose config leaves them open.
    """

    levels: int = 256
    size: Annotated[int, Range(1, 65536)] | None = None
    classes: Annotated[int, Range(1, 1 << 20)] | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        unet, tensors = _unet(foreign)
        scheduler = read_scheduler(foreign)
        chain = chain_options(scheduler)
        options = {
            "shape": _shape(unet, self.size, learned=chain["variance"] == "learned"),
            "levels": self.levels,
            "classes": _classes(unet, self.classes),
            "optional": False,
            "network": _network(unet),
            **chain,
        }
        remarks = (*unet.finish(), *scheduler.finish())
        return Converted(options, {f"network.{k}": v for k, v in tensors.items()}, remarks)


@dataclass(frozen=True)
class FromNCSN:
    """To `ve_sde`: images of `levels` quantization levels. `size` is that of `FromDDPM`."""

    levels: int = 256
    size: Annotated[int, Range(1, 65536)] | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        unet, tensors = _unet(foreign)
        scheduler = read_scheduler(foreign, ("ScoreSdeVeScheduler",))
        unet.only("num_class_embeds", None)
        options = {
            "shape": _shape(unet, self.size),
            "levels": self.levels,
            "network": _network(unet),
            "sigma_min": scheduler.get("sigma_min", 0.01),
            "sigma_max": scheduler.get("sigma_max", 1348.0),
        }
        for key, theirs in _NCSN_SAMPLING.items():
            scheduler.said(key, theirs)
        remarks = (*unet.finish(), *scheduler.finish())
        return Converted(options, {f"network.{k}": v for k, v in tensors.items()}, remarks)


@dataclass(frozen=True)
class FromConsistency:
    """To `consistency`: images of `levels` quantization levels. `size` is that of `FromDDPM`."""

    levels: int = 256
    size: Annotated[int, Range(1, 65536)] | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        unet, tensors = _unet(foreign)
        scheduler = read_scheduler(foreign, ("CMStochasticIterativeScheduler",))
        options = {
            "shape": _shape(unet, self.size),
            "levels": self.levels,
            "classes": _classes(unet, None),
            "network": _network(unet),
            **{key: float(scheduler.get(key, theirs)) for key, theirs in _CONSISTENCY.items()},
        }
        for key, sampled in _CONSISTENCY_SAMPLING.items():
            scheduler.said(key, sampled)
        remarks = (*unet.finish(), *scheduler.finish())
        return Converted(options, {f"network.{k}": v for k, v in tensors.items()}, remarks)


def _unet(foreign: Foreign) -> tuple[ForeignConfig, dict[str, Tensor]]:
    """The U-Net's config and its tensors under our names."""
    config, tensors = read_network(foreign, _NETWORKS, _FOLDERS)
    return config, {_current(k): v for k, v in tensors.items()}


def read_network(
    foreign: Foreign, known: tuple[str, ...], folders: tuple[str, ...]
) -> tuple[ForeignConfig, dict[str, Tensor]]:
    """The config and the tensors of a network of one of the classes `known`."""
    for folder in folders:
        path = f"{folder}/config.json".lstrip("/")
        if path not in foreign.configs or folder not in foreign.tensors:
            continue
        _refuse_others(foreign, folder)
        config = ForeignConfig(foreign.configs[path], path)
        _check_class(config, "network", known)
        return config, dict(foreign.tensors[folder])
    raise IntegrityError(
        f"no config.json with weights beside it, at the root or in {folders[-1]}/.",
        hint=f"there are {', '.join(sorted(foreign.configs)) or 'no JSON files'}",
    )


def _refuse_others(foreign: Foreign, folder: str) -> None:
    """Refuse a network beside others: it belongs to a larger model, such as latent diffusion."""
    if others := sorted(foreign.tensors.keys() - {folder}):
        names = ", ".join(f"{name or '.'}/" for name in others)
        raise IntegrityError(f"{names} hold weights too; this converter reads a single network.")


def _check_class(config: ForeignConfig, what: str, known: tuple[str, ...]) -> str:
    name = config.get("_class_name", None)
    if name not in known:
        raise IntegrityError(f"the {what} is a {name}; this converter reads {', '.join(known)}.")
    return str(name)


def _current(name: str) -> str:
    """The present name of a tensor; attention's names changed in diffusers 0.15."""
    return re.sub(
        r"(attentions\.\d+)\.(query|key|value|proj_attn)\.",
        lambda m: f"{m[1]}.{_OLD_NAMES[m[2]]}.",
        name,
    )


def read_scheduler(foreign: Foreign, known: tuple[str, ...] = _CHAINS) -> ForeignConfig:
    paths = ("scheduler_config.json", "scheduler/scheduler_config.json")
    path = next((p for p in paths if p in foreign.configs), None)
    if path is None:
        return ForeignConfig({"_class_name": known[0]}, "(no scheduler_config.json)")
    config = ForeignConfig(foreign.configs[path], path, harmless=_HARMLESS)
    _check_class(config, "scheduler", known)
    return config


def chain_options(scheduler: ForeignConfig) -> dict[str, Any]:
    """The options of `ddpm` other than the event and the network."""
    kind = scheduler.get("_class_name", None)
    scheduler.only("trained_betas", None)
    for key, theirs in _SAMPLING.items():
        scheduler.said(key, theirs)
    if kind in _SET_ALPHA_TO_ONE:
        scheduler.said("set_alpha_to_one", _SET_ALPHA_TO_ONE[kind])
    if kind == "PNDMScheduler":
        scheduler.said("skip_prk_steps", False)
    return {
        "timesteps": scheduler.get("num_train_timesteps", 1000),
        "prediction": scheduler.one("prediction_type", _PREDICTIONS, "epsilon"),
        "betas": scheduler.one("beta_schedule", _BETAS, "linear"),
        "beta_first": scheduler.get("beta_start", 1e-4),
        "beta_last": scheduler.get("beta_end", 0.02),
        "zero_snr": scheduler.get("rescale_betas_zero_snr", False),
        "variance": scheduler.one("variance_type", {**_VARIANCES, None: "small"}, "fixed_small"),
    }


def _shape(
    unet: ForeignConfig, size: int | None, *, learned: bool = False
) -> tuple[int, int, int]:
    channels, outputs = unet.get("in_channels", 3), unet.get("out_channels", 3)
    if outputs != channels * (2 if learned else 1):
        raise IntegrityError(
            f"in_channels = {channels} and out_channels = {outputs}; the network of a denoiser "
            "has as many outputs as inputs, or twice as many if its variance is learned "
            "(variance_type = learned_range)."
        )
    side = unet.get("sample_size", None)
    side = size if size is not None and side is None else side
    sides = (side, side) if isinstance(side, int) else tuple(side or ())
    if len(sides) != 2 or not all(type(s) is int for s in sides):
        raise IntegrityError(
            f"sample_size = {side!r} does not give the size of the images.",
            hint="give it as an option of the converter: --set size=32",
        )
    return channels, *sides


def _classes(unet: ForeignConfig, classes: int | None) -> int | None:
    """The number of classes; embedded as times are, they need no table that says how many."""
    known = unet.get("num_class_embeds", None)
    if unet.one("class_embed_type", _LABELS, None) == "table":
        return known  # type: ignore[no-any-return]
    if known is None and classes is None:
        raise IntegrityError(
            "class_embed_type = 'timestep' embeds classes as it does times, and num_class_embeds "
            "does not say how many there are.",
            hint="give it as an option of the converter: --set classes=10",
        )
    return known or classes


def _network(unet: ForeignConfig) -> dict[str, Any]:
    """The options of UNetConfig, with diffusers' defaults for absent keys."""
    down, up = ("DownBlock2D", *("AttnDownBlock2D",) * 3), (*("AttnUpBlock2D",) * 3, "UpBlock2D")
    scale_shift = {"default": False, "scale_shift": True}
    return {
        "type": "unet",
        "channels": tuple(unet.get("block_out_channels", (224, 448, 672, 896))),
        "down": _block_types(unet, "down_block_types", down),
        "up": _block_types(unet, "up_block_types", up),
        "layers": unet.get("layers_per_block", 2),
        "groups": unet.get("norm_num_groups", 32, optional=True),
        "eps": unet.get("norm_eps", 1e-5),
        "head": unet.get("attention_head_dim", 8, optional=True),
        "activation": unet.one("act_fn", _ACTIVATIONS, "silu"),
        "labels": unet.one("class_embed_type", _LABELS, None),
        "dropout": unet.get("dropout", 0.0),
        "scale_shift": unet.one("resnet_time_scale_shift", scale_shift, "default"),
        "middle": unet.one("mid_block_type", {_MIDDLE: True, None: False}, _MIDDLE),
        "middle_attention": unet.get("add_attention", True),
        "middle_groups": unet.get("attn_norm_num_groups", None),
        "middle_scale": float(unet.get("mid_block_scale_factor", 1.0)),
        "downsample": unet.one("downsample_type", _RESAMPLING, "conv"),
        "upsample": unet.one("upsample_type", _RESAMPLING, "conv"),
        "downsample_padding": unet.one("downsample_padding", {0: 0, 1: 1}, 1),
        "time": unet.one("time_embedding_type", _TIMES, "positional"),
        "time_size": unet.get("time_embedding_dim", None),
        "time_flip": unet.get("flip_sin_to_cos", True),
        "time_shift": float(unet.get("freq_shift", 0.0)),
        "steps": unet.get("num_train_timesteps", 1000, optional=True) or 1000,
        "center": unet.get("center_input_sample", False),
    }


def _block_types(unet: ForeignConfig, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    kinds = unet.get(key, default)
    for kind in kinds:
        if not isinstance(kind, str) or kind.removeprefix(_PREFIX) not in _BLOCK_TYPES:
            raise IntegrityError(
                f"{key}: {kind!r} cannot be converted; these can: {', '.join(_BLOCK_TYPES)}."
            )
    return tuple(_BLOCK_TYPES[kind.removeprefix(_PREFIX)] for kind in kinds)
