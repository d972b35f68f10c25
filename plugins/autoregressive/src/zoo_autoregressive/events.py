"""The events of models of arrays of any shape: vectors, sequences of tokens and images."""

from zoo_core.plugin import ConfigError, Event, Tokens

__all__ = ["integer_event"]


def integer_event(shape: tuple[int, ...], levels: int, *, tokens: bool) -> Event:
    """Integers 0..levels - 1 of the shape (D,) or (C, H, W), or (L,) tokens of a vocabulary.

    Raises `ConfigError` for another shape.
    """
    if len(shape) not in (1, 3) or (tokens and len(shape) != 1):
        raise ConfigError(f"shape = {shape}; it must be (D,){'' if tokens else ' or (C, H, W)'}.")
    return Tokens(shape[0], levels) if tokens else Event(shape, levels=levels)
