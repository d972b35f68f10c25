"""Publishes every bundled tag on the Hub, each as a repository of its own, in one command.

    python -m tools.publish ORG --dry-run            # what would be sent, without a request
    HF_TOKEN=... python -m tools.publish ORG         # ORG/made.digits, ORG/glow.digits, ...
    python -m tools.publish ORG 'ddpm.*' --private

Each model is loaded and must reproduce its golden tensors first, and its repository changes in one
commit. A tag that fails is named at the end, and the others are published; run it again then.
"""

import argparse
import sys
from fnmatch import fnmatchcase

from zoo_core.catalog.registry import ModelInfo, current
from zoo_core.errors import UnknownNameError, ZooError
from zoo_core.publishing import push
from zoo_core.weights.hub.access import Access


def main(argv: list[str] | None = None) -> int:
    """Publish the bundled tags that match; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("org", metavar="ORG", help="the owner of the repositories")
    parser.add_argument("pattern", nargs="?", default="*", help="of names (default: all)")
    parser.add_argument("--private", action="store_true", help="create repositories private")
    parser.add_argument("--dry-run", action="store_true", help="send nothing")
    parser.add_argument("--endpoint", metavar="URL", help="address of the Hub")
    args = parser.parse_args(argv)
    failed = []
    for info in bundled(args.pattern):
        try:
            print(_publish(info, args))
        except ZooError as error:
            failed.append(info.name)
            print(f"{info.name}: {error}", file=sys.stderr)
    if failed:
        print(f"not published: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def bundled(pattern: str) -> list[ModelInfo]:
    """The bundled tags whose names match; raises `UnknownNameError` if there are none."""
    rows = [row for row in current().list_models() if row.tag and row.tag.status == "bundled"]
    if found := [row for row in rows if fnmatchcase(row.name, pattern)]:
        return found
    raise UnknownNameError(f"no bundled tag matches {pattern!r}.", hint="zoo list")


def _publish(info: ModelInfo, args: argparse.Namespace) -> str:
    assert info.tag is not None and info.tag.folder is not None
    sent = push(
        info.tag.folder,
        f"{args.org}/{info.name}",
        Access(endpoint=args.endpoint, progress=False),
        private=args.private,
        dry_run=args.dry_run,
    )
    size = sum(sent.files.values())
    return f"{info.name}: {sent.url or sent.repo}, {len(sent.files)} files, {size:,} bytes"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ZooError as error:
        sys.exit(str(error))
