"""Diffusion transformers: SiT and JiT in their own layout, DiT in that of diffusers.

https://github.com/willisma/SiT, https://github.com/LTH14/JiT. Their time 1 is the data, and SiT's
velocity goes there, so its last layer is negated; half of its outputs, a variance that was never
trained, are dropped. Names and shapes give the network, but not how channels divide into heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from zoo_core.plugin import (
    Converted,
    Foreign,
    IntegrityError,
    Range,
    image_positions,
    nested_state,
    renamed,
)
from zoo_diffusion.converters.diffusers import chain_options, read_network, read_scheduler
from zoo_diffusion.schedules import Linear, Trigonometric

__all__ = ["FromDiT", "FromJiT", "FromSiT"]

_HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16, 1280: 16}
"""Of the published sizes S, B, L, XL and H, by their width."""
_OURS = {
    r"t_embedder\.mlp\.0\.(\w+)": r"time.linear_1.\1",
    r"t_embedder\.mlp\.2\.(\w+)": r"time.linear_2.\1",
    r"y_embedder\.embedding_table\.weight": "label.weight",
    r"blocks\.(\d+)\.norm([12])\.weight": r"blocks.\1.norm_\2.weight",
    r"blocks\.(\d+)\.attn\.qkv\.(\w+)": r"blocks.\1.qkv.\2",
    r"blocks\.(\d+)\.attn\.proj\.(\w+)": r"blocks.\1.out.\2",
    r"blocks\.(\d+)\.attn\.([qk])_norm\.weight": r"blocks.\1.norm_\2.weight",
    r"blocks\.(\d+)\.mlp\.(?:fc1|w12)\.(\w+)": r"blocks.\1.up.\2",
    r"blocks\.(\d+)\.mlp\.(?:fc2|w3)\.(\w+)": r"blocks.\1.down.\2",
    r"blocks\.(\d+)\.adaLN_modulation\.1\.(\w+)": r"blocks.\1.modulation.\2",
    r"final_layer\.norm_final\.weight": "norm.weight",
    r"final_layer\.adaLN_modulation\.1\.(\w+)": r"modulation.\1",
    r"final_layer\.linear\.(\w+)": r"last.\1",
    r"x_embedder\.proj\.(\w+)": r"patches.\1",
    r"x_embedder\.proj1\.weight": "patches.0.weight",
    r"x_embedder\.proj2\.(\w+)": r"patches.1.\1",
    r"in_context_posemb": "label_positions",
    r"pos_embed": "positions",
}
_FROM_DIFFUSERS = {
    r"pos_embed\.proj\.(\w+)": r"patches.\1",
    r"time\.(linear_[12])\.(\w+)": r"time.\1.\2",
    r"label\.weight": "label.weight",
    r"transformer_blocks\.(\d+)\.norm1\.linear\.(\w+)": r"blocks.\1.modulation.\2",
    r"transformer_blocks\.(\d+)\.attn1\.qkv\.(\w+)": r"blocks.\1.qkv.\2",
    r"transformer_blocks\.(\d+)\.attn1\.to_out\.0\.(\w+)": r"blocks.\1.out.\2",
    r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj\.(\w+)": r"blocks.\1.up.\2",
    r"transformer_blocks\.(\d+)\.ff\.net\.2\.(\w+)": r"blocks.\1.down.\2",
    r"proj_out_1\.(\w+)": r"modulation.\1",
    r"proj_out_2\.(\w+)": r"last.\1",
}
_EMBEDDER = "transformer_blocks.0.norm1.emb."
_Heads = Annotated[int, Range(1, 1024)] | None


@dataclass(frozen=True)
class FromSiT:
    """To `flow_matching` over the latents that the network takes, which are reals.

    `path` is that of SiT's transport: `linear`, or `variance_preserving`, its "GVP", whose
    velocity has the rate pi / 2. `heads` is asked for with widths other than the published ones;
    `key` names the network among several, e.g. `ema`.
    """

    path: Literal["linear", "variance_preserving"] = "linear"
    heads: _Heads = None
    key: str | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        rate = Linear().rate if self.path == "linear" else Trigonometric().rate
        marks = ("x_embedder.proj.weight", "final_layer.linear.weight")
        nested = nested_state(foreign, marks, "SiT", key=self.key)
        state = dict(nested.tensors)
        channels, patch = state[marks[0]].shape[1:3]
        side = _positions(state) * patch
        for name in ("final_layer.linear.weight", "final_layer.linear.bias"):
            state[name] = -_first_channels(state[name], channels, patch) / rate
        network = _network(state, self.heads)
        options = _options(state, (channels, side, side), network) | {"path": self.path}
        return Converted(options, _own(state, _OURS), nested.remarks)


@dataclass(frozen=True)
class FromJiT:
    """To `flow_matching` that predicts x_0, over images of `levels` quantization levels.

    `label_layer` is where the label's tokens come in: 4 of base, 8 of large, 10 of huge.
    """

    label_layer: Annotated[int, Range(0, 255)]
    levels: int = 256
    key: str | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        marks = ("x_embedder.proj1.weight", "in_context_posemb")
        nested = nested_state(foreign, marks, "JiT", key=self.key)
        state = dict(nested.tensors)
        bottleneck, channels, patch, _ = state[marks[0]].shape
        side, width = _positions(state) * patch, state["x_embedder.proj2.weight"].shape[0]
        state["in_context_posemb"] = state["in_context_posemb"][0]
        network = _network(state, width // len(state["blocks.0.attn.q_norm.weight"])) | {
            "bottleneck": bottleneck,
            "norm": "rms",
            "activation": "swiglu",
            "rotary": True,
            "normalize_heads": True,
            "feedforward": state["blocks.0.mlp.w3.weight"].shape[1],
            "label_tokens": len(state["in_context_posemb"]),
            "label_layer": self.label_layer,
        }
        options = _options(state, (channels, side, side), network)
        options |= {"prediction": "x0", "levels": self.levels}
        return Converted(options, _own(state, _OURS), nested.remarks)


@dataclass(frozen=True)
class FromDiT:
    """To `ddpm` over the latents that diffusers' DiTTransformer2DModel takes, which are reals."""

    def __call__(self, foreign: Foreign) -> Converted:
        config, tensors = read_network(foreign, ("DiTTransformer2DModel",), ("", "transformer"))
        scheduler = read_scheduler(foreign)
        chain = chain_options(scheduler) | {"timesteps": config.get("num_embeds", 1000)}
        for key, value in (("activation_fn", "gelu-approximate"), ("norm_type", "ada_norm_zero")):
            config.only(key, value)
        state = _merged(tensors)
        patch, channels = config.get("patch_size", 2), config.get("in_channels", 4)
        heads = config.get("num_attention_heads", 16)
        outputs, side = len(state["proj_out_2.bias"]) // patch**2, config.get("sample_size", 32)
        network = {
            "type": "dit",
            "patch": patch,
            "hidden": heads * config.get("attention_head_dim", 72),
            "layers": config.get("num_layers", 28),
            "heads": heads,
            "dropout": config.get("dropout", 0.0),
            "time_shift": 1.0,
        }
        options = {
            "shape": (channels, side, side),
            "classes": len(state["label.weight"]) - 1,
            "network": network,
            **chain,
            "variance": "learned" if outputs == 2 * channels else chain["variance"],
        }
        return Converted(options, _own(state, _FROM_DIFFUSERS), ())


