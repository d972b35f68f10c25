"""Files at https addresses of their own, kept in the cache like those of a repository.

Nobody lists such files, so their names, sizes and SHA-256 come from a card, which stands for the
commit: its hash is that of all of them. An address that cannot be reached, or that serves other
bytes, is followed by its mirrors. No token is sent.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import urlsplit

from zoo_core.catalog.names import is_digest
from zoo_core.catalog.specs import PretrainedFile
from zoo_core.errors import IntegrityError, NetworkError, UsageError
from zoo_core.weights.file_hashes import sha256
from zoo_core.weights.hub.access import Access, is_sound_address
from zoo_core.weights.hub.cache import URLS, Store
from zoo_core.weights.hub.client import plain_headers, receive
from zoo_core.weights.hub.http_errors import Refusal
from zoo_core.weights.hub.library import http_error
from zoo_core.weights.hub.listing import Commit, Listed, check_file
from zoo_core.weights.hub.redaction import quiet_logs, redact
from zoo_core.weights.hub.snapshot import Plan, Snapshot, fetch

__all__ = ["check_url", "hash_of_url", "plan_urls", "snapshot_of_urls"]


_LARGEST = 1 << 38
"""Bytes of the largest file that is hashed."""


def plan_urls(name: str, files: Sequence[PretrainedFile], access: Access) -> Plan:
    """What is cached of the files of `name`, and what is not; makes no request."""
    store = Store(access.cache, f"{URLS}{name}")
    listed = {file.path: _listed(name, file) for file in files}
    commit = Commit(store.repo, _hash(listed), listed)
    missing = [f for f in listed.values() if not store.verified(commit.sha, f)]
    origin = check_url(files[0].urls[0])
    return Plan(store, commit, tuple(listed.values()), tuple(missing), origin=origin)


def snapshot_of_urls(name: str, files: Sequence[PretrainedFile], access: Access) -> Snapshot:
    """Fetch the files of `name`; raises `NetworkError` or `IntegrityError` of the last mirror."""
    planned = plan_urls(name, files, access)
    addresses = {file.path: [*map(check_url, file.urls)] for file in files}
    if planned.missing:
        fetch(planned, partial(_from_any, addresses, planned.store, access), access, name=name)
    return planned.snapshot


def hash_of_url(url: str, access: Access) -> tuple[int, str]:
    """Size and SHA-256 of the file at an address, which is read and not kept; for makers of cards.

    Nothing is known of it beforehand, so that its size is bounded only by `_LARGEST`.
    """
    check_url(url)
    with TemporaryFile() as out:
        _from_one(url, Listed(urlsplit(url).path, _LARGEST, ""), out, access)
        size = out.tell()
        out.seek(0)
        return size, hashlib.file_digest(out, "sha256").hexdigest()


def check_url(url: str) -> str:
    """The https address of a file, or http on this machine; else `UsageError`."""
    if not is_sound_address(url) or not urlsplit(url).path.strip("/"):
        raise UsageError(
            f"{url[:120]!r} is no https address of a file.", hint="https://host/path/file"
        )
    return url


def _listed(name: str, file: PretrainedFile) -> Listed:
    """The file as a listing has it; raises `IntegrityError` if its size or hash is not stated."""
    if file.size is None or not is_digest(file.sha256) or len(str(file.sha256)) != 64:
        raise IntegrityError(
            f"{name}: its card states no size and SHA-256 of {file.urls[0]}, and nothing is "
            "fetched that cannot be verified.",
            hint="fetch it yourself and run zoo convert; python -m tools.pin completes the card",
        )
    return Listed(check_file(file.path), file.size, str(file.sha256))


def _hash(files: Mapping[str, Listed]) -> str:
    """A hash of names, sizes and hashes, in the form of a commit's."""
    text = json.dumps(sorted((f.path, f.size, f.digest) for f in files.values()))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _from_any(
    addresses: Mapping[str, Sequence[str]],
    store: Store,
    access: Access,
    file: Listed,
    out: IO[bytes],
) -> None:
    """Fetch a file from the first of its addresses that serves its bytes."""
    *others, last = addresses[file.path]
    for url in others:
        try:
            _from_one(url, file, out, access)
        except NetworkError:
            continue
        out.flush()
        if sha256(store.part(file)) == file.digest:
            return
        out.seek(0)
        out.truncate()
    _from_one(last, file, out, access)


def _from_one(url: str, file: Listed, out: IO[bytes], access: Access) -> None:
    try:
        with quiet_logs(access.secret):
            receive(url, file, out, access, plain_headers())
    except Refusal as refusal:
        raise NetworkError(f"{url} answers with status {refusal.status}.", hint=_HINT) from None
    except (ValueError, ConnectionError, http_error("HTTPError")) as error:
        reason = redact(f"{type(error).__name__}: {error}".rstrip(": "), access.secret)
        raise NetworkError(f"{url} cannot be reached ({reason}).", hint=_HINT) from None


_HINT = "try again; check the connection, HTTPS_PROXY and SSL_CERT_FILE"
