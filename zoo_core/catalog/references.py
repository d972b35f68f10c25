"""Parses the text by which users name a model: a registered name, a Hub repository, or a path."""

import os
from pathlib import Path

from zoo_core.catalog.names import (
    HubName,
    Name,
    is_name,
    is_path,
    parse,
    parse_hub,
    warn_of_file,
)
from zoo_core.catalog.registry import current
from zoo_core.errors import UnknownNameError

__all__ = ["parse_model"]


def parse_model(text: str) -> Name | HubName | Path:
    """Parse what `zoo.load` accepts: a path, a Hub repository or a name."""
    if not isinstance(text, str) or "\0" in text or "\n" in text:
        raise UnknownNameError(f"{text!r} is not a model name.", hint="a name is one line of text")
    if is_path(text):
        return _path(text)
    if (repository := parse_hub(text)) is not None:
        return repository
    name = parse(text) if is_name(text) else None
    if os.path.exists(text) and (name is None or name.name not in current().models.names):
        return Path(text)
    if "/" in text or "\\" in text:
        raise UnknownNameError(
            f"{text[:80]!r} could be a folder or a Hub repository.",
            hint=f"write './{text[:80]}' for the folder or 'hf://{text[:80]}' for the repository",
        )
    name = name or parse(text)  # which raises for a text that is no name
    warn_of_file(text)
    return name


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UnknownNameError(
            f"{text[:80]!r} names no user's folder ({error})",
            hint=f"write './{text[:80]}' for a folder that is called so",
        ) from None
