"""Publish a model's folder on the Hub in one commit.

The model is loaded and must reproduce its golden tensors before anything is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo_core.building import load_folder
from zoo_core.catalog import layout
from zoo_core.errors import NetworkError, UnknownNameError, ZooError
from zoo_core.files import temporary_folder
from zoo_core.model import GenerativeModel
from zoo_core.weights import checkpoint, golden
from zoo_core.weights.card import card
from zoo_core.weights.hub.access import Access, check_repo
from zoo_core.weights.hub.client import commit_of
from zoo_core.weights.hub.http_errors import Refusal, translate
from zoo_core.weights.hub.library import library, session
from zoo_core.weights.hub.listing import Commit
from zoo_core.weights.hub.redaction import quiet_logs, redact
from zoo_core.weights.tensors import read_tensors

__all__ = ["CARD", "SAMPLES", "Pushed", "push"]

CARD, SAMPLES = "README.md", "samples.png"


@dataclass(frozen=True)
class Pushed:
    """A published model, or a dry run: file sizes by path, the model card, and the commit."""

    repo: str
    files: dict[str, int]
    card: str
    commit: str | None = None
    url: str | None = None


def push(
    folder: str | Path,
    repo: str,
    access: Access | None = None,
    *,
    private: bool = False,
    create_pr: bool = False,
    dry_run: bool = False,
    samples: int = 16,
) -> Pushed:
    """Upload a model's folder to `org/name`, which is created if it does not exist; as `zoo.push`.

    The model card gets a picture of so many `samples`, if events can be drawn; 0: none.
    `dry_run` makes no request. Raises `IntegrityError` if the folder is damaged or its golden
    tensors differ, and `NetworkError` if the upload fails.
    """
    folder, repo, access = Path(folder), repo.removeprefix("hf://"), access or Access()
    check_repo(repo)
    model = load_folder(folder)
    metadata = checkpoint.read_metadata(folder)
    if checkpoint.GOLDEN in metadata["files"] or (folder / checkpoint.GOLDEN).is_file():
        golden.check(model, folder)
    picture = _picture(model, folder, samples)
    text = card(repo, model.spec, metadata, SAMPLES if picture else None)
    extra = {CARD: text.encode(), **({SAMPLES: picture} if picture else {})}
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    paths = {
        n: folder / n for n in layout.zoo_files(names) if checkpoint.is_model_file(folder / n)
    }
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    planned = Pushed(repo, {**sizes, **{n: len(data) for n, data in extra.items()}}, text)
    if dry_run:
        return planned
    if access.is_offline:
        raise NetworkError("a push needs the Hub, and offline.", hint="drop --offline")
    made = _guarded(
        repo, access, lambda: _send({**paths, **extra}, repo, access, private, create_pr)
    )
    url = str(made.pr_url or f"{access.url}/{repo}")
    return Pushed(repo, planned.files, text, str(made.oid), url)


def _picture(model: GenerativeModel, folder: Path, n: int) -> bytes | None:
    """A picture of samples as a PNG; None if there are none to draw.

    A model that needs a condition takes those of its golden tensors.
    """
    from zoo_core.data.pictures import drawable
    from zoo_core.data.writers import write

    cond = None
    if (folder / checkpoint.GOLDEN).is_file():
        cond = read_tensors([folder / checkpoint.GOLDEN]).get("cond")
    needs = model.condition.kind != "none" and not model.condition.optional and cond is None
    if n == 0 or needs or not drawable(model.event):
        return None
    rows = None if cond is None else cond[torch.arange(n) % len(cond)]
    with temporary_folder() as place:
        write(place / SAMPLES, model.sample(n, seed=0, cond=rows, device="cpu"), model.event)
        return (place / SAMPLES).read_bytes()


def _send(
    files: Mapping[str, Path | bytes], repo: str, access: Access, private: bool, create_pr: bool
) -> Any:
    """Create the repository if it does not exist, and add one commit to its head."""
    session(access.url)  # raises our error for unusable proxies and certificates
    hub = library(access.url)
    api = hub.HfApi(endpoint=access.url, token=access.secret or False)
    head = _head(repo, access)  # first, since the library never gives up a silent host
    if not create_pr:
        api.create_repo(repo, private=private, exist_ok=True)
    head = head or commit_of(repo, None, access)
    ours = {name for name in head.files if layout.is_ours(name) or name == SAMPLES}
    old = ours - files.keys()
    added = [hub.CommitOperationAdd(name, data) for name, data in files.items()]
    return api.create_commit(
        repo,
        [*added, *(hub.CommitOperationDelete(name) for name in sorted(old))],
        commit_message="Upload a model by density-zoo",
        create_pr=create_pr,
        parent_commit=head.sha,
    )


def _head(repo: str, access: Access) -> Commit | None:
    """The newest commit of a repository; None where there is none that may be read."""
    try:
        return commit_of(repo, None, access)
    except UnknownNameError:
        return None


def _guarded(repo: str, access: Access, send: Any) -> Any:
    """Translate the client's errors; the repository is in the old state or the new one."""
    library(access.url)
    from huggingface_hub.errors import HfHubHTTPError

    token = access.secret
    try:
        with quiet_logs(token):
            return send()
    except ZooError:
        raise
    except HfHubHTTPError as error:
        raise _refused(error, repo, access) from None
    except Exception as error:
        if isinstance(error, (TypeError, AttributeError, AssertionError)):
            raise
        reason = redact(f"{type(error).__name__}: {error}", token)
        raise NetworkError(
            f"hf://{repo}: the upload broke off ({reason}); the repository is as it was, or has "
            "all of it.",
            hint="push again",
        ) from None


def _refused(error: Any, repo: str, access: Access) -> ZooError:
    status = error.response.status_code
    if status in (401, 403):
        return NetworkError(
            f"hf://{repo} cannot be written ({status}), "
            f"{'with the token that was sent' if access.secret else 'and no token was sent'}.",
            hint="set HF_TOKEN to a token with write access, or --create-pr",
        )
    if status in (409, 412):
        return NetworkError(
            f"hf://{repo} was changed by someone else meanwhile.", hint="try again"
        )
    refusal = Refusal(status, error.response.headers.get("x-error-code"))
    return translate(refusal, repo, "main", access)
