"""The signatures of networks, and building the network of a model from its option.

Shapes: B batch, C channels, H height, W width, D values, F features, L tokens, T new tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from zoo_core.catalog.networks import Network, is_module
from zoo_core.catalog.specs import Signature, import_target
from zoo_core.errors import ConfigError
from zoo_core.nn.described import record
from zoo_core.spaces import Condition

if TYPE_CHECKING:
    from jaxtyping import Float, Int

__all__ = [
    "DenoiserNetwork",
    "ImageNetwork",
    "SequenceNetwork",
    "VectorNetwork",
    "build_network",
    "check_call",
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
    """The signature `sequence`: tokens (B, L) -> outputs (B, L, K), each of the tokens so far.

    Tokens (B, L, N) are N rows of the embedding, which are summed. With a cache of `init_cache`
    the tokens are those that follow the ones it holds, and the network adds them to it.
    """

    def __call__(
        self, tokens: Int[Tensor, "B T *N"], cond: Tensor | None = None, cache: Any = None
    ) -> Float[Tensor, "B T K"]: ...

    def init_cache(self, batch: int, cond: Tensor | None = None) -> Any:
        """The cache before the first token."""
        ...


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
    record(module, kind.write(config))
    return module


def check_call(module: nn.Module, signature: Signature, sizes: dict[str, Any]) -> None:
    """Call a module with a batch of two zeros; raise `ConfigError` for an output that misfits."""
    if signature == "sequence" and not callable(getattr(module, "init_cache", None)):
        raise ConfigError(
            f"{type(module).__name__} has no method init_cache(batch, cond); a sequence network "
            "decodes token by token with the cache that it returns.",
            hint="docs/guides/networks.md has the signature",
        )
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
    if signature == "sequence":
        tokens = zeros(sizes["length"], dtype=torch.long)
        cond = example_condition(sizes["condition"], 2, like)
        return [tokens, cond], (2, sizes["length"], sizes["outputs"])
    return [zeros(sizes["inputs"], *sizes["size"])], (2, sizes["outputs"])


def example_condition(condition: Condition, batch: int, like: Tensor) -> Tensor | None:
    """A condition of zeros, on the device of `like`; None where a model takes none."""
    if condition.kind == "none":
        return None
    discrete = all(slot.space.discrete for slot in condition.slots)
    return like.new_zeros(batch, *condition.shape, dtype=torch.long if discrete else torch.float32)


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
