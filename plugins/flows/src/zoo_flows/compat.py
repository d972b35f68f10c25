"""Our splines and affine maps in other people's flows, and our flows as their distributions.

    flow = zuko.flows.NSF(features=64, context=8)
    flow = use_kernels(flow)                # the same function and parameters, our kernels

`SplineTransform` and `AffineTransform` are `torch.distributions` transforms with the constructors
of zuko's `MonotonicRQSTransform` and `MonotonicAffineTransform`, whose parametrizations they
share, and with its `call_and_ladj`. `FlowDistribution` is a flow of the zoo as a
`torch.distributions.Distribution`.

Shapes: * any batch shape, K bins.
"""

import math
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from zoo_flows.flow import Flow
from zoo_kernels import coupling, spline

__all__ = ["AffineTransform", "FlowDistribution", "SplineTransform", "use_kernels"]

_LEAST = 1e-9
"""Least width and height, of the whole, and derivative: next to nothing, as zuko has none."""
Module = TypeVar("Module", bound=nn.Module)


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
    parametrization: widths and heights (\*, K) and derivatives (\*, K - 1) are squashed so that no
    slope is less than `slope` before they go through softmax and exp.
    """

    def __init__(
        self, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float = 5.0,
        slope: float = 1e-3, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        c = abs(math.log(slope))
        widths, heights = (u / (1 + (2 * u / c).abs()) for u in (widths, heights))
        d = torch.exp(derivatives / (1 + (derivatives / c).abs()))
        self.params = torch.cat([widths, heights, _softplus_inverse(d - _LEAST)], -1)
        self.bound = bound

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bins={(self.params.shape[-1] + 1) // 3})"

    def _map(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        shape = _together(x.shape, self.params.shape[:-1])
        rows = x.expand(shape).reshape(-1)
        params = self.params.expand(*shape, -1).reshape(-1, self.params.shape[-1])
        op = spline.inverse if inverse else spline.forward
        y, ladj = op(
            rows, params, left=-self.bound, right=self.bound, min_width=_LEAST,
            min_height=_LEAST, min_derivative=_LEAST,
        )  # fmt: skip
        return y.view(shape), ladj.view(shape)


class AffineTransform(_Elementwise):
    r"""y = exp(a) x + shift, with a = scale / (1 + \|scale / log slope\|), as in zuko."""

    def __init__(self, shift: Tensor, scale: Tensor, slope: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        log_scale = scale / (1 + (scale / math.log(slope)).abs())
        shape = _together(shift.shape, log_scale.shape)
        self.params = torch.stack([shift.expand(shape), log_scale.expand(shape)], -1)  # (*, 2)

    def _map(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        shape = _together(x.shape, self.params.shape[:-1])
        params = self.params.expand(*shape, 2).reshape(-1, 2, 1)
        op = coupling.inverse if inverse else coupling.forward
        y, ladj = op(x.expand(shape).reshape(-1, 1), params, scale="exp")
        return y.view(shape), ladj.view(shape)


def _together(a: torch.Size, b: torch.Size) -> torch.Size:
    """The shape that two shapes broadcast to."""
    found: torch.Size = torch.broadcast_shapes(a, b)
    return found


def _softplus_inverse(y: Tensor) -> Tensor:
    """x of softplus(x) = y > 0: log(exp(y) - 1)."""
    return y + torch.log(-torch.expm1(-y))


def use_kernels(flow: Module) -> Module:
    """Let every spline and affine transform of a zuko flow run through our kernels, in place.

    Parameters and values stay the same. Raises `TypeError` if the flow has none of them.
    """
    import zuko.transforms  # type: ignore[import-not-found]

    ours: dict[Any, Any] = {
        zuko.transforms.MonotonicRQSTransform: SplineTransform,
        zuko.transforms.MonotonicAffineTransform: AffineTransform,
    }
    changed = 0
    for layer in flow.modules():
        kept: Any = getattr(layer, "univariate", None)
        given = kept if isinstance(kept, partial) else partial(kept) if callable(kept) else None
        if given is not None and given.func in ours:
            layer.univariate = partial(ours[given.func], *given.args, **given.keywords)  # type: ignore[assignment]
            changed += 1
    if not changed:
        raise TypeError(
            f"{type(flow).__name__} has no layer with zuko's MonotonicRQSTransform or "
            "MonotonicAffineTransform, such as those of zuko.flows.NSF and zuko.flows.MAF."
        )
    return flow


class FlowDistribution(Distribution):
    """A flow over reals as a `torch.distributions.Distribution`, given one condition or none.

    As there, draws come from torch's own generator; `model.sample(n, seed=...)` is repeatable.
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
        """The reals, or the interval that the model's events lie in."""
        event = self.model.event
        within = event.low is not None and event.high is not None
        inner: Any = constraints.interval(event.low, event.high) if within else constraints.real
        found: constraints.Constraint = constraints.independent(inner, len(event.shape))
        return found

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) in nats of x (*, *S): (*,)."""
        batch = value.shape[: value.dim() - len(self.event_shape)]
        rows = value.reshape(-1, *self.event_shape)
        found: Tensor = self.model.log_prob(rows, self._cond(len(rows)))
        return found.view(batch)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (*sample_shape, *S), differentiable in the model's parameters."""
        shape = torch.Size(sample_shape)
        z = torch.randn(
            shape.numel(), self.model.event.dims, dtype=self.model.dtype,
            device=self.model.device,
        )  # fmt: skip
        x, _ = self.model.inverse_and_ladj(z, self._cond(len(z)))
        return self.model.to_event(x).view(*shape, *self.event_shape)

    def _cond(self, n: int) -> Tensor | None:
        return None if self.cond is None else self.cond.expand(n, *self.cond.shape[1:])
