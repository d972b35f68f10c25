"""A denoising step is one launch that waits for nothing, and a whole loop of it can be captured:
the step's index lives on the device."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import zoo_kernels
from zoo_kernels.denoise import ddim
from zoo_kernels.denoise._cases import linear_schedule
from zoo_kernels.denoise.reference import StepArguments


def setting(device: str, shape: tuple[int, ...], count: int) -> tuple[Any, ...]:
    steps = ddim(*linear_schedule(count))
    generator = torch.Generator().manual_seed(0)
    net = torch.nn.Conv2d(shape[1], shape[1], 3, padding=1).to(device)
    x = torch.randn(shape, generator=generator).to(device)
    return steps, net, x, torch.arange(shape[0], device=device)


def step(x: Tensor, output: Tensor, rows: Tensor, index: Tensor, table: Tensor) -> Tensor:
    op = zoo_kernels.ops()["denoise_step"]
    stepped: Tensor = op(
        *StepArguments(
            x=x,
            output=output,
            unconditional=None,
            variance=None,
            multistep_buffer=None,
            dynamic_threshold=None,
            table=table,
            table_row=index,
            rows=rows,
            seed=0,
            stream=0,
            guidance=1.0,
            clip=1.0,
            noisy=False,
            remember=False,
        )
    )[0]
    return stepped


def loop(steps: Any, net: Any, x: Tensor, rows: Tensor, index: Tensor, table: Tensor) -> Tensor:
    """Network and step in turn; nothing is read back by the host."""
    index.zero_()
    for _ in range(len(steps)):
        x = step(x, net(x), rows, index, table)
        index += 1
    return x


def launches(call: Callable[[], Any]) -> int:
    """Kernels that the device runs for one call."""
    from torch.profiler import ProfilerActivity, profile

    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        call()
        torch.cuda.synchronize()
    cuda = torch.autograd.DeviceType.CUDA
    return sum(1 for e in seen.events() if e.device_type == cuda and "Mem" not in e.name)


def one_launch(device: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """No more than one kernel, and no host call that waits (torch raises if it sees one)."""
    steps, net, x, rows = setting(device, shape, 2)
    index, table = torch.zeros(1, dtype=torch.int64, device=device), steps.table.to(device)
    call = partial(step, x, net(x).detach(), rows, index, table)
    with torch.no_grad(), zoo_kernels.backend("triton"):
        call()
        if device == "cpu":
            return {"ran": True}
        torch.cuda.set_sync_debug_mode("error")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        count = launches(call)
    if count > 1:
        raise AssertionError(f"a step takes {count} launches")
    return {"launches": count, "synchronizations": 0}


def row(device: str, shape: tuple[int, ...], count: int) -> dict[str, Any]:
    steps, net, x, rows = setting(device, shape, count)
    index, table = torch.zeros(1, dtype=torch.int64, device=device), steps.table.to(device)
    call = partial(loop, steps, net, x, rows, index, table)
    with torch.no_grad(), zoo_kernels.backend("triton"):
        plain = call()
        with zoo_kernels.backend("reference"):
            wanted = call()
        apart = float((plain - wanted).abs().max() / wanted.abs().max())
        if not apart <= 1e-3:
            raise AssertionError(f"the loop ends {apart} from the reference's")
        if device == "cpu":
            return {"distance": apart}
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = call()
        graph.replay()
        torch.cuda.synchronize()
        from triton.testing import do_bench

        start = time.perf_counter()
        graph.replay()
        host = (time.perf_counter() - start) * 1e3
        made = {"distance": apart, "graph_equals_loop": torch.equal(captured, plain),
                "host_ms": host, "graph_ms": do_bench(graph.replay, return_mode="median"),
                "loop_ms": do_bench(call, return_mode="median")}  # fmt: skip
        with zoo_kernels.backend("reference"):
            return made | {"reference_ms": do_bench(call, return_mode="median")}


def run(results: Any) -> None:
    sizes = [((1, 3, 4, 4), 2)] if results.tiny else [((1, 3, 32, 32), 50), ((64, 3, 64, 64), 50)]
    results.each("launches of a step", lambda: one_launch(results.device, sizes[-1][0]))
    for shape, count in sizes:
        key = f"{'x'.join(map(str, shape))}, {count} steps"
        results.each(key, lambda s=shape, c=count: row(results.device, s, c))
