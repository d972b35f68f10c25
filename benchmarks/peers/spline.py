"""nflows' and zuko's rational-quadratic splines with the same parameters, and the reference
compiled. nflows and ours are the same function; zuko's has other parameters, but the same work.

As shipped, without the coupling's split and concatenation: the spline and the row's sum.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from zoo_kernels.spline import reference
from zoo_kernels.spline.reference import Bounds


def _parts(params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    k = (params.shape[-1] + 1) // 3
    return params[..., :k], params[..., k : 2 * k], params[..., 2 * k :]


def _nflows(x: Tensor, params: Tensor, bounds: Bounds, inverse: bool) -> Any:
    from nflows.transforms.splines.rational_quadratic import (
        unconstrained_rational_quadratic_spline,
    )

    y, ladj = unconstrained_rational_quadratic_spline(
        x,
        *_parts(params),
        inverse=inverse,
        tails="linear",
        tail_bound=bounds.right,
        min_bin_width=bounds.min_width,
        min_bin_height=bounds.min_height,
        min_derivative=bounds.min_derivative,
    )
    return y, ladj.flatten(1).sum(1)


def nflows_forward(x: Tensor, params: Tensor, *bounds: float) -> Any:
    return _nflows(x, params, Bounds(*bounds), False)


def nflows_inverse(x: Tensor, params: Tensor, *bounds: float) -> Any:
    return _nflows(x, params, Bounds(*bounds), True)


def _zuko(x: Tensor, params: Tensor, bounds: Bounds, inverse: bool) -> Any:
    from zuko.transforms import MonotonicRQSTransform

    transform = MonotonicRQSTransform(*_parts(params), bound=bounds.right)
    y, ladj = (transform.inv if inverse else transform).call_and_ladj(x)
    return y, ladj.flatten(1).sum(1)


def zuko_forward(x: Tensor, params: Tensor, *bounds: float) -> Any:
    return _zuko(x, params, Bounds(*bounds), False)


def zuko_inverse(x: Tensor, params: Tensor, *bounds: float) -> Any:
    return _zuko(x, params, Bounds(*bounds), True)


@cache
def _compile(f: Callable[..., Any]) -> Any:
    return torch.compile(f)


def nflows_compiled_forward(*args: Any) -> Any:
    return _compile(nflows_forward)(*args)


def nflows_compiled_inverse(*args: Any) -> Any:
    return _compile(nflows_inverse)(*args)


def zuko_compiled_forward(*args: Any) -> Any:
    return _compile(zuko_forward)(*args)


def zuko_compiled_inverse(*args: Any) -> Any:
    return _compile(zuko_inverse)(*args)


def reference_compiled_forward(*args: Any) -> Any:
    return _compile(reference.forward)(*args)


def reference_compiled_inverse(*args: Any) -> Any:
    return _compile(reference.inverse)(*args)
