"""A data set's latents under an autoencoder: encoded once, and kept in a file.

The file names the weights and the events that it was made from, by their SHA-256; if either
changes, the events are encoded anew.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo_core.catalog.capabilities import Autoencoder
from zoo_core.data.batches import to_model
from zoo_core.data.dataset import Dataset, Source, Split, storage_dtype
from zoo_core.errors import IntegrityError, NoCapabilityError
from zoo_core.files import atomic_path
from zoo_core.hashing import absorb
from zoo_core.model import GenerativeModel
from zoo_core.modes import evaluating

__all__ = ["cached_latents", "encode"]

_ROWS = 256


def encode(model: GenerativeModel, data: Dataset, *, limit: int | None = None) -> Dataset:
    """The latents of every split, or of its first `limit` events; labels stay.

    Raises `NoCapabilityError` unless the model is an `Autoencoder`.
    """
    encoder = _autoencoder(model)
    return _dataset(encoder, data, _latents(model, encoder, data, limit), limit)


def cached_latents(model: GenerativeModel, data: Dataset, path: Path, *, write: bool) -> Dataset:
    """The latents of every split, from the file at `path` if it is of this model and data.

    Otherwise the events are encoded, and the file is written if `write`.
    """
    encoder, identity = _autoencoder(model), _identity(model, data)
    if path.exists() and (found := _read(path, identity)) is not None:
        return _dataset(encoder, data, found)
    latents = _latents(model, encoder, data)
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            tensors = {name: z.contiguous() for name, z in latents.items()}
            save_file(tensors, temporary, metadata=identity)
    return _dataset(encoder, data, latents)


def _autoencoder(model: GenerativeModel) -> Autoencoder:
    if not isinstance(model, Autoencoder):
        raise NoCapabilityError(
            f"{type(model).__name__} has no latents to train on: it is no Autoencoder.",
            hint="an Autoencoder has latent_event, to_latents and from_latents",
        )
    return model


def _latents(
    model: GenerativeModel, encoder: Autoencoder, data: Dataset, limit: int | None = None
) -> dict[str, Tensor]:
    return {name: _encoded(model, encoder, split, limit) for name, split in data.splits.items()}


@torch.no_grad()
def _encoded(
    model: GenerativeModel, encoder: Autoencoder, split: Source, limit: int | None
) -> Tensor:
    """Latents (N, *S) on the CPU, in the dtype in which a data set stores them."""
    n = len(split) if limit is None else min(limit, len(split))
    with evaluating(model):
        parts = [
            encoder.to_latents(to_model(split.batch(slice(i, min(i + _ROWS, n)))[0], model)).cpu()
            for i in range(0, n, _ROWS)
        ]
    return torch.cat(parts).to(storage_dtype(encoder.latent_event))


def _dataset(
    encoder: Autoencoder, data: Dataset, x: Mapping[str, Tensor], limit: int | None = None
) -> Dataset:
    labels = {name: split.batch(slice(limit))[1] for name, split in data.splits.items()}
    return Dataset(
        name=f"latents of {data.name}",
        event=encoder.latent_event,
        condition=data.condition,
        splits={name: Split(x[name], labels[name]) for name in x},
        license=data.license,
        provenance=f"{data.provenance}; encoded by {type(encoder).__name__}",
    )


def _identity(model: GenerativeModel, data: Dataset) -> dict[str, str]:
    """The SHA-256 of the weights and of the events that are encoded."""
    weights, events = hashlib.sha256(), hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode())
        absorb(weights, tensor)
    for name, split in sorted(data.splits.items()):
        events.update(name.encode())
        for i in range(0, len(split), _ROWS):
            absorb(events, split.batch(slice(i, i + _ROWS))[0])
    return {"weights": weights.hexdigest(), "events": events.hexdigest()}


def _read(path: Path, identity: Mapping[str, str]) -> dict[str, Tensor] | None:
    """The tensors of a file, or None if it is of other weights or events."""
    try:
        with safe_open(path, "pt") as file:
            if file.metadata() != identity:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise IntegrityError(
            f"{path} cannot be read ({error}).", hint="delete it; it is then made anew"
        ) from None
