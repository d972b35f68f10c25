"""What went wrong with the Hub, as an error of ours: what was asked, what to do, no secrets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zoo_core.errors import NetworkError, UnknownNameError, ZooError
from zoo_core.weights.hub.library import http_error
from zoo_core.weights.hub.redaction import quiet_logs, redact

if TYPE_CHECKING:
    from zoo_core.weights.hub.access import Access

__all__ = ["MIRROR", "Refusal", "translate", "translated"]

MIRROR = "a mirror that can be reached: --endpoint, HF_ENDPOINT, hub.toml (docs/guides/weights.md)"
_LOG_IN = "set HF_TOKEN or run `hf auth login` with an account that may read it"


class Refusal(Exception):
    """A server answered with a status that is not success; `host` if it is not the Hub's own."""

    def __init__(
        self,
        status: int,
        code: str | None,
        retry_after: float | None = None,
        host: str | None = None,
    ) -> None:
        super().__init__(f"status {status} {code or ''}".rstrip())
        self.status, self.code, self.retry_after, self.host = status, code, retry_after, host


@contextmanager
def translated(repo: str, revision: str, access: "Access") -> Iterator[None]:
    """Inside the block errors of the HTTP library become ours, and its logs hold no secrets."""
    token = access.secret
    try:
        with quiet_logs(token):
            yield
    except (Refusal, ValueError, ConnectionError, http_error("HTTPError")) as error:
        raise translate(error, repo, revision, access) from None


def translate(error: Exception, repo: str, revision: str, access: "Access") -> ZooError:
    """The error to show for one of the HTTP library's, or for a refusal."""
    if isinstance(error, Refusal):
        kind, text, hint = _refused(error, f"hf://{repo}", revision, access)
        return kind(f"hf://{repo}{text}.", hint=hint)
    reason = redact(f"{type(error).__name__}: {error}".rstrip(": "), access.secret)
    return NetworkError(
        f"hf://{repo}: {access.url} cannot be reached or does not answer as the Hub does "
        f"({reason}).",
        hint=f"check the connection, HTTPS_PROXY and SSL_CERT_FILE, or name {MIRROR}; "
        "a slow Hub: HF_HUB_ETAG_TIMEOUT=30",
    )


def _refused(
    error: Refusal, name: str, revision: str, access: "Access"
) -> tuple[type[ZooError], str, str]:
    """The error's class, what it says of the repository, and the hint."""
    token, status, url = access.secret, error.status, access.url
    sent = "with the token that was sent" if token else "and no token was sent"
    if error.host:
        text = f": {error.host}, which holds the Hub's files, answers with status {status}"
        return NetworkError, text, f"try again, or name {MIRROR}"
    match error.code, status:
        case "GatedRepo", _:
            text = f" is gated: its owner grants access to it, {sent}"
            return NetworkError, text, f"ask for access on its page, then {_LOG_IN}"
        case "RevisionNotFound", _:
            return UnknownNameError, f" has no revision {revision!r}", f"the default one: {name}"
        case "EntryNotFound", _:
            return NetworkError, f"@{revision} no longer has a file that it lists", "try again"
        case _, 401 if token:
            return NetworkError, ": the token that was sent is not valid", _LOG_IN
        case _, 401:
            text = f" does not exist or is private, {sent}"
            return UnknownNameError, text, f"check the name, or {_LOG_IN}"
        case _, 403:
            return NetworkError, f" is private: access is denied, {sent}", _LOG_IN
        case ("RepoNotFound", _) | (_, 404):
            return UnknownNameError, f" does not exist at {url}", "check the name: hf://org/name"
        case _, 429:
            text = f": {url} answers that there were too many requests"
            return NetworkError, text, "wait some minutes; a token (HF_TOKEN) raises the limit"
    return NetworkError, f": {url} answers with status {status}", "try again"
