"""Text and log lines without tokens, passwords and the queries that sign URLs."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from zoo_core.text import printable

__all__ = ["quiet_logs", "redact"]

_SECRETS = (
    (re.compile(r"\bhf_\w{4,}"), "hf_***"),
    (re.compile(r"(https?://[^\s?'\"<>]*)\?[^\s'\"<>)\]]*"), r"\1?***"),
    (re.compile(r"(://)[^/\s@]+@"), r"\1***@"),
    (re.compile(r"(?i)(bearer\s+)[^\s'\"]+"), r"\1***"),
)
_LOGGERS = (
    "huggingface_hub.utils._http",
    "httpx",
    "httpx2",
    *(f"{core}.{part}" for core in ("httpcore", "httpcore2") for part in ("http11", "connection")),
)


def redact(text: str, token: str | None = None) -> str:
    """The text without tokens, without passwords and queries of URLs."""
    if token:
        text = text.replace(token, "***")
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


@contextmanager
def quiet_logs(token: str | None) -> Iterator[None]:
    """Inside the block the loggers write no secrets and no controls."""

    def clean(record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(redact(record.getMessage(), token)), ()
        return True

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(clean)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(clean)
