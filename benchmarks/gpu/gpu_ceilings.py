"""The two ceilings, on random data: bytes a second of a copy, operations a second of a product."""

from typing import Any

import torch
from timing import milliseconds


def copy(device: str, numel: int) -> dict[str, float]:
    """Read plus written bytes of a float32 copy far larger than the cache."""
    source = torch.randn(numel, device=device)
    target = torch.empty_like(source)
    ms = milliseconds(target.copy_, [(source,)], device)
    return {"ms": ms, "gigabytes_per_second": 2 * source.nbytes / ms / 1e6}


def product(device: str, n: int) -> dict[str, float]:
    """A square bf16 matrix product by the library that torch uses."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    ms = milliseconds(torch.mm, [(a, b)], device)
    return {"ms": ms, "teraflops": 2 * n**3 / ms / 1e9}


def run(results: Any) -> None:
    numel, n = (1 << 16, 64) if results.tiny else (1 << 30, 8192)
    results.each(f"copy {4 * numel} bytes", lambda: copy(results.device, numel))
    results.each(f"bf16 product {n}", lambda: product(results.device, n))
