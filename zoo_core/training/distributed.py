"""The processes of one training: which rows are whose, and what they agree on.

Started by `accelerate launch --no_python zoo train ...` (`-m zoo_core` works too, but runs what
shadows a module in the current folder). Each process takes its slice of every batch and the
gradients are averaged before each optimizer step, player by player. (A wrapper such as DDP ties
the averaging to one forward pass of one module, which players and losses that call other methods
of the model do not have.)

A launcher names itself by RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Those variables may also
be left over from something else, so a process says that it waits for others, and for minutes only.
"""

import logging
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError

__all__ = ["Processes"]

_logger = logging.getLogger(__name__)

_JOIN = timedelta(minutes=10)
"""How long the others may take to start."""
_WAIT = timedelta(days=1)
"""How long the others may be busy: while the main process scores or saves, they wait."""


class Processes:
    """This process among its `world`; alone, every method is the identity."""

    def __init__(self, device: torch.device) -> None:
        from accelerate import PartialState  # type: ignore[import-untyped]

        met = _meet(device)
        state = PartialState(cpu=device.type == "cpu", timeout=_WAIT, **met)
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


def _meet(device: torch.device) -> dict[str, Any]:
    """Where the processes of this training have met, for torch; nothing of one that is alone."""
    launched = device.type == "cpu" or "LOCAL_RANK" in os.environ
    world = os.environ.get("WORLD_SIZE", "1")
    if not launched or world == "1" or torch.distributed.is_initialized():
        return {}
    if missing := [v for v in ("RANK", "MASTER_ADDR", "MASTER_PORT") if v not in os.environ]:
        raise UsageError(
            f"WORLD_SIZE = {world} is set, but not {', '.join(missing)}, as a launcher does.",
            hint=_ALONE,
        )
    from torch.distributed.rendezvous import rendezvous

    rank = os.environ["RANK"]
    _logger.warning("process %s waits for %s in all (RANK, WORLD_SIZE are set)", rank, world)
    try:
        store, number, count = next(rendezvous("env://", timeout=_JOIN))
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"RANK = {rank} and WORLD_SIZE = {world} are set, but {world} processes did not meet "
            f"at {place} within {_JOIN} ({reason}).",
            hint=_ALONE,
        ) from None
    store.set_timeout(_WAIT)
    return {"store": store, "rank": number, "world_size": count}


_ALONE = (
    "unset RANK WORLD_SIZE to train in one process, or start all of them by "
    "accelerate launch --no_python zoo train ..."
)


def check_launcher(precision: str) -> None:
    """Refuse a launcher's mixed precision that the config does not name."""
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", precision):
        raise UsageError(
            f"the launcher asks for mixed precision {launched!r}, the config for {precision!r}.",
            hint="accelerate launch --mixed_precision no ..., and train.precision = 'bf16' in "
            "the config",
        )
