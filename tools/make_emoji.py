"""Makes the images of `zoo_core/data/emoji.npz` again from the SVGs, at any size.

    pip install density-zoo[svg]                             # resvg
    python tools/make_emoji.py --compare                     # 32x32: with the images of the file
    python tools/make_emoji.py --size 64 --out emoji64.npz   # larger, with the same splits

The SVGs come from three npm packages, by their hashes. Each is drawn at eight times the size,
composed on white, and reduced by area. Which emoji there are, in which split and order, is what
the embedded file says in its arrays of code points and styles. The file that is written is read
by its path as a data set, with the labels `group` and `style`.
"""

import argparse
import hashlib
import io
import json
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo_core.data.emoji import GROUPS, STYLES
from zoo_core.errors import IntegrityError
from zoo_core.files import cache_dir, write_atomically

EMBEDDED = Path(__file__).parents[1] / "zoo_core" / "data" / "emoji.npz"
REGISTRY = "https://registry.npmjs.org/@iconify-json"
PACKAGES = {
    "noto-1.2.9": "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    "twemoji-1.2.5": "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    "fluent-emoji-flat-1.2.6": "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
}
"""The package of each style in turn, and the sha256 of its archive."""
SPLITS = ("train", "valid", "test")
OVERSAMPLING = 8
_JOINERS = ("200d", "fe0f")  # zero-width joiner and variation selector, left out of code points
_TIMEOUT_SECONDS = 60


class Icons:
    """The SVGs of one package by code points, such as "1f468-2695"."""

    def __init__(self, package: str, sha256: str) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive(package, sha256))) as files:
            self.icons, names = (_json(files, f"package/{n}.json") for n in ("icons", "chars"))
        self.names = {_without_joiners(code): name for code, name in names.items()}

    def svg(self, code: str) -> str:
        name = self.names[code]
        alias = self.icons.get("aliases", {}).get(name, {})
        icon = {**self.icons["icons"][alias.get("parent", name)], **alias}
        width, height = (icon.get(k, self.icons.get(k, 16)) for k in ("width", "height"))
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}">'
            f"{icon['body']}</svg>"
        )


def archive(package: str, sha256: str) -> bytes:
    """The archive of a package, from the cache or else from the npm registry."""
    path = cache_dir() / "data" / f"{package}.tgz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        url = f"{REGISTRY}/{package.rsplit('-', 1)[0]}/-/{package}.tgz"
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            write_atomically(path, answer.read())
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(f"{path} is not the archive of {package}.", hint="remove it")
    return data


def draw(svg: str, size: int) -> np.ndarray:
    """An SVG on white, (3, size, size) uint8."""
    import resvg_py

    side = OVERSAMPLING * size
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
    with Image.open(io.BytesIO(png)) as drawn:
        image = drawn.convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image)
    small = page.convert("RGB").resize((size, size), Image.Resampling.BOX)
    return np.asarray(small).transpose(2, 0, 1)


def arrays(size: int) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of an .npz data set: x_train, y_train_group, ..., and the names of classes."""
    sets = [Icons(package, sha256) for package, sha256 in PACKAGES.items()]
    with np.load(EMBEDDED) as kept:
        for split in SPLITS:
            rows = zip(kept[f"{split}_style"], kept[f"{split}_code"], strict=True)
            yield f"x_{split}", np.stack([draw(sets[s].svg(str(c)), size) for s, c in rows])
            for label in ("group", "style"):
                yield f"y_{split}_{label}", kept[f"{split}_{label}"]
    yield "names_group", np.array(GROUPS)
    yield "names_style", np.array(STYLES)


def differences(made: dict[str, np.ndarray]) -> Iterator[str]:
    """How many images differ from those of the embedded file, and by how much at most."""
    with np.load(EMBEDDED) as kept:
        for split in SPLITS:
            gap = np.abs(made[f"x_{split}"].astype(int) - kept[f"{split}_x"]).max((1, 2, 3))
            yield (
                f"{split}: {len(gap)} images, {(gap > 0).sum()} differ, by {gap.max()} levels "
                "at most"
            )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--out", type=Path, help="an .npz file to write")
    parser.add_argument("--compare", action="store_true", help="with the embedded images, at 32")
    options = parser.parse_args()
    made = dict(arrays(options.size))
    if options.compare:
        print(*differences(made), sep="\n")
    if options.out is not None:
        np.savez_compressed(options.out, **made)  # type: ignore[arg-type]
        print(f"{options.out}: {options.out.stat().st_size:,} bytes")
    return 0


def _json(files: tarfile.TarFile, name: str) -> Any:
    member = files.extractfile(name)
    assert member is not None
    return json.load(member)


def _without_joiners(code: str) -> str:
    return "-".join(point for point in code.split("-") if point not in _JOINERS)


if __name__ == "__main__":
    sys.exit(main())
