"""Checkpoints of EDM (Karras et al., 2022): a preconditioned SongUNet, DDPM++ or NCSN++.

https://github.com/NVlabs/edm publishes pickles of whole modules, which the reader of pickles gives
as tensors and the arguments of the outermost module: the preconditioning and its network. Names
carry the height of a resolution (`enc.16x16_block0`), ours its place.

The query, key and value of a channel are next to each other in the rows of `qkv`. A class enters
as sqrt(L) W one_hot(y) + b, so that the rows of our table are sqrt(L) W[:, y] + b, and b for none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.plugin import (
    Converted,
    Foreign,
    ForeignConfig,
    IntegrityError,
    nested_state,
    renamed,
)
from zoo_diffusion.preconditioning import vp_sigma

__all__ = ["FromEDM"]

_PRECONDITIONINGS = {"EDMPrecond": "edm", "VPPrecond": "vp", "VEPrecond": "ve"}
_RANGES = {"edm": (0.002, 80.0), "vp": (vp_sigma(1e-5), vp_sigma(1.0)), "ve": (0.02, 100.0)}
"""Smallest and largest sigma of each, as EDM's sampler takes them."""
_VP = {"beta_d": 19.9, "beta_min": 0.1, "M": 1000, "epsilon_t": 1e-5}
_HARMLESS = ("use_fp16", "label_dropout")
"""How it was computed, and trained."""
_FILTERS = {(1, 1): "box", (1, 3, 3, 1): "fir"}
_NETWORK = "model"
_LAYERS = {
    "norm0": "resnet.norm1",
    "conv0": "resnet.conv1",
    "affine": "resnet.time_emb_proj",
    "norm1": "resnet.norm2",
    "conv1": "resnet.conv2",
    "skip": "resnet.conv_shortcut",
    "norm2": "attention.group_norm",
    "q": "attention.to_q",
    "k": "attention.to_k",
    "v": "attention.to_v",
    "proj": "attention.to_out.0",
}


@dataclass(frozen=True)
class FromEDM:
    """To `edm`: images of `levels` quantization levels.

    `key` names the network among several of a checkpoint, e.g. `ema`.
    """

    levels: int = 256
    key: str | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        nested = nested_state(
            foreign, (f"{_NETWORK}.map_layer0.weight",), "network of EDM", key=self.key
        )
        module, config = _arguments(foreign, nested.prefix)
        network = _network(config)
        options = _options(module, config) | {"levels": self.levels, "network": network}
        config.finish()
        shape = options["shape"]
        tensors = _tensors(nested.tensors, network, shape[1])
        return Converted(options, {f"network.{k}": v for k, v in tensors.items()}, nested.remarks)


def _arguments(foreign: Foreign, prefix: str) -> tuple[str, ForeignConfig]:
    """The preconditioning, and the arguments that a module of the pickle was made with."""
    for path, modules in foreign.configs.items():
        made = modules.get(prefix) if isinstance(modules, Mapping) else None
        if made is None:
            continue
        if made["class"] not in _PRECONDITIONINGS or made.get("positional"):
            raise IntegrityError(
                f"{prefix} is a {made['class']}; this converter reads "
                f"{', '.join(_PRECONDITIONINGS)}, made with arguments by name."
            )
        arguments = ForeignConfig(made["arguments"], f"{path}: {prefix}", harmless=_HARMLESS)
        return _PRECONDITIONINGS[made["class"]], arguments
    raise IntegrityError(
        f"nothing says what {prefix or 'the network'} was made with.",
        hint="convert the pickle itself: it holds the arguments",
    )


def _options(kind: str, config: ForeignConfig) -> dict[str, Any]:
    """The options of EDMConfig but for levels and network."""
    low, high = _RANGES[kind]
    if kind != "vp":
        low = max(low, config.get("sigma_min", 0.0))
        high = min(high, config.get("sigma_max", high))
    for name, value in (_VP if kind == "vp" else {}).items():
        config.only(name, value)
    side = config.get("img_resolution", 32)
    return {
        "shape": (config.get("img_channels", 3), side, side),
        "classes": config.get("label_dim", 0) or None,
        "preconditioning": kind,
        "time_scale": 1.0,
        "sigma_min": float(low),
        "sigma_max": float(high),
        "sigma_data": float(config.get("sigma_data", 0.5)) if kind == "edm" else 0.5,
    }


