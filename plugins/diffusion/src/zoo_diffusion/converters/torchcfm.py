"""U-Nets of torchcfm (Tong et al., 2024), https://github.com/atong01/conditional-flow-matching.

They are copies of guided-diffusion's and give the velocity from noise to data; their time 1 is the
data. The last layer is negated, so that the output is eps - x_0.
"""

from dataclasses import dataclass
from typing import Annotated

from zoo_core.plugin import Converted, Foreign, Range, nested_state
from zoo_diffusion.converters.guided import MARKS, guided_unet

__all__ = ["FromTorchCFM"]


@dataclass(frozen=True)
class FromTorchCFM:
    """To `flow_matching`: images of `levels` quantization levels and height and width `size`.

    `head` is the channels of an attention head, or `heads` their number; `key` names the network
    among several, by default the moving average.
    """

    size: Annotated[int, Range(1, 65536)] = 32
    levels: int = 256
    head: Annotated[int, Range(1, 65536)] | None = None
    heads: Annotated[int, Range(1, 65536)] | None = None
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    key: str | None = None

    def __call__(self, foreign: Foreign) -> Converted:
        nested = nested_state(foreign, MARKS, "U-Net of torchcfm", key=self.key)
        network, tensors = guided_unet(nested.tensors, head=self.head, heads=self.heads)
        for name in ("conv_out.weight", "conv_out.bias"):
            tensors[name] = -tensors[name]
        options = {
            "shape": (tensors["conv_in.weight"].shape[1], self.size, self.size),
            "levels": self.levels,
            "network": network | {"dropout": self.dropout},
            "time_scale": 1.0,
            "data_at_one": True,
        }
        own = {f"network.{name}": tensor for name, tensor in tensors.items()}
        return Converted(options, own, nested.remarks)
