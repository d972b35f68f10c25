"""What went wrong with the Hub, as an error of ours: what was asked, what to do, no secrets."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from zoo_core.errors import NetworkError, UnknownNameError, ZooError
from zoo_core.text import printable

__all__ = ["Refusal", "quiet_logs", "redact", "translate"]

_TOKEN = re.compile(r"\bhf_\w{4,}")
_BEARER = re.compile(r"(?i)(bearer\s+)[^\s'\"]+")
_QUERY = re.compile(r"(https?://[^\s?'\"<>]*)\?[^\s'\"<>)\]]*")
_LOGGERS = (
    "huggingface_hub.utils._http",
    "httpx",
    "httpx2",
    *(f"{core}.{part}" for core in ("httpcore", "httpcore2") for part in ("http11", "connection")),
)


class Refusal(Exception):
    """The Hub answered with a status that is no success."""

    def __init__(self, status: int, code: str | None, retry_after: float | None = None) -> None:
        super().__init__(f"status {status} {code or ''}".rstrip())
        self.status, self.code, self.retry_after = status, code, retry_after


def redact(text: str, token: str | None = None) -> str:
    """The text without tokens and without the queries of URLs, which sign them."""
    if token:
        text = text.replace(token, "***")
    text = _QUERY.sub(r"\1?***", _TOKEN.sub("hf_***", text))
    return _BEARER.sub(r"\1***", text)


class _Redacting(logging.Filter):
    def __init__(self, token: str | None) -> None:
        super().__init__()
        self.token = token

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(redact(record.getMessage(), self.token)), ()
        return True


@contextmanager
def quiet_logs(token: str | None) -> Iterator[None]:
    """Inside the block the loggers of the HTTP client write no tokens, signed URLs or controls."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    rule = _Redacting(token)
    for logger in loggers:
        logger.addFilter(rule)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(rule)


def translate(
    error: Exception, repo: str, revision: str, url: str, *, token: str | None
) -> ZooError:
    """The error to show for one of the client's; `token` only says whether one was sent."""
    what = f"hf://{repo}"
    if isinstance(error, Refusal):
        return _refused(error, what, revision, url, token)
    reason = redact(f"{type(error).__name__}: {error}".rstrip(": "), token)
    return NetworkError(
        f"{what}: {url} cannot be reached or does not answer as the Hub does ({reason}).",
        hint="check the connection, HTTPS_PROXY, SSL_CERT_FILE and HF_ENDPOINT, and try again; "
        "a slow Hub: HF_HUB_ETAG_TIMEOUT=30",
    )


def _refused(error: Refusal, what: str, revision: str, url: str, token: str | None) -> ZooError:
    sent = "with the token that was sent" if token else "and no token was sent"
    log_in = "set HF_TOKEN or run `hf auth login` with an account that may read it"
    if error.code == "GatedRepo":
        return NetworkError(
            f"{what} is gated: its owner grants access to it, {sent}.",
            hint=f"ask for access on its page, then {log_in}",
        )
    if error.code == "RevisionNotFound":
        return UnknownNameError(
            f"{what} has no revision {revision!r}.", hint=f"the default one: {what}"
        )
    if error.code == "EntryNotFound":
        return NetworkError(f"{what}@{revision} no longer has a file that it lists.", hint="retry")
    if error.status == 401 and token:
        return NetworkError(f"{what}: the token that was sent is not valid.", hint=log_in)
    if error.status == 401:
        return UnknownNameError(
            f"{what} does not exist or is private, {sent}.", hint=f"check the name, or {log_in}"
        )
    if error.status == 403:
        return NetworkError(f"{what} is private: access is denied, {sent}.", hint=log_in)
    if error.code == "RepoNotFound" or error.status == 404:
        return UnknownNameError(
            f"{what} does not exist at {url}.", hint="check the name: hf://org/name"
        )
    if error.status == 429:
        return NetworkError(
            f"{what}: {url} answers that there were too many requests.",
            hint="wait some minutes; a token (HF_TOKEN) raises the limit",
        )
    return NetworkError(f"{what}: {url} answers with status {error.status}.", hint="try again")
