"""Compress and decompress events by a model, in blocks that are decoded by themselves.

How a model codes follows from its capabilities: `Conditionals` by the chain rule, an `Encoder` and
`Decoder` by bits-back, a `Denoiser` with `coding_times` by bits-back along its chain. What cannot
be coded says why.

Shapes: B events of a block, S an event's shape.
"""

import copy
import hashlib
import zlib
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from zoo_core.catalog.capabilities import has
from zoo_core.compression import bits_back, chain, conditionals
from zoo_core.compression.container import Block, Container, Header, parse
from zoo_core.compression.grid import OFFSETS, Grid, coders
from zoo_core.data.batches import cond_to_model
from zoo_core.errors import IntegrityError, NoCapabilityError, UsageError
from zoo_core.hashing import absorb
from zoo_core.loading import load
from zoo_core.model import GenerativeModel
from zoo_core.modes import evaluating

__all__ = ["Codec", "codec_of", "compress", "decompress", "weights_digest"]

_BLOCK = 1000
_BLOCK_VALUES = 1 << 20
_DIGITS = 32
_MAX_LEVELS = 65536


class Codec(Protocol):
    """How the events of one block become bytes, and come back."""

    def encode(self, model: Any, x: Tensor, cond: Tensor | None, grid: Grid) -> bytes:
        """The code of x (B, *S) by a model in float64."""
        ...

    def decode(
        self, model: Any, payload: bytes, n: int, cond: Tensor | None, grid: Grid
    ) -> Tensor:
        """The n events (n, *S) of a code."""
        ...

    def initial_bits(self, code: bytes) -> int:
        """How many bits of a code were borrowed, and are had back."""
        ...


CODECS: dict[str, Codec] = {
    "conditionals": conditionals,
    "bits-back": bits_back,
    "chain": chain,
}


def codec_of(model: GenerativeModel) -> str:
    """The name of the codec that a model's capabilities allow.

    Raises `NoCapabilityError`, which says why, if there is none.
    """
    if has(model, "Conditionals"):
        return _of_integers(model, "conditionals")
    if has(model, "Encoder") and has(model, "Decoder"):
        return _of_integers(model, "bits-back")
    if has(model, "Bijection"):
        raise _not_coded(
            model,
            "it is a density of dequantized values, which needs local bits-back coding "
            "(Ho et al., 2019), and there is none here",
        )
    if has(model, "Denoiser") and isinstance(model, chain.Chain):
        return _of_integers(model, "chain")
    if has(model, "Denoiser"):
        raise _not_coded(
            model,
            "its bound is a sum over a chain of noisy events, and it does not state the times of "
            "a chain to code along (coding_times), as vdm does",
        )
    raise _not_coded(model, "it states no probability of an event")


def _of_integers(model: GenerativeModel, codec: str) -> str:
    if not 2 <= (model.event.levels or 0) <= _MAX_LEVELS:
        raise _not_coded(
            model,
            f"its events are {model.event}; only integers of 2 to {_MAX_LEVELS} levels have a "
            "lossless code",
        )
    return codec


def _not_coded(model: GenerativeModel, why: str) -> NoCapabilityError:
    return NoCapabilityError(
        f"{type(model).__name__} cannot compress: {why}.",
        hint="models with Conditionals, or with Encoder and Decoder, over integers can",
    )


