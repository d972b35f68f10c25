"""Data-parallel training: each process's slice of a batch, averaged gradients, broadcasts.

Start it with `accelerate launch --no_python zoo train ...`. (`-m zoo_core` works too, but would
run a file in the current folder that shadows a module.) Each process takes its slice of every
batch, and gradients are averaged before each optimizer step, player by player.
DistributedDataParallel does not fit: it ties averaging to the forward pass of one module, but
players and losses call several methods of the model.

A launcher sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. These variables may be left over
from another job, so a process logs that it waits for others, and gives up after some minutes.
"""

import logging
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError

__all__ = ["ProcessGroup"]

_logger = logging.getLogger(__name__)

_RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
"""How long the other processes may take to start."""
_COLLECTIVE_TIMEOUT = timedelta(days=1)
"""How long a collective may take: the others wait while the main process scores or saves."""


class ProcessGroup:
    """This process, one of `world_size`; a single process leaves every argument as it is."""

    def __init__(self, device: torch.device) -> None:
        from accelerate import PartialState

        store = _rendezvous(device)
        state = PartialState(cpu=device.type == "cpu", timeout=_COLLECTIVE_TIMEOUT, **store)
        self._state = state
        self.rank: int = state.process_index
        self.world_size: int = state.num_processes
        self.device: torch.device = state.device if self.world_size > 1 else device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def shard(self, indices: Tensor) -> Tensor:
        """This process's part of a batch's sample indices."""
        return indices[self.rank :: self.world_size]

    def barrier(self) -> None:
        """Wait until every process has called this."""
        self._state.wait_for_everyone()

    def broadcast_parameters(self, model: nn.Module) -> None:
        """Give every process the main process's parameters and buffers."""
        if self.world_size > 1:
            for tensor in model.state_dict().values():
                torch.distributed.broadcast(tensor, src=0)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over processes."""
        from accelerate.utils import reduce

        return reduce(values, "mean") if self.world_size > 1 else values

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its mean over processes, in one all-reduce.

        A parameter without a gradient in every process stays without, so optimizers skip it.
        """
        if self.world_size == 1:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        used = grads[0].new_tensor([float(p.grad is not None) for p in parameters])
        flat = self.mean(torch.cat([*(g.flatten() for g in grads), used]))
        *means, used = torch.split(flat, [*(g.numel() for g in grads), len(grads)])
        for p, g, u in zip(parameters, means, used.tolist(), strict=True):
            p.grad = torch.empty_like(p).copy_(g.view_as(p)) if u else None

    def broadcast(self, value: Any) -> Any:
        """The main process's value, in every process."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0] if self.world_size > 1 else value


def _rendezvous(device: torch.device) -> dict[str, Any]:
    """The store, rank and size of the process group for torch; empty for a single process."""
    launched = device.type == "cpu" or "LOCAL_RANK" in os.environ
    world = os.environ.get("WORLD_SIZE", "1")
    if not launched or world == "1" or torch.distributed.is_initialized():
        return {}
    if missing := [v for v in ("RANK", "MASTER_ADDR", "MASTER_PORT") if v not in os.environ]:
        raise UsageError(
            f"WORLD_SIZE = {world} is set, but not {', '.join(missing)}, as a launcher does.",
            hint=_SINGLE_PROCESS,
        )
    from torch.distributed.rendezvous import rendezvous

    rank = os.environ["RANK"]
    _logger.warning("process %s waits for %s in all (RANK, WORLD_SIZE are set)", rank, world)
    try:
        store, number, count = next(rendezvous("env://", timeout=_RENDEZVOUS_TIMEOUT))
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"RANK = {rank} and WORLD_SIZE = {world} are set, but {world} processes did not meet "
            f"at {place} within {_RENDEZVOUS_TIMEOUT} ({reason}).",
            hint=_SINGLE_PROCESS,
        ) from None
    store.set_timeout(_COLLECTIVE_TIMEOUT)
    return {"store": store, "rank": number, "world_size": count}


_SINGLE_PROCESS = (
    "unset RANK WORLD_SIZE to train in one process, or start all of them by "
    "accelerate launch --no_python zoo train ..."
)


def check_launcher(precision: str) -> None:
    """Raise `UsageError` if the launcher sets another mixed precision than the config."""
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", precision):
        raise UsageError(
            f"the launcher asks for mixed precision {launched!r}, the config for {precision!r}.",
            hint="accelerate launch --mixed_precision no ..., and train.precision = 'bf16' in "
            "the config",
        )
