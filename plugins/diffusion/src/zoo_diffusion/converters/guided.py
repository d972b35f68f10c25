"""U-Nets of guided-diffusion (Dhariwal & Nichol, 2021), of which torchcfm's are copies.

https://github.com/openai/guided-diffusion. Its files are state dicts without a config: names and
shapes say how many resolutions, blocks and channels there are, where attention is and how it is
resampled. They do not say the size of images, how channels divide into heads, nor the order of
`qkv`: head by head, or (`new_attention_order`) all queries first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from torch import Tensor

from zoo_core.plugin import Converted, Foreign, IntegrityError, Range, nested_state, renamed

__all__ = ["FromGuided", "Structure", "guided_unet"]

MARKS = ("input_blocks.0.0.weight", "out.2.weight")
_GROUPS = 32
_RESNET = {
    r"in_layers\.0": "norm1",
    r"in_layers\.2": "conv1",
    r"emb_layers\.1": "time_emb_proj",
    r"out_layers\.0": "norm2",
    r"out_layers\.3": "conv2",
    r"skip_connection": "conv_shortcut",
}
_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": r"to_out.0",
}


@dataclass(frozen=True)
class FromGuided:
    """To `ddpm`: images of `levels` quantization levels and height and width `size`.

    `head` is the channels of an attention head, or `heads` their number; `betas` is the schedule
    of T = `timesteps` steps. `key` names the network among several, e.g. `ema_model`.
    """

    size: Annotated[int, Range(1, 65536)]
    levels: int = 256
    head: Annotated[int, Range(1, 65536)] | None = None
    heads: Annotated[int, Range(1, 65536)] | None = None
    new_attention_order: bool = False
    betas: Literal["linear", "cosine"] = "linear"
    timesteps: Annotated[int, Range(1, 1 << 20)] = 1000
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    key: str | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        nested = nested_state(foreign, MARKS, "U-Net of guided-diffusion", key=self.key)
        network, tensors = guided_unet(
            nested.tensors,
            head=self.head,
            heads=self.heads,
            new_attention_order=self.new_attention_order,
        )
        channels, outputs = tensors["conv_in.weight"].shape[1], tensors["conv_out.weight"].shape[0]
        if outputs not in (channels, 2 * channels):
            raise IntegrityError(
                f"a network of {channels} channels has {outputs} outputs; a denoiser has as many, "
                "or twice as many with a learned variance."
            )
        table = tensors.get("class_embedding.weight")
        options = {
            "shape": (channels, self.size, self.size),
            "levels": self.levels,
            "classes": None if table is None else len(table),
            "optional": False,
            "network": network | {"dropout": self.dropout},
            "timesteps": self.timesteps,
            "betas": self.betas,
            "variance": "learned" if outputs == 2 * channels else "small",
        }
        own = {f"network.{name}": tensor for name, tensor in tensors.items()}
        return Converted(options, own, nested.remarks)


@dataclass(frozen=True)
class Structure:
    """What names and shapes say of a network: a value a resolution, from the finest."""

    channels: tuple[int, ...]
    attends: tuple[bool, ...]
    blocks: int
    by_resnet: bool

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Structure":
        """Read from the tensors; the first output block that resamples gives the blocks."""
        count = 1 + max(int(n.split(".")[1]) for n in tensors if n.startswith("output_blocks."))
        ups = r"output_blocks\.(\d+)\.[12]\.(conv\.weight|in_layers\.0\.weight)"
        resampling = [m for n in tensors if (m := re.fullmatch(ups, n))]
        blocks = min((int(m[1]) for m in resampling), default=count - 1)
        firsts = [f"input_blocks.{1 + i * (blocks + 1)}" for i in range(count // (blocks + 1))]
        return cls(
            tuple(tensors[f"{first}.0.out_layers.3.weight"].shape[0] for first in firsts),
            tuple(f"{first}.1.qkv.weight" in tensors for first in firsts),
            blocks,
            any(m[2].startswith("in_layers") for m in resampling),
        )


def guided_unet(
    tensors: Mapping[str, Tensor],
    *,
    head: int | None = None,
    heads: int | None = None,
    new_attention_order: bool = False,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The options of UNetConfig and the tensors under our names.

    Raises `IntegrityError` for names that do not map, and if there is attention and neither `head`
    nor `heads` is given.
    """
    s = Structure.of(tensors)
    if (head is None) == (heads is None):
        raise IntegrityError(
            f"head = {head} and heads = {heads}; the checkpoint does not say how channels divide "
            "into heads.",
            hint="give one of them, from the flags of the training: num_head_channels (head) or "
            "num_heads (heads)",
        )
    resampling = "resnet" if s.by_resnet else "conv"
    scales = tensors["middle_block.0.emb_layers.1.weight"].shape[0]
    plain = "resnet" if s.by_resnet else "plain"
    options = {
        "type": "unet",
        "channels": s.channels,
        "down": tuple("attention" if attends else plain for attends in s.attends),
        "layers": s.blocks,
        "groups": _GROUPS,
        "eps": 1e-5,
        "head": head,
        "heads": heads,
        "scale_shift": scales == 2 * s.channels[-1],
        "middle_groups": _GROUPS,
        "downsample": resampling,
        "upsample": resampling,
        "time_size": tensors["time_embed.0.weight"].shape[0],
        "time_features": tensors["time_embed.0.weight"].shape[1],
        "time_flip": True,
        "time_shift": 0.0,
    }
    split = _split(tensors, head, heads, new_attention_order=new_attention_order)
    return options, renamed(split, _rules(s))


