"""The requests that reading the Hub needs: what a commit holds, and the bytes of one file.

Sessions, tokens and offline switches are huggingface_hub's; retries and checks are ours, for
its metadata request is not retried, and neither is a 5xx in the middle of a download.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

from zoo_core.catalog.names import is_commit, is_digest
from zoo_core.errors import IntegrityError
from zoo_core.reading import parse_json
from zoo_core.text import printable
from zoo_core.weights.hub.access import Access, check_file
from zoo_core.weights.hub.http_errors import Refusal, quiet_logs, translate

__all__ = ["Commit", "Listed", "commit_of", "download"]

T = TypeVar("T")

_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts."""
_CONNECT, _LONGEST_WAIT = 2.0, 60.0
_UNREACHABLE, _INTERRUPTED = 1.5, 30.0
"""Seconds without an answer until a listing, and a download that has begun, are given up."""
_ANSWER = 3.5
"""Seconds that one request for a listing may take altogether; `HF_HUB_ETAG_TIMEOUT` says more."""
_MAX_LISTING = 1 << 26
"""Bytes of a listing, which names every file of a commit."""
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_WORTH = 8 << 20
"""Bytes between two breaks by which a download gets on, so that its attempts are counted anew."""


@dataclass(frozen=True)
class Listed:
    """A file that a commit holds; the digest is a SHA-256, or git's SHA-1 for a small file."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Commit:
    """A commit of a repository, by the name it has now, and its files by path."""

    repo: str
    sha: str
    files: Mapping[str, Listed]


def commit_of(repo: str, revision: str | None, access: Access) -> Commit:
    """Resolve a revision and list its files; one request, more where it has to be retried."""
    tail = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    url = f"{access.url}/api/models/{repo}{tail}?blobs=true"
    with _errors(repo, revision or "main", access):
        return _parse(repo, _retried(lambda: _within(_patience(), lambda: _json(url, access))))


def download(repo: str, sha: str, file: Listed, part: Path, access: Access) -> None:
    """Write the bytes of a file to `part`, which must not exist; they are not verified here."""
    url = f"{access.url}/{repo}/resolve/{sha}/{quote(file.path)}"
    with _errors(repo, sha, access), _bar(file, access) as bar, part.open("xb") as out:
        while True:
            before = out.tell()
            try:
                return _retried(lambda: _stream(url, file, out, bar, access), _INTERRUPTED)
            except (Refusal, _transport("TransportError")):
                if out.tell() - before < _WORTH:
                    raise


def _stream(url: str, file: Listed, out: IO[bytes], bar: Any, access: Access) -> None:
    """One GET that continues where `out` ends, to where the server says that the file does."""
    start = out.tell()
    headers = {"range": f"bytes={start}-"} if start else {}
    with _session().stream("GET", url, **_arguments(access, headers)) as response:
        if response.status_code == 416 or (start and response.status_code != 206):
            start = _restart(out, bar)
        _check(response)
        for chunk in response.iter_bytes():
            out.write(chunk)
            bar.update(len(chunk))
            if out.tell() > file.size:
                return


def _restart(out: IO[bytes], bar: Any) -> int:
    out.seek(0)
    out.truncate()
    bar.reset()
    return 0


def _json(url: str, access: Access) -> Any:
    data = bytearray()
    with _session().stream("GET", url, **_arguments(access, {})) as response:
        _check(response)
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > _MAX_LISTING:
                raise ValueError(f"its listing is larger than {_MAX_LISTING:,} bytes")
    return parse_json(bytes(data))


def _patience() -> float:
    """Seconds to wait for a listing."""
    try:
        return float(os.environ.get("HF_HUB_ETAG_TIMEOUT", ""))
    except ValueError:
        return _ANSWER


def _within(seconds: float, call: Callable[[], T]) -> T:
    """`call()` in a thread, which is left behind after so many seconds.

    The library's timeouts are for one address and one packet: a resolver that hangs, a name with
    many dead addresses and an answer that trickles outlast them.
    """
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True, name="density-zoo listing").start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise _transport("ReadTimeout")(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    found: T = answer
    return found


def _arguments(access: Access, headers: dict[str, str]) -> dict[str, Any]:
    from huggingface_hub import constants

    from zoo_core.version import __version__

    token = access.secret
    own = {"user-agent": f"density-zoo/{__version__}", "accept-encoding": "identity"}
    bearer = {"authorization": f"Bearer {token}"} if token else {}
    read = max(constants.HF_HUB_ETAG_TIMEOUT, constants.HF_HUB_DOWNLOAD_TIMEOUT)
    timeout = _library().Timeout(read, connect=_CONNECT)
    return {"headers": own | bearer | headers, "timeout": timeout, "follow_redirects": True}


def _parse(repo: str, data: Any) -> Commit:
    """The answer, checked before anything of it becomes a path or is written."""
    try:
        files = [_listed(sibling) for sibling in data["siblings"]]
        name, sha = data.get("id", repo), data["sha"]
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"hf://{repo}: the answer lists no files ({error!r}).") from None
    if not is_commit(sha):
        raise IntegrityError(f"hf://{repo}: the answer names the commit {str(sha)[:80]!r}.")
    return Commit(str(name), sha, {file.path: file for file in files})


def _listed(sibling: Any) -> Listed:
    lfs = sibling.get("lfs") or {}
    path, size = check_file(sibling["rfilename"]), lfs.get("size", sibling.get("size"))
    digest = lfs.get("sha256", sibling.get("blobId"))
    if not is_digest(digest) or not isinstance(size, int) or size < 0:
        raise IntegrityError(f"{path}: the answer names the hash {str(digest)[:80]!r}.")
    return Listed(path, size, digest)


def _retried(call: Callable[[], T], patience: float = _UNREACHABLE) -> T:
    """`call()`, again after a pause while what goes wrong may pass.

    `patience` is how many seconds in a row there may be no connection or no answer.
    """
    alone = 0.0
    for pause in _PAUSES:
        begun = time.monotonic()
        try:
            return call()
        except Exception as error:
            unreached = isinstance(error, _unreachable())
            alone = alone + time.monotonic() - begun + pause if unreached else 0.0
            wait = None if alone > patience else _wait(error, pause)
            if wait is None:
                raise
            time.sleep(wait)
    return call()


def _unreachable() -> tuple[type[Exception], ...]:
    return tuple(map(_transport, ("ConnectError", "ConnectTimeout", "ReadTimeout")))


def _wait(error: Exception, pause: float) -> float | None:
    """Seconds until the next attempt; None where there should be none."""
    if isinstance(error, Refusal):
        wait = max(pause, error.retry_after or 0.0)
        return wait if error.status in _TRANSIENT and wait <= _LONGEST_WAIT else None
    return pause if isinstance(error, _transport("TransportError")) else None


def _check(response: Any) -> None:
    if response.status_code >= 300:
        after = response.headers.get("retry-after", "")
        code = response.headers.get("x-error-code")
        raise Refusal(response.status_code, code, float(after) if after.isdecimal() else None)


@contextmanager
def _errors(repo: str, revision: str, access: Access) -> Iterator[None]:
    """Errors of the HTTP library as ours; logs without secrets."""
    token = access.secret
    try:
        with quiet_logs(token):
            yield
    except (Refusal, ValueError, ConnectionError, _transport("HTTPError")) as error:
        raise translate(error, repo, revision, access.url, token=token) from None


def _session() -> Any:
    from huggingface_hub import get_session

    return get_session()


def _library() -> Any:
    """The HTTP library that this huggingface_hub uses: httpx, or its successor."""
    from huggingface_hub.errors import HfHubHTTPError

    return import_module(HfHubHTTPError.__mro__[1].__module__.partition(".")[0])


def _transport(name: str) -> type[Exception]:
    found: type[Exception] = getattr(_library(), name)
    return found


def _bar(file: Listed, access: Access) -> Any:
    """A progress bar on stderr, if that is a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=file.size,
        desc=printable(file.path),
        unit="B",
        unit_scale=True,
        disable=None if access.progress else True,
        leave=False,
    )
