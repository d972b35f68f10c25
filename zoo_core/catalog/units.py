"""What a mean log-likelihood comes to for each value of an event, by the event's unit.

    dim      bits/dim    = -nats / (D ln 2)    of images and other arrays of D numbers
    token    nats/token  = -nats / L           of sequences of L tokens

An event of several parts has no such number: its columns have different units.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo_core.uncertainty import from_json

__all__ = ["UNITS", "Unit", "per_value"]


@dataclass(frozen=True)
class Unit:
    """What a rate is called, its key in JSON, and the nats of one of it."""

    name: str
    key: str
    nats: float

    def of(self, nats: float, dims: int) -> float:
        """-nats of an event of `dims` values, for each value in this unit."""
        return -nats / (dims * self.nats)


UNITS = {
    "dim": Unit("bits/dim", "bits_per_dim", math.log(2)),
    "token": Unit("nats/token", "nats_per_token", 1.0),
}


def per_value(record: Mapping[str, Any]) -> tuple[str, float, float] | None:
    """Name, value and standard error of what a likelihood's JSON says of each value."""
    for unit in UNITS.values():
        if unit.key in record:
            error = from_json(record.get(f"{unit.key}_std_err"))
            return unit.name, from_json(record[unit.key]), error
    return None
