"""Building the network of a model, and checking before saving that a config describes it.

Shapes: B batch, C channels, H height, W width, D values, F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from zoo_core import config as configs
from zoo_core.catalog.networks import Network, is_module
from zoo_core.catalog.specs import Signature, import_target
from zoo_core.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

__all__ = [
    "DenoiserNetwork",
    "ImageNetwork",
    "SequenceNetwork",
    "VectorNetwork",
    "build_network",
    "check_call",
    "check_described",
    "unwrapped_state",
]


class DenoiserNetwork(Protocol):
    """The signature `denoiser`: noisy events, times and labels -> outputs of the events' shape."""

    def __call__(
        self, x: Float[Tensor, "B ..."], time: Float[Tensor, "B"], label: Int[Tensor, "B"] | None
    ) -> Float[Tensor, "B ..."]: ...


class VectorNetwork(Protocol):
    """The signature `vector`: (B, D) -> (B, D'), with features of a condition (B, F) or None."""

    def __call__(
        self, x: Float[Tensor, "B D"], features: Float[Tensor, "B F"] | None = None
    ) -> Float[Tensor, "B D2"]: ...


class ImageNetwork(Protocol):
    """The signature `image`: (B, C, H, W) -> (B, C', H', W')."""

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]: ...


class SequenceNetwork(Protocol):
    """The signature `sequence`, reserved: tokens (B, L) -> logits (B, L, K)."""

    def __call__(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L K"]: ...


@dataclass(frozen=True)
class _Description:
    """How a module was built, kept on it: its table and the shapes of its state."""

    table: dict[str, Any]
    shapes: dict[str, torch.Size]


def build_network(network: Any, signature: Signature, **sizes: Any) -> nn.Module:
    """The module of a field of the type `Network(signature)`, for the sizes of the signature.

    An `nn.Module` is used as it is, after one call with zeros that checks the shape it returns;
    raises `ConfigError` if that does not fit.
    """
    kind = Network(signature)
    config = kind.read(network, "network")
    if is_module(config):
        check_call(config, signature, sizes)
        return config  # type: ignore[no-any-return]
    module: nn.Module = import_target(kind.entry(config).spec.target)(config, **sizes)
    described = _Description(kind.write(config), _shapes(module))
    module._zoo_description = described  # type: ignore[assignment]
    return module


def check_described(model: nn.Module, config: Any) -> None:
    """Raise `UsageError` unless the config describes the networks that a model has.

    Loading builds a model from its config; a network that it does not describe would be saved
    and could not be loaded.
    """
    for field, kind in configs.field_types(type(config)).items():
        value = getattr(config, field)
        if value is None or not isinstance(kind, Network):
            continue
        if is_module(value):
            raise _undescribed(field, f"is a bare {type(value).__name__}", kind)
        built = [m for m in model.modules() if _table(m) == kind.write(value)]
        if not built:
            raise _undescribed(field, "is not what the model was built with", kind)
        for module in built:
            if unwrapped_shapes(module) != module._zoo_description.shapes:  # type: ignore[union-attr]
                raise _undescribed(field, "has other parameters than it was built with", kind)


def unwrapped_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict as if no submodule were wrapped by `torch.compile` or `DataParallel`."""
    state = model.state_dict()
    wrappers = [(n, _inner_name(m)) for n, m in model.named_modules() if _inner_name(m)]
    for name, inner in sorted(wrappers, reverse=True):  # the innermost first
        prefix = f"{name}." if name else ""
        old = f"{prefix}{inner}."
        state = {(prefix + k[len(old) :] if k.startswith(old) else k): v for k, v in state.items()}
    return state


def unwrapped_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """The shapes of `unwrapped_state`."""
    return {name: tensor.shape for name, tensor in unwrapped_state(module).items()}


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _table(module: nn.Module) -> dict[str, Any] | None:
    described = vars(module).get("_zoo_description")
    return described.table if isinstance(described, _Description) else None


def _inner_name(module: nn.Module) -> str:
    """The attribute that holds the module inside a wrapper; "" if it is no wrapper."""
    if isinstance(module, DataParallel | DistributedDataParallel):
        return "module"
    return "_orig_mod" if "_orig_mod" in module._modules else ""


def _undescribed(field: str, what: str, kind: Network) -> UsageError:
    return UsageError(
        f"the model cannot be saved: its {field} {what}, which no config describes.",
        hint="register the network by the hook zoo_networks, NetworkSpec(name, target, config, "
        f"{kind.signature!r}), and pass {field}=name; to keep the parameters alone, "
        "torch.save(model.state_dict(), path)",
    )


def check_call(module: nn.Module, signature: Signature, sizes: dict[str, Any]) -> None:
    """Call a module with a batch of two zeros; raise `ConfigError` for an output that misfits."""
    inputs, expected = _example(signature, sizes, next(module.parameters(), torch.zeros(())))
    with torch.no_grad(), _in_evaluation(module):
        try:
            out = module(*inputs)
        except Exception as error:
            shapes = ", ".join("None" if t is None else str(tuple(t.shape)) for t in inputs)
            raise ConfigError(
                f"{type(module).__name__} as a {signature} network, called with {shapes}, raises "
                f"{type(error).__name__}: {error}.",
                hint=f"the sizes of this model: {sizes}",
            ) from error
    shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if not isinstance(out, Tensor) or shape[: len(expected)] != expected:
        raise ConfigError(
            f"{type(module).__name__} returned {shape} for two rows; a {signature} network of "
            f"this model returns {expected}{'' if signature != 'image' else ' and a size'}.",
            hint=f"the sizes of this model: {sizes}",
        )


def _example(
    signature: Signature, sizes: dict[str, Any], like: Tensor
) -> tuple[list[Tensor | None], tuple[int, ...]]:
    """Inputs of two rows, and the shape of the output (of an image: without its size)."""

    def zeros(*shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(2, *shape, device=like.device, dtype=dtype or like.dtype)

    if signature == "denoiser":
        x = zeros(sizes["inputs"], *sizes["shape"][1:])
        label = zeros(dtype=torch.long) if sizes["num_labels"] else None
        return [x, zeros() + 1, label], (2, *sizes["shape"])
    if signature == "vector":
        features = zeros(sizes["features"]) if sizes["features"] else None
        return [zeros(sizes["inputs"]), features], (2, sizes["outputs"])
    return [zeros(sizes["inputs"], *sizes["size"])], (2, sizes["outputs"])


@contextmanager
def _in_evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, so that no statistics move."""
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes.items():
            m.training = mode