def compress(
    model: GenerativeModel | str,
    x: Any,
    *,
    cond: Any = None,
    name: str | None = None,
    block: int | None = None,
    progress: bool = False,
) -> bytes:
    """The file of events x (n, *S), about as long as the model's -log2 p(x) says.

        data = zoo.compress("gated_pixelcnn.digits", x)

    `model` is a model or a name; `name` is what the file calls a model that is given as an object.
    `block` is the number of events that are coded together: larger ones cost less, smaller ones
    are read alone. Conditions are stored in the file.

    Raises `NoCapabilityError` for a model that has no code, and `UsageError` for empty blocks.
    """
    model, name = (load(model), name or model) if isinstance(model, str) else (model, name or "")
    coder = codec_of(model)
    coders()
    x = model.event.check_values(x)
    cond = model.condition.check(cond, len(x))
    block = block or max(1, min(_BLOCK, _BLOCK_VALUES // model.event.dims))
    if block < 1:
        raise UsageError(f"block = {block}; a block has at least one event.")
    exact, parts = in_float64(model), []
    with evaluating(exact), tqdm(total=len(x), unit="event", disable=not progress) as bar:
        for rows in torch.arange(len(x)).split(block):
            events = model.event.check(x[rows])
            parts.append(_encode(exact, coder, events, None if cond is None else cond[rows]))
            bar.update(len(rows))
    header = Header(
        name,
        weights_digest(model),
        model.event.shape,
        model.event.levels or 0,
        coder,
        len(x),
        block,
        None if cond is None else (str(cond.cpu().numpy().dtype), tuple(cond.shape[1:])),
    )
    return Container(header, tuple(parts)).encode()


def decompress(
    data: bytes,
    model: GenerativeModel | None = None,
    *,
    blocks: Iterable[int] | None = None,
    progress: bool = False,
) -> Tensor:
    """The events (n, *S) of a file, bit for bit, of all its blocks or of some.

    By default the model is the one that the file names, if that is a registered name. Raises
    `IntegrityError` if the file is damaged, if the model has other weights than the encoder's, or
    if this machine computes other probabilities.
    """
    return decompress_with_cond(data, model, blocks=blocks, progress=progress)[0]


def decompress_with_cond(
    data: bytes,
    model: GenerativeModel | None = None,
    *,
    blocks: Iterable[int] | None = None,
    progress: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The events of a file and their conditions, if it holds any."""
    container = parse(data)
    header = container.header
    model = model or load(registered_name(header))
    _check_model(model, header)
    chosen = range(header.blocks) if blocks is None else _known(blocks, header.blocks)
    exact, parts = in_float64(model), []
    with evaluating(exact), tqdm(chosen, unit="block", disable=not progress) as bar:
        for i in bar:
            parts.append(_decode(exact, header, i, container.blocks[i]))
    conditions = [c for _, c in parts if c is not None]
    return torch.cat([x for x, _ in parts]), torch.cat(conditions) if conditions else None


def weights_digest(model: GenerativeModel) -> str:
    """32 digits of the SHA-256 of a model's tensors, by name, type, shape and value."""
    sha256 = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha256.update(f"{len(name)} {name}".encode())
        absorb(sha256, tensor)
    return sha256.hexdigest()[:_DIGITS]


def in_float64(model: GenerativeModel) -> GenerativeModel:
    """A copy of the model whose parameters and buffers are float64."""
    return copy.deepcopy(model).double()


def registered_name(header: Header) -> str:
    """The model that a file names; a file is not trusted with paths and addresses."""
    name = header.model
    if not name or any(c in name for c in "/\\~") or name.startswith("."):
        raise UsageError(
            f"the file names its model {name!r}, which is no registered name.",
            hint="give the model: zoo.decompress(data, model)",
            command="give the model: --model NAME",
        )
    return name


def code_of(header: Header, block: Block) -> bytes:
    """The code of a block, without its conditions and its offset."""
    start = 4 + int.from_bytes(block.payload[:4], "little") if header.cond else 0
    return block.payload[start + 1 :]


def _check_model(model: GenerativeModel, header: Header) -> None:
    if (model.event.shape, model.event.levels) != (header.shape, header.levels):
        raise IntegrityError(
            f"the file holds integers 0..{header.levels - 1} of shape {header.shape}; the model "
            f"is for {model.event}.",
            hint=f"it was written by {header.model or 'another model'}",
        )
    if weights_digest(model) != header.weights:
        raise IntegrityError(
            f"the file was written by {header.model or 'a model'} with the weights "
            f"{header.weights}; these are {weights_digest(model)}.",
            hint="use the same revision of the model",
        )
    if header.coder != codec_of(model):
        raise IntegrityError(
            f"the file was coded by {header.coder!r}; the model codes by {codec_of(model)!r}."
        )


def _known(blocks: Iterable[int], count: int) -> list[int]:
    chosen = list(blocks)
    if unknown := [i for i in chosen if not 0 <= i < count] or not chosen:
        raise UsageError(f"blocks {unknown or chosen}; the file has blocks 0 to {count - 1}.")
    return chosen


def _encode(model: GenerativeModel, coder: str, x: Tensor, cond: Tensor | None) -> Block:
    """A block by the first offset of the grid at which no value is near a boundary."""
    conditions = (
        b"" if cond is None else zlib.compress(cond.cpu().contiguous().numpy().tobytes(), 9)
    )
    prefix = b"" if cond is None else len(conditions).to_bytes(4, "little") + conditions
    on_device = None if cond is None else cond_to_model(cond, model)
    for index in range(OFFSETS):
        grid = Grid(index)
        code = CODECS[coder].encode(model, x.to(model.device), on_device, grid)
        if not grid.ambiguous:
            return Block(prefix + bytes([index]) + code, _crc(x, model.event.levels or 0))
    raise NoCapabilityError(
        f"with each of {OFFSETS} grids some probability lies so near a boundary that another "
        "machine might take another one.",
        hint="code fewer events a block: block=100",
        command="--block 100",
    )


def _decode(
    model: GenerativeModel, header: Header, i: int, block: Block
) -> tuple[Tensor, Tensor | None]:
    n, payload = header.size(i), block.payload
    try:
        cond, payload = _conditions(payload, header, n)
        on_device = None if cond is None else cond_to_model(cond, model)
        grid = Grid(payload[0])
        x = CODECS[header.coder].decode(model, payload[1:], n, on_device, grid).cpu()
    except (AssertionError, ValueError, LookupError, zlib.error) as error:
        raise _wrong(i, error) from None
    if _crc(x, header.levels) != block.events_crc:
        raise _wrong(i, None)
    return x, cond


def _conditions(payload: bytes, header: Header, n: int) -> tuple[Tensor | None, bytes]:
    if header.cond is None:
        return None, payload
    dtype, shape = header.cond
    if dtype not in ("int64", "float32", "float64"):
        raise ValueError(f"conditions of type {dtype!r}")
    end = 4 + int.from_bytes(payload[:4], "little")
    values = n * int(np.prod(shape, dtype=np.int64))
    size = values * np.dtype(dtype).itemsize
    raw = zlib.decompressobj().decompress(payload[4:end], size + 1)
    cond = torch.from_numpy(np.frombuffer(raw, dtype).reshape(n, *shape).copy())
    return cond, payload[end:]


def _wrong(i: int, error: Exception | None) -> IntegrityError:
    reason = f" ({error})" if error else ""
    return IntegrityError(
        f"block {i} decodes to other events than were encoded{reason}: this machine computes "
        "other probabilities than the encoder's.",
        hint="decode on the CPU, with the versions of torch and of this package that wrote it",
    )


def _crc(x: Tensor, levels: int) -> int:
    """CRC-32 of events, as the smallest unsigned integers that hold them."""
    kind = "u1" if levels <= 256 else "<u2"
    return zlib.crc32(x.cpu().numpy().astype(kind).tobytes())