def _network(state: Mapping[str, Tensor], heads: int | None) -> dict[str, Any]:
    """The options of DiTConfig that names and shapes give."""
    first = state.get("x_embedder.proj.weight", state.get("x_embedder.proj1.weight"))
    assert first is not None  # a mark of either layout
    width = len(state["final_layer.adaLN_modulation.1.bias"]) // 2
    if heads is None and width not in _HEADS:
        raise IntegrityError(
            f"the width {width} is of no published size, so its heads are not known.",
            hint="give them: --set heads=6",
        )
    return {
        "type": "dit",
        "patch": first.shape[-1],
        "hidden": width,
        "layers": 1 + max(int(n.split(".")[1]) for n in state if n.startswith("blocks.")),
        "heads": heads or _HEADS[width],
        "positions": "learned" if "pos_embed" in state else "sinusoidal",
    }


def _options(
    state: Mapping[str, Tensor], shape: tuple[int, ...], network: dict[str, Any]
) -> dict[str, Any]:
    classes = len(state["y_embedder.embedding_table.weight"]) - 1  # the last is no class
    times = {"time_scale": 1.0, "data_at_one": True}
    return {"shape": shape, "classes": classes, "network": network, **times}


def _positions(state: dict[str, Tensor]) -> int:
    """The patches in a row of the images, which are square.

    Stored positions that are the computed ones are dropped; others become learned ones.
    """
    stored = state.pop("pos_embed")[0]
    side: int = round(len(stored) ** 0.5)
    if side**2 != len(stored):
        raise IntegrityError(
            f"pos_embed has {len(stored)} tokens, which are no square of patches."
        )
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    if not torch.allclose(stored, image_positions(places, stored.shape[1]), atol=1e-4):
        state["pos_embed"] = stored
    return side


def _first_channels(last: Tensor, channels: int, patch: int) -> Tensor:
    """The rows of a last layer (patch^2 outputs, ...) of the first channels of each pixel."""
    rows: Tensor = last.unflatten(0, (patch**2, -1))[:, :channels]
    return rows.flatten(0, 1)


def _merged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """q, k and v in one, and the embedders, of which every block has a copy, once."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".attn1.to_q." in name:
            parts = [tensors[name.replace("to_q", f"to_{k}")] for k in "qkv"]
            found[name.replace("to_q", "qkv")] = torch.cat(parts)
        elif name.startswith(_EMBEDDER):
            short = name.removeprefix(_EMBEDDER).replace("timestep_embedder", "time")
            found[short.replace("class_embedder.embedding_table", "label")] = tensor
        elif ".norm1.emb." not in name and ".attn1.to_k." not in name and ".to_v." not in name:
            found[name] = tensor
    return found


def _own(state: Mapping[str, Tensor], rules: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors under our names."""
    return {f"network.{k}": v for k, v in renamed(state, rules).items()}
