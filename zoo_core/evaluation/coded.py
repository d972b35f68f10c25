"""Bytes after compression: what models and codecs need for the same events, without loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo_core.compression.api import compress
from zoo_core.compression.codecs import CodecSize, sizes
from zoo_core.compression.report import report, verified
from zoo_core.data.batches import labelled
from zoo_core.data.dataset import Dataset
from zoo_core.data.shuffle import choose
from zoo_core.errors import NoCapabilityError
from zoo_core.model import GenerativeModel

__all__ = ["Coded", "CodedEvents", "coded_events", "lines"]


@dataclass(frozen=True)
class Coded:
    """Bytes an event of a model's code beside those of its likelihood; or why there are none."""

    name: str
    bytes: float | None = None
    likelihood_bytes: float | None = None
    sign: str = ""
    why: str | None = None


@dataclass(frozen=True)
class CodedEvents:
    """The codes of n events by models and by codecs in common use."""

    n: int
    models: list[Coded]
    codecs: list[CodecSize]

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        models = [{k: v for k, v in vars(m).items() if v not in (None, "")} for m in self.models]
        return {"n": self.n, "models": models, "codecs": [c.record() for c in self.codecs]}


def coded_events(
    models: Sequence[tuple[str, GenerativeModel]],
    data: Dataset,
    *,
    split: str = "test",
    n: int = 100,
    seed: int = 0,
) -> CodedEvents:
    """Code n events of a split, drawn by the seed, by each model that can, and decode them again.

    The bytes of a model are the payload with its checksums and without initial bits; its weights
    are not counted. Raises `IntegrityError` if an event does not come back.
    """
    held = data.split(split)
    rows = choose(seed, len(held), min(n, len(held)))
    batch = held.batch(rows)
    coded = [_coded(name, model, labelled(model, batch), seed) for name, model in models]
    return CodedEvents(len(rows), coded, sizes(batch[0], data.event))


def lines(events: CodedEvents) -> list[str]:
    """One line a model and a codec."""
    found = [f"bytes an event of {events.n}, without loss (weights of models not counted):"]
    for m in events.models:
        told = (
            m.why
            if m.bytes is None
            else f"{m.bytes:.2f}, decoded bit for bit; -log p {m.sign} {m.likelihood_bytes:.2f}"
        )
        found.append(f"  {m.name}: {told}")
    for c in events.codecs:
        told = (
            c.missing
            if c.single is None
            else f"{c.single:.2f} in a file each, {c.together:.2f} in one of all"
        )
        found.append(f"  {c.name}: {told}")
    return found


def _coded(name: str, model: GenerativeModel, batch: Any, seed: int) -> Coded:
    x, cond = batch
    try:
        data = compress(model, x, cond=cond)
    except NoCapabilityError as error:
        return Coded(name, why=error.message)
    verified(data, model, x)
    found = report(data, model, x, cond, seed=seed)
    payload = found.payload_bytes - found.initial_bits / 8
    n = found.mean.n
    return Coded(name, payload / n, found.ideal_bytes / n, found.mean.kind.bits_sign)
