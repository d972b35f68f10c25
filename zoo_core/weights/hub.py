"""The Hugging Face Hub's place: names on the Hub are known, fetching them is not there yet."""

from typing import NoReturn

from zoo_core.errors import NetworkError

__all__ = ["refuse"]


def refuse(what: str) -> NoReturn:
    """Say that weights on the Hub cannot be fetched by this version."""
    raise NetworkError(
        f"{what} is on the Hugging Face Hub, which this version does not read.",
        hint="download the folder with `hf download` and load it by its path",
    )
