"""Checkpoints of ImageGPT in the layout of transformers: openai/imagegpt-small, -medium, -large.

`config.json` has the sizes and `preprocessor_config.json` the palette, as `clusters`. Linear maps
are stored (inputs, outputs). Old files also hold the attention's mask, which is left out.
"""

import re
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from zoo_core.plugin import Converted, Foreign, ForeignConfig, IntegrityError, renamed

__all__ = ["FromImageGPT"]

_RULES = {
    r"transformer\.wte\.weight": "network.embedding.weight",
    r"transformer\.wpe\.weight": "network.positions.weight",
    r"transformer\.h\.(\d+)\.ln_([12])\.weight": r"network.blocks.\1.norm_\2.weight",
    r"transformer\.h\.(\d+)\.attn\.c_attn\.(weight|bias)": r"network.blocks.\1.qkv.\2",
    r"transformer\.h\.(\d+)\.attn\.c_proj\.(weight|bias)": r"network.blocks.\1.out.\2",
    r"transformer\.h\.(\d+)\.mlp\.c_fc\.(weight|bias)": r"network.blocks.\1.feedforward.up.\2",
    r"transformer\.h\.(\d+)\.mlp\.c_proj\.(weight|bias)": r"network.blocks.\1.feedforward.down.\2",
    r"transformer\.ln_f\.weight": "network.norm.weight",
    r"lm_head\.weight": "network.head.weight",
}
_MASKS = re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)")
_TRANSPOSED = re.compile(r".*\.(c_attn|c_proj|c_fc)\.weight")
_HARMLESS = (
    *("architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "use_cache"),
    *("resid_pdrop", "embd_pdrop", "attn_pdrop", "initializer_range"),  # of training
    "reorder_and_upcast_attn",  # of half precision
)
_PREPROCESSING = (
    *("do_normalize", "do_resize", "size", "resample", "do_color_quantize"),
    *("feature_extractor_type", "image_processor_type"),
)


@dataclass(frozen=True)
class FromImageGPT:
    """Converter of `ImageGPTForCausalImageModeling`."""

    def __call__(self, foreign: Foreign) -> Converted:
        """The model and its palette; raises `IntegrityError` for what is not ImageGPT's."""
        tensors = {k: v for k, v in foreign.tensors.get("", {}).items() if not _MASKS.fullmatch(k)}
        stored = {k: v.T if _TRANSPOSED.fullmatch(k) else v for k, v in tensors.items()}
        options, remarks = _options(foreign.configs.get("config.json"))
        palette = _palette(foreign, options["colours"])
        return Converted(options, {**renamed(stored, _RULES), "palette": palette}, remarks)


def _options(config: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The options of our Config, from the keys of `config.json`."""
    read = ForeignConfig(config, "config.json", harmless=_HARMLESS)
    read.only("scale_attn_weights", True)
    read.only("scale_attn_by_inverse_layer_idx", False)
    read.only("tie_word_embeddings", False)
    network = {
        "type": "transformer",
        "hidden": read.get("n_embd", 512),
        "layers": read.get("n_layer", 24),
        "heads": read.get("n_head", 8),
        "feedforward": read.get("n_inner", None),
        "norm": "rms",
        "activation": read.one(
            "activation_function", {"quick_gelu": "quick_gelu", "gelu": "gelu"}, "quick_gelu"
        ),
        "epsilon": read.get("layer_norm_epsilon", 1e-5),
    }
    positions = read.get("n_positions", 1024)
    options = {
        "size": isqrt(positions),
        "colours": read.get("vocab_size", 513) - 1,  # one is the start token
        "network": network,
    }
    if options["size"] ** 2 != positions:
        raise IntegrityError(f"config.json: n_positions = {positions} is no square of a size.")
    return options, read.finish()


def _palette(foreign: Foreign, colours: int) -> Tensor:
    """The colours (K, 3), from -1 to 1."""
    path = "preprocessor_config.json"
    if path not in foreign.configs:
        raise IntegrityError(
            f"the checkpoint lacks {path}, which holds the palette.",
            hint="the events are numbers of its colours; take the file of the same repository",
        )
    read = ForeignConfig(foreign.configs[path], path, harmless=_PREPROCESSING)
    clusters = read.get("clusters", [])
    read.finish()
    try:
        palette = torch.tensor(clusters, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"{path}: clusters are no numbers ({error}).") from None
    if palette.shape != (colours, 3) or not bool(palette.abs().le(1).all()):
        raise IntegrityError(
            f"{path}: clusters have the shape {tuple(palette.shape)}; expected {colours} colours "
            "of 3 values from -1 to 1."
        )
    return palette