def _network(config: ForeignConfig) -> dict[str, Any]:
    """The options of SongUNetConfig, with EDM's defaults for absent keys."""
    config.only("model_type", "SongUNet")
    config.only("decoder_type", "standard")
    filter_ = tuple(config.get("resample_filter", (1, 1)))
    if filter_ not in _FILTERS:
        raise IntegrityError(
            f"resample_filter = {filter_}; known: {', '.join(map(str, _FILTERS))}."
        )
    return {
        "type": "song_unet",
        "width": config.get("model_channels", 128),
        "multipliers": tuple(config.get("channel_mult", (1, 2, 2, 2))),
        "blocks": config.get("num_blocks", 4),
        "attention": tuple(config.get("attn_resolutions", (16,))),
        "dropout": float(config.get("dropout", 0.1)),
        "embedding": config.one(
            "embedding_type", {"positional": "positional", "fourier": "fourier"}, "positional"
        ),
        "noise_multiplier": config.get("channel_mult_noise", 1),
        "embedding_multiplier": config.get("channel_mult_emb", 4),
        "encoder": config.one(
            "encoder_type", {"standard": "standard", "residual": "residual"}, "standard"
        ),
        "filter": _FILTERS[filter_],
        "augment": config.get("augment_dim", 0),
    }


def _tensors(
    theirs: Mapping[str, Tensor], network: Mapping[str, Any], height: int
) -> dict[str, Tensor]:
    """The network's tensors under our names."""
    own = {
        name.removeprefix(f"{_NETWORK}."): tensor
        for name, tensor in theirs.items()
        if not name.endswith(".resample_filter")
    }
    table = _class_table(own)
    depth = len(network["multipliers"])
    return renamed(_split(own), _rules([height >> i for i in range(depth)])) | table


def _class_table(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The rows of all classes and of none; takes the linear map out of `tensors`."""
    weight = tensors.pop("map_label.weight", None)
    if weight is None:
        return {}
    bias = tensors.pop("map_label.bias")
    rows = weight.T * weight.shape[1] ** 0.5
    return {"class_embedding.weight": torch.cat((rows, torch.zeros_like(rows[:1]))) + bias}


def _split(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`qkv` as `q`, `k` and `v`, and 1 x 1 convolutions of attention as matrices."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, what = name.rpartition(".")
        if layer.endswith(".qkv"):
            rows = tensor.flatten(1) if what == "weight" else tensor
            found |= {f"{layer[:-3]}{part}.{what}": rows[i::3] for i, part in enumerate("qkv")}
        elif layer.endswith(".proj") and what == "weight":
            found[name] = tensor.flatten(1)
        else:
            found[name] = tensor
    return found


def _rules(heights: list[int]) -> dict[str, str]:
    """From the names of `enc` and `dec` to ours, for `renamed`."""
    parts = {
        r"map_noise\.freqs": "time_proj.weight",
        r"map_augment\.weight": "augment.weight",
        r"map_layer0\.(weight|bias)": r"time_embedding.linear_1.\1",
        r"map_layer1\.(weight|bias)": r"time_embedding.linear_2.\1",
    }
    finest, coarsest = f"{heights[0]}x{heights[0]}", f"{heights[-1]}x{heights[-1]}"
    parts |= {
        rf"enc\.{finest}_conv\.(weight|bias)": r"conv_in.\1",
        rf"dec\.{finest}_aux_norm\.(weight|bias)": r"conv_norm_out.\1",
        rf"dec\.{finest}_aux_conv\.(weight|bias)": r"conv_out.\1",
    }
    blocks = {rf"dec\.{coarsest}_in(?P<i>\d+)": r"mid_block.blocks.\g<i>"}
    for i, h in enumerate(heights):
        down, up = f"down_blocks.{i}", f"up_blocks.{len(heights) - 1 - i}"
        parts[rf"enc\.{h}x{h}_aux_residual\.(weight|bias)"] = rf"{down}.residual.conv.\1"
        blocks |= {
            rf"enc\.{h}x{h}_down": f"{down}.down",
            rf"enc\.{h}x{h}_block(?P<i>\d+)": rf"{down}.blocks.\g<i>",
            rf"dec\.{h}x{h}_up": f"{up}.up",
            rf"dec\.{h}x{h}_block(?P<i>\d+)": rf"{up}.blocks.\g<i>",
        }
    return parts | {
        rf"{block}\.{layer}\.(?P<what>weight|bias)": rf"{place}.{ours}.\g<what>"
        for block, place in blocks.items()
        for layer, ours in _LAYERS.items()
    }
