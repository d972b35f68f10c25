"""The requests that reading weights needs: what a commit holds, and the bytes of one file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote, urlsplit

from zoo_core.reading import parse_json
from zoo_core.text import printable
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.http_errors import Refusal, translated
from zoo_core.weights.hub.library import http_library, library, seconds, session
from zoo_core.weights.hub.listing import Commit, Listed, parse
from zoo_core.weights.hub.patience import Patience, is_transient

__all__ = ["PROGRESS", "commit_of", "download", "plain_headers", "receive"]

PROGRESS = 8 << 20
"""Bytes that are worth keeping, and after which the attempts at a download are counted anew."""
_ANSWER = 3.5
"""Seconds for a listing, or as many as `HF_HUB_ETAG_TIMEOUT` says."""
_SILENCE, _BASE, _SLOWEST = 10.0, 60.0, 16 << 10
"""A download may be silent so many seconds (or `HF_HUB_DOWNLOAD_TIMEOUT`), and takes so many
seconds altogether and the time of its bytes at so many a second."""
_CONNECT = 2.0
"""Seconds until another address of a host is tried."""
_MAX_LISTING = 1 << 24
"""Bytes of a listing, which names every file of a commit."""
_REDIRECTS = 5


def commit_of(repo: str, revision: str | None, access: Access) -> Commit:
    """Resolve a revision and list its files; one request, more where it has to be retried."""
    tail = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    url = f"{access.url}/api/models/{repo}{tail}?blobs=true"
    with translated(repo, revision or "main", access):
        silence = seconds("HF_HUB_ETAG_TIMEOUT", _ANSWER)
        patience = Patience(silence, silence)
        return parse(repo, parse_json(patience.retried(lambda: _body(url, access, patience))))


def download(repo: str, sha: str, file: Listed, out: IO[bytes], access: Access) -> None:
    """Append to `out` what it lacks of a file; the bytes are not verified here."""
    address = library(access.url).hf_hub_url(repo, file.path, revision=sha, endpoint=access.url)
    with translated(repo, sha, access):
        receive(address, file, out, access, _headers(access))


def receive(
    address: str, file: Listed, out: IO[bytes], access: Access, headers: Mapping[str, str]
) -> None:
    """Append to `out` what it lacks of the file at an address; errors are the HTTP library's."""
    silence = seconds("HF_HUB_DOWNLOAD_TIMEOUT", _SILENCE)
    patience = Patience(silence, max(_BASE, silence) + file.size / _SLOWEST)
    with _bar(file, access, out.tell()) as bar:
        while True:
            before = out.tell()
            try:
                return patience.retried(
                    lambda: _append(address, file, out, bar, access, patience, headers)
                )
            except Exception as error:
                if not is_transient(error) or out.tell() - before < PROGRESS:
                    raise


def _body(url: str, access: Access, patience: Patience) -> bytes:
    body = bytearray()
    with _get(url, access, patience, "RepoNotFound", _headers(access)) as response:
        for chunk in response.iter_raw():
            patience.beat()
            body += chunk
            if len(body) > _MAX_LISTING:
                raise ValueError(f"its listing is larger than {_MAX_LISTING:,} bytes")
    return bytes(body)


def _append(
    url: str,
    file: Listed,
    out: IO[bytes],
    bar: Any,
    access: Access,
    patience: Patience,
    headers: Mapping[str, str],
) -> None:
    """One GET that goes on where `out` ends."""
    start = out.tell()
    if start >= file.size:
        return
    part = {"range": f"bytes={start}-"} if start else {}
    try:
        with _get(url, access, patience, "EntryNotFound", {**headers, **part}) as response:
            if start and response.status_code != 206:
                _restart(out, bar)
            for chunk in response.iter_raw():
                patience.beat()
                out.write(chunk)
                bar.update(len(chunk))
                if out.tell() > file.size:
                    return
    except Refusal as refusal:
        if refusal.status == 416:  # no such range: the next attempt asks for the whole file
            _restart(out, bar)
        raise


def _restart(out: IO[bytes], bar: Any) -> None:
    out.seek(0)
    out.truncate()
    bar.reset()


@contextmanager
def _get(
    url: str, access: Access, patience: Patience, missing: str, headers: Mapping[str, str]
) -> Iterator[Any]:
    """A response whose body is not read yet, from where the Hub redirects to.

    The library reads the body of a redirect, however large; so redirects are followed here. It
    drops the token on the way to another host. `missing` is the code of a bare 404.
    """
    timeout = http_library().Timeout(patience.silence, connect=_CONNECT)
    client = session(access.url)
    request = client.build_request("GET", url, headers=dict(headers), timeout=timeout)
    for _ in range(_REDIRECTS):
        patience.beat()
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if response.next_request is None:
                _check(response, access, missing)
                yield response
                return
            request = response.next_request
        finally:
            response.close()
    raise ValueError("it redirects without an end")


def plain_headers() -> dict[str, str]:
    """What every request says: who asks, and that a compressed body is not wanted."""
    from zoo_core.version import __version__

    return {"user-agent": f"density-zoo/{__version__}", "accept-encoding": "identity"}


def _headers(access: Access) -> dict[str, str]:
    """The headers of a request to the Hub, with the token."""
    token = access.secret
    return plain_headers() | ({"authorization": f"Bearer {token}"} if token else {})


def _check(response: Any, access: Access, missing: str) -> None:
    """Raise unless this is a success; a compressed body was not asked for and may inflate."""
    status, headers = response.status_code, response.headers
    if status >= 300:
        after, own = headers.get("retry-after", ""), urlsplit(access.url).hostname
        host = response.url.host if response.url.host != own else None
        code = headers.get("x-error-code") or (missing if status == 404 else None)
        raise Refusal(status, code, float(after) if after.isdecimal() else None, host)
    if headers.get("content-encoding", "identity") != "identity":
        raise ValueError(f"it sends {headers['content-encoding'][:20]}, which was not asked for")


def _bar(file: Listed, access: Access, start: int) -> Any:
    """A progress bar on stderr, if that is a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=file.size,
        initial=start,
        desc=printable(file.path),
        unit="B",
        unit_scale=True,
        disable=None if access.progress else True,
        leave=False,
    )
