"""One training on several processes: who they are, what they share, and how they stay together.

Start them with `torchrun --nproc_per_node=4 --no-python zoo train ...`. (`-m zoo_core` works too,
but would run a file in the current folder that shadows a module.) Each process takes its part of
every batch; DistributedDataParallel averages the gradients of each player's loss while they are
computed. What only the main process does, as saving, the others wait for: `on_main`.

A launcher sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. These variables may be left over
from another job, so a process logs that it waits for others, and gives up after some minutes.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from zoo_core.errors import ConfigError, ProcessError, UsageError, ZooError
from zoo_core.nn.whole_batch import Part
from zoo_core.training import rendezvous

__all__ = ["ProcessGroup", "check_launcher"]

T = TypeVar("T")


class ProcessGroup:
    """This process, one of `world_size`; a single process leaves every argument as it is."""

    def __init__(self, device: torch.device) -> None:
        from accelerate import PartialState

        store = rendezvous.meet(device)
        timeout = rendezvous.patience()
        state = PartialState(cpu=device.type == "cpu", timeout=timeout, **store)
        self._state = state
        self.rank: int = state.process_index
        self.world_size: int = state.num_processes
        self.device: torch.device = state.device if self.world_size > 1 else device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def positions(self, n: int) -> Tensor:
        """The places of this process's rows in a batch of n."""
        return torch.arange(n)[self.rank :: self.world_size]

    def part(self, n: int) -> Part | None:
        """This process's part of a batch of n rows; None if it has the whole."""
        if self.world_size == 1:
            return None
        return Part(self.positions(n), n, _statistics())

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module, whose gradients are then averaged over processes in its backward pass.

        A parameter without a gradient in every process stays without, so optimizers skip it.
        """
        if self.world_size == 1:
            return module
        return nn.parallel.DistributedDataParallel(
            module,
            find_unused_parameters=True,  # of a lazy penalty, or another player
            gradient_as_bucket_view=True,  # gradients and messages share their memory
        )

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

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank; they are pickled, so only of our own making."""
        values: list[T] = [value] * self.world_size
        if self.world_size > 1:
            torch.distributed.all_gather_object(values, value, group=_control())
        return values

    def broadcast(self, value: T) -> T:
        """The main process's value, in every process."""
        values = [value]
        if self.world_size > 1:
            torch.distributed.broadcast_object_list(values, src=0, group=_control())
        return values[0]

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.world_size == 1:
            return list(flags)
        counts = torch.tensor(flags, dtype=torch.int32)
        torch.distributed.all_reduce(counts, group=_control())
        return [bool(count) for count in counts.tolist()]

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Raise `ConfigError` in every process, naming the rank, unless all state the same facts.

        Facts are values by dotted names.
        """
        all_facts = self.gather(dict(facts))
        main = all_facts[0]
        for rank, own in enumerate(all_facts):
            names = sorted(n for n in main.keys() | own.keys() if main.get(n) != own.get(n))
            if names:
                pairs = ((n, own.get(n, "absent"), main.get(n, "absent")) for n in names[:8])
                listed = "; ".join(f"{n}: {a!r} there, {b!r} in process 0" for n, a, b in pairs)
                raise ConfigError(
                    f"process {rank} of {self.world_size} is of another training: {listed}.",
                    hint="start every process with the same data, recipe, options and versions",
                )

    def on_main(self, function: Callable[[], T]) -> T:
        """What `function` returns in the main process, in every process; so are its `ZooError`s.

        The others wait however long it takes, as long as the main process is alive.
        """
        if self.world_size == 1:
            return function()
        result: T | None = None
        error: ZooError | None = None
        if self.is_main:
            with rendezvous.signs_of_life():
                try:
                    result = function()
                except ZooError as raised:
                    error = raised
                rendezvous.finish()
        else:
            rendezvous.await_main()
        result, error = self.broadcast((result, error))
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside the block, a process that dies or hangs raises `ProcessError`, which names it."""
        try:
            with warnings.catch_warnings():
                if self.world_size > 1:  # of kernels (C, 1, h, w) in channels_last, and harmless
                    warnings.filterwarnings("ignore", "Grad strides do not match bucket view")
                yield
        except RuntimeError as error:
            if self.world_size == 1 or not _is_lost_connection(error):
                raise
            lost = rendezvous.absent(self.rank, self.world_size)
            who = f"process {', '.join(map(str, lost))}" if lost else "a process"
            raise ProcessError(
                f"{who} of {self.world_size} ended or did not answer within "
                f"{rendezvous.patience()}.",
                hint="look at that process's output; then resume from the last checkpoint. "
                f"{rendezvous.PATIENCE} sets how many seconds processes wait for each other",
            ) from error


_LOST = ("gloo", "Connection closed", "Connection reset", "Timed out", "timed out", "NCCL")


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether a collective failed; gloo raises plain `RuntimeError`s."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return any(sign in str(error) for sign in _LOST)


@cache
def _statistics() -> Any:
    """The group of batch statistics, whose messages must not mix with those of gradients."""
    return torch.distributed.new_group(timeout=rendezvous.patience())


@cache
def _control() -> Any:
    """The group of flags and other objects, on the CPU."""
    return torch.distributed.new_group(backend="gloo", timeout=rendezvous.patience())


def check_launcher(precision: str) -> None:
    """Raise `UsageError` if the launcher asks for what this training is not.

    That is another mixed precision than the config's, or several processes where it started one:
    `accelerate launch --cpu --num_processes 2` without MPI.
    """
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", precision):
        raise UsageError(
            f"the launcher asks for mixed precision {launched!r}, the config for {precision!r}.",
            hint="accelerate launch --mixed_precision no ..., and train.precision = 'bf16' in "
            "the config",
        )
    if rendezvous.launched_alone():
        raise UsageError(
            "accelerate was asked for several processes and started one: on CPUs it needs MPI.",
            hint="torchrun --nproc_per_node=2 --no-python zoo train ...",
        )
