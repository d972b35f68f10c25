"""The processes of one training: which rows are whose, and what they agree on.

Started by `accelerate launch --no_python zoo train ...` (`-m zoo_core` works too, but runs what
shadows a module in the current folder). Each process takes its slice of every batch and the
gradients are averaged before each optimizer step, player by player. (A wrapper such as DDP ties
the averaging to one forward pass of one module, which players and losses that call other methods
of the model do not have.)
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError

__all__ = ["Processes"]


class Processes:
    """This process among its `world`; alone, every method is the identity."""

    def __init__(self, device: torch.device) -> None:
        from accelerate import PartialState  # type: ignore[import-untyped]

        # while the main process scores or saves, the others wait
        state = PartialState(cpu=device.type == "cpu", timeout=timedelta(days=1))
        self._state = state
        self.rank: int = state.process_index
        self.world: int = state.num_processes
        self.device: torch.device = state.device if self.world > 1 else device

    @property
    def main(self) -> bool:
        return self.rank == 0

    def mine(self, rows: Tensor) -> Tensor:
        """This process's slice of a batch's rows."""
        return rows[self.rank :: self.world]

    def wait(self) -> None:
        """Until everybody is here."""
        self._state.wait_for_everyone()

    def share(self, model: nn.Module) -> None:
        """Start everybody from the main process's parameters and buffers."""
        if self.world > 1:
            for tensor in model.state_dict().values():
                torch.distributed.broadcast(tensor, src=0)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over processes."""
        from accelerate.utils import reduce  # type: ignore[import-untyped]

        return reduce(values, "mean") if self.world > 1 else values

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its mean over processes, in one message.

        A parameter that no process has a gradient for keeps none, so optimizers skip it.
        """
        if self.world == 1:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        used = grads[0].new_tensor([float(p.grad is not None) for p in parameters])
        flat = self.mean(torch.cat([*(g.flatten() for g in grads), used]))
        *means, used = torch.split(flat, [*(g.numel() for g in grads), len(grads)])
        for p, g, u in zip(parameters, means, used.tolist(), strict=True):
            p.grad = g.view_as(p).clone() if u else None

    def agree(self, value: Any) -> Any:
        """The main process's value, for everybody."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0] if self.world > 1 else value


def check_launcher(precision: str) -> None:
    """Refuse a launcher's mixed precision that the config does not name."""
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", precision):
        raise UsageError(
            f"the launcher asks for mixed precision {launched!r}, the config for {precision!r}.",
            hint="accelerate launch --mixed_precision no ..., and train.precision = 'bf16' in "
            "the config",
        )
