"""Put tensors into a module one by one, so that memory holds the model and one tensor more.

Files are mapped into memory, and each tensor is read when its turn comes, straight to the device
and in the type that was asked for. A module that is built only to be filled need not draw its
parameters first: `undrawn` leaves large ones as the system gives them, which costs no memory until
they are written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["HERE", "Place", "assign", "undrawn"]

_LARGE = 1 << 18
"""Elements of a parameter that is worth not being drawn."""


@dataclass(frozen=True)
class Place:
    """The device of a loaded model, and its floating-point type; None: as it was saved."""

    device: torch.device | str = "cpu"
    dtype: torch.dtype | None = None

    def settle(self, module: nn.Module, stored: torch.dtype | None = None) -> None:
        """Move what `assign` has not put here, such as buffers that no file holds."""
        module.to(device=self.device, dtype=self.dtype or stored)

    def put(self, value: Tensor, like: Tensor, stored: torch.dtype | None) -> Tensor:
        """A copy of a tensor here, laid out in memory as a module's tensor `like` it.

        Reals go through the type `stored` of the saved model, so that its numbers are those that
        it had.
        """
        dtype = like.dtype
        if like.is_floating_point():
            value = value.to(stored or dtype)
            dtype = self.dtype or value.dtype
        return torch.empty_like(like, device=self.device, dtype=dtype).copy_(value)


HERE = Place()
"""The processor, and the type of the saved model."""


class undrawn(TorchFunctionMode):  # noqa: N801 - used as a context
    """Inside the block `torch.nn.init` leaves large parameters as they are."""

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__module__", None) == "torch.nn.init":
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, nn.Parameter) and tensor.numel() >= _LARGE:
                return tensor
        return func(*args, **kwargs)


def assign(
    module: nn.Module,
    tensors: Iterable[tuple[str, Tensor]],
    place: Place,
    stored: torch.dtype | None = None,
) -> None:
    """Give a module's parameters and buffers new values by name.

    State that is neither, by hooks of a module, is set by its `load_state_dict`.
    """
    own: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    own |= dict(module.named_buffers(remove_duplicate=False))
    others = {}
    for name, value in tensors:
        if name in own:
            own[name].data = place.put(value, own[name], stored)
        else:
            others[name] = value
    if others:
        module.load_state_dict(others, strict=False)
