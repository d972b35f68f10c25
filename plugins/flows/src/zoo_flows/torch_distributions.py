"""Our kernels in other libraries' flows, and our flows as `torch.distributions`.

    flow = zuko.flows.NSF(features=64, context=8)
    flow = use_kernels(flow)                # the same function and parameters, our kernels

`SplineTransform` and `AffineTransform` are `torch.distributions` transforms with the constructors
and parametrizations of zuko's `MonotonicRQSTransform` and `MonotonicAffineTransform`, and with
their method `call_and_ladj`. `FlowDistribution` makes a `torch.distributions.Distribution` of a
flow of the zoo.

Shapes: * any batch shape, K bins.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from zoo_flows.flow import Flow
from zoo_kernels import coupling, spline

__all__ = ["AffineTransform", "FlowDistribution", "SplineTransform", "use_kernels"]

_MIN_SIZE = 1e-9
"""Minimum of widths and heights (fractions of the whole) and of derivatives; zuko has none."""
Module = TypeVar("Module", bound=nn.Module)

_broadcast: Callable[[torch.Size, torch.Size], torch.Size] = torch.broadcast_shapes
_interval: Callable[..., constraints.Constraint] = constraints.interval
_independent: Callable[..., constraints.Constraint] = constraints.independent


class _Elementwise(Transform):
    """A monotone map of every element by its own parameters."""

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log |dy/dx|, element by element."""
        return self._map(x, inverse=False)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self._map(x, inverse=False)[1]

    def _call(self, x: Tensor) -> Tensor:
        return self._map(x, inverse=False)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self._map(y, inverse=True)[0]

    def _map(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class SplineTransform(_Elementwise):
    r"""A monotonic rational-quadratic spline on [-bound, bound], the identity outside.

    Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032, in zuko's
    parametrization: unnormalized widths and heights (\*, K) and derivatives (\*, K - 1) are
    squashed, so that no slope is below `slope`, before softmax and exp.
    """

    def __init__(
        self,
        widths: Tensor,
        heights: Tensor,
        derivatives: Tensor,
        bound: float = 5.0,
        slope: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        c = abs(math.log(slope))
        widths, heights = (u / (1 + (2 * u / c).abs()) for u in (widths, heights))
        d = torch.exp(derivatives / (1 + (derivatives / c).abs()))
        self.params = torch.cat([widths, heights, _softplus_inverse(d - _MIN_SIZE)], -1)
        self.bound = bound

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bins={(self.params.shape[-1] + 1) // 3})"

    def _map(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        shape = _broadcast(x.shape, self.params.shape[:-1])
        op = partial(
            spline.inverse if inverse else spline.forward,
            left=-self.bound,
            right=self.bound,
            min_width=_MIN_SIZE,
            min_height=_MIN_SIZE,
            min_derivative=_MIN_SIZE,
        )
        params = self.params.expand(*shape, -1).reshape(-1, self.params.shape[-1])
        y, ladj = op(x.expand(shape).reshape(-1), params)
        return y.view(shape), ladj.view(shape)


class AffineTransform(_Elementwise):
    r"""y = exp(a) x + shift, with a = scale / (1 + \|scale / log slope\|), as in zuko."""

    def __init__(self, shift: Tensor, scale: Tensor, slope: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        log_scale = scale / (1 + (scale / math.log(slope)).abs())
        shape = _broadcast(shift.shape, log_scale.shape)
        self.params = torch.stack([shift.expand(shape), log_scale.expand(shape)], -1)  # (*, 2)

    def _map(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        shape = _broadcast(x.shape, self.params.shape[:-1])
        params = self.params.expand(*shape, 2).reshape(-1, 2, 1)
        op = coupling.inverse if inverse else coupling.forward
        y, ladj = op(x.expand(shape).reshape(-1, 1), params, scale="exp")
        return y.view(shape), ladj.view(shape)


def _softplus_inverse(y: Tensor) -> Tensor:
    """x with softplus(x) = y > 0: log(exp(y) - 1)."""
    return y + torch.log(-torch.expm1(-y))


def use_kernels(flow: Module) -> Module:
    """Make every spline and affine transform of a zuko flow use our kernels, in place.

    Parameters and values stay the same. Raises `TypeError` if the flow has no such transform.
    """
    zuko = import_module("zuko.transforms")
    replacements: dict[Any, type[Transform]] = {
        zuko.MonotonicRQSTransform: SplineTransform,
        zuko.MonotonicAffineTransform: AffineTransform,
    }
    replaced = 0
    layers: Iterable[Any] = flow.modules()
    for layer in layers:
        univariate = getattr(layer, "univariate", None)
        if not callable(univariate):
            continue
        call = partial(univariate)  # a partial of a partial has the innermost function
        if call.func in replacements:
            layer.univariate = partial(replacements[call.func], *call.args, **call.keywords)
            replaced += 1
    if not replaced:
        raise TypeError(
            f"{type(flow).__name__} has no layer with zuko's MonotonicRQSTransform or "
            "MonotonicAffineTransform, such as those of zuko.flows.NSF and zuko.flows.MAF."
        )
    return flow


class FlowDistribution(Distribution):
    """A flow over real events as a `torch.distributions.Distribution`, for one condition or none.

    Draws use torch's global generator, as in `torch.distributions`; `model.sample(n, seed=...)` is
    repeatable. Raises `TypeError` for a flow over integers, which has no density.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def __init__(self, model: Flow, cond: Tensor | None = None) -> None:
        if model.event.discrete:
            raise TypeError(f"{model.event} have no density; score them by deq_bound.")
        self.model = model
        self.cond = model.condition.check(cond, 1, device=model.device)
        super().__init__(event_shape=torch.Size(model.event.shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """The real numbers, or the range of the model's events."""
        event = self.model.event
        bounded = event.low is not None and event.high is not None
        each = _interval(event.low, event.high) if bounded else constraints.real
        return _independent(each, len(event.shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) in nats, `(*, *S) -> (*,)`."""
        batch = value.shape[: value.dim() - len(self.event_shape)]
        rows = value.reshape(-1, *self.event_shape)
        return self.model.log_prob(rows, self._cond(len(rows))).view(batch)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (*sample_shape, *S), differentiable in the model's parameters."""
        shape, model = torch.Size(sample_shape), self.model
        size = shape.numel(), model.event.dims
        z = torch.randn(*size, dtype=model.dtype, device=model.device)
        x, _ = model.inverse_and_ladj(z, self._cond(len(z)))
        return model.to_event(x).view(*shape, *model.event.shape)

    def _cond(self, n: int) -> Tensor | None:
        return None if self.cond is None else self.cond.expand(n, *self.cond.shape[1:])
