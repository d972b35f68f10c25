"""huggingface_hub, imported with the environment as this user means it.

The library reads its variables once, when it is imported, and cannot be imported where a number
of seconds is not an integer.
"""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from zoo_core.errors import UsageError
from zoo_core.weights.hub.redaction import redact

__all__ = ["http_error", "http_library", "library", "seconds", "session"]

_SECONDS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
_NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


def library(url: str | None = None) -> Any:
    """The package `huggingface_hub`; `url` becomes its endpoint if it was not imported before."""
    if "huggingface_hub.constants" not in sys.modules:
        whole = {name: str(math.ceil(seconds(name, 10.0))) for name in _SECONDS}
        with _environment(whole | ({"HF_ENDPOINT": url} if url else {})):
            import_module("huggingface_hub.constants")
    return import_module("huggingface_hub")


def seconds(name: str, default: float) -> float:
    """The seconds that a variable of the environment says, or `UsageError`."""
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise UsageError(f"{name}={text[:40]} is no number of seconds.", hint=f"{name}=30")
    return value


def session(url: str) -> Any:
    """The HTTP client that huggingface_hub shares, with this user's proxies and certificates."""
    try:
        return library(url).get_session()
    except (OSError, ImportError, ValueError, http_error("InvalidURL")) as error:
        reason = redact(f"{type(error).__name__}: {error}")
        names = [n for n in _NETWORK if os.environ.get(n) or os.environ.get(n.lower())]
        raise UsageError(
            f"the proxies or certificates of the environment cannot be used ({reason}).",
            hint=f"check {', '.join(names or _NETWORK)}; a SOCKS proxy needs: pip install socksio",
        ) from None


def http_library() -> Any:
    """The HTTP library that this huggingface_hub uses: httpx, or its successor."""
    library()
    error = import_module("huggingface_hub.errors").HfHubHTTPError
    return import_module(error.__mro__[1].__module__.partition(".")[0])


def http_error(name: str) -> type[Exception]:
    """An exception class of the HTTP library."""
    error: type[Exception] = getattr(http_library(), name)
    return error


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Inside the block the variables have these values."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
