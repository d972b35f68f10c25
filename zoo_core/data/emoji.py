"""Emoji, 32x32 in colour, of three openly licensed sets: 5,183 images, shipped with the zoo.

Noto Emoji, Twemoji and the flat Fluent Emoji, drawn from their SVGs at 256x256 on white and
reduced by area (`tools/make_emoji.py`). The splits are by emoji: the same emoji of another style
is in the same split. Skin tones, and images nearly equal to one of an earlier split, are left out.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import torch

from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import IntegrityError
from zoo_core.spaces import Classes, Condition, Event, Group, as_condition

__all__ = ["GROUPS", "STYLES", "Emoji"]

LICENSE = "Apache-2.0 (Noto Emoji); CC-BY-4.0 (Twemoji); MIT (Fluent Emoji)"
SHA256 = "2353f5b90003d66fbf0bee20435b71fc7ce4fdc98839d5e93ca9d81b97dfe460"
GROUPS = (
    "smileys",
    "people",
    "animals",
    "food",
    "travel",
    "activities",
    "objects",
    "symbols",
    "flags",
)
"""Unicode's nine groups of emoji, in its order, by the first word that tells them apart."""
STYLES = ("noto", "twemoji", "fluent")
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Emoji:
    """Images (3, 32, 32) of 256 levels: 4,117 train, 517 valid and 549 test.

    The condition is a group of two classes, each of which may be left out: `group` (`GROUPS`) and
    `style` (`STYLES`).
    """

    def __call__(self) -> Dataset:
        with (
            as_file(files("zoo_core.data") / "emoji.npz") as path,
            np.load(path, allow_pickle=False) as file,
        ):
            arrays = {
                split: [file[f"{split}_{what}"] for what in ("x", "group", "style")]
                for split in _SPLITS
            }
        sha256 = _hash(arrays)
        if sha256 != SHA256:
            raise IntegrityError("emoji.npz is not the file this version came with.")
        condition = as_condition(
            Group(
                group=Classes(len(GROUPS), names=GROUPS, optional=True),
                style=Classes(len(STYLES), names=STYLES, optional=True),
            )
        )
        return Dataset(
            name="emoji",
            event=Event((3, 32, 32), levels=256),
            condition=condition,
            splits={split: _split(condition, *found) for split, found in arrays.items()},
            license=LICENSE,
            provenance="Noto Emoji (Google), Twemoji (Twitter, Inc. and other contributors), "
            "Fluent Emoji flat (Microsoft), of the npm packages @iconify-json/noto 1.2.9, twemoji "
            f"1.2.5 and fluent-emoji-flat 1.2.6; sha256 of values and labels {sha256}",
        )


def _hash(arrays: dict[str, list[np.ndarray]]) -> str:
    digest = hashlib.sha256()
    for split in _SPLITS:
        for array in arrays[split]:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _split(condition: Condition, x: np.ndarray, group: np.ndarray, style: np.ndarray) -> Split:
    labels = {
        "group": torch.from_numpy(group.astype(np.int64)),
        "style": torch.from_numpy(style.astype(np.int64)),
    }
    return Split(torch.from_numpy(x), condition.check(labels, len(x)))