def _split(
    tensors: Mapping[str, Tensor],
    head: int | None,
    heads: int | None,
    *,
    new_attention_order: bool,
) -> dict[str, Tensor]:
    """`qkv` as `q`, `k` and `v`, and convolutions of attention as matrices."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, what = name.rpartition(".")
        matrix = tensor.flatten(1) if tensor.ndim == 3 else tensor
        if not layer.endswith(".qkv"):
            found[name] = matrix
            continue
        C = len(matrix) // 3
        per = C if new_attention_order else (head or C // (heads or 1))
        rows = matrix.unflatten(0, (C // per, 3, per))
        for i, part in enumerate("qkv"):
            found[f"{layer[:-3]}{part}.{what}"] = rows[:, i].flatten(0, 1)
    return found


def _rules(s: Structure) -> dict[str, str]:
    """From the names of `input_blocks`, `middle_block` and `output_blocks` to ours."""
    resnets = {rf"middle_block\.{i}": f"mid_block.resnets.{i // 2}" for i in (0, 2)}
    attentions = {r"middle_block\.1": "mid_block.attentions.0"}
    others = {
        r"time_embed\.0": "time_embedding.linear_1",
        r"time_embed\.2": "time_embedding.linear_2",
        r"label_emb": "class_embedding",
        r"input_blocks\.0\.0": "conv_in",
        r"out\.0": "conv_norm_out",
        r"out\.2": "conv_out",
    }
    step = s.blocks + 1
    for i in range(len(s.channels)):
        for j in range(step):
            down, up = rf"input_blocks\.{1 + i * step + j}", rf"output_blocks\.{i * step + j}"
            if j < s.blocks:
                resnets[rf"{down}\.0"] = f"down_blocks.{i}.resnets.{j}"
                attentions[rf"{down}\.1"] = f"down_blocks.{i}.attentions.{j}"
            elif s.by_resnet:
                resnets[rf"{down}\.0"] = f"down_blocks.{i}.downsamplers.0"
            else:
                others[rf"{down}\.0\.op"] = f"down_blocks.{i}.downsamplers.0.conv"
            resnets[rf"{up}\.0"] = f"up_blocks.{i}.resnets.{j}"
            attentions[rf"{up}\.1"] = f"up_blocks.{i}.attentions.{j}"
        resnets[rf"{up}\.[12]"] = f"up_blocks.{i}.upsamplers.0"
        others[rf"{up}\.[12]\.conv"] = f"up_blocks.{i}.upsamplers.0.conv"
    places = others | _within(resnets, _RESNET) | _within(attentions, _ATTENTION)
    return {rf"{place}\.(weight|bias)": rf"{ours}.\1" for place, ours in places.items()}


def _within(blocks: Mapping[str, str], layers: Mapping[str, str]) -> dict[str, str]:
    return {
        rf"{block}\.{layer}": f"{place}.{ours}"
        for block, place in blocks.items()
        for layer, ours in layers.items()
    }
