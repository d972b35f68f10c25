"""Where weights are: in a folder here, or elsewhere, from where they come into the cache."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from zoo_core.catalog import layout
from zoo_core.catalog.specs import ModelSpec, Pretrained, PretrainedFile
from zoo_core.weights.hub.access import Access

if TYPE_CHECKING:
    from zoo_core.weights.hub.snapshot import Plan, Snapshot

__all__ = ["Elsewhere", "WeightsLocation"]


@dataclass(frozen=True)
class WeightsLocation:
    """The folder of a pretrained model, and the snapshot on the Hub that it comes from."""

    folder: Path
    snapshot: "Snapshot | None" = None
    converter: str | None = None
    spec: ModelSpec | None = None
    """The architecture, if a registered name was asked for."""
    card: Pretrained | None = None
    """What is stated of published weights."""

    @property
    def origin(self) -> str | None:
        return self.snapshot.name if self.snapshot else None

    @property
    def files(self) -> list[str]:
        """Paths of the files that a converter may read; of a snapshot only verified files."""
        from zoo_core.weights.detect_format import checkpoint_files

        assert self.converter is not None
        if self.snapshot is None:
            return checkpoint_files(self.folder, self.converter)
        return [file.path for file in self.snapshot.files]

    @property
    def source(self) -> Path:
        """What a converter reads: the folder, or the one file whose name no layout knows."""
        stated = [file.path for file in self.card.files] if self.card else []
        named = [path for path in stated if layout.is_checkpoint(path)]
        if len(named) == 1 and not layout.third_party_weights([PurePosixPath(named[0])]):
            return self.folder / named[0]
        return self.folder


@dataclass(frozen=True)
class Elsewhere:
    """Weights that are not here yet, or in the cache: a repository, or the files of a card."""

    name: str
    repo: str | None
    revision: str | None = None
    pins: Mapping[str, str] = field(default_factory=dict)
    card: Pretrained | None = None
    spec: ModelSpec | None = None

    def plan(self, access: Access) -> "Plan":
        """What is to be fetched."""
        if self.repo is None:
            from zoo_core.weights.hub.urls import plan_urls

            return plan_urls(self._own_name, self._files, access)
        from zoo_core.weights.hub.snapshot import plan

        revision, pins = self.revision, self.pins
        return plan(self.repo, self.choose, access, revision=revision, pins=pins, name=self.name)

    def fetch(self, access: Access) -> WeightsLocation:
        """The weights in the cache."""
        got = self._snapshot(access)
        converter = self.card.converter if self.card else None
        return WeightsLocation(got.folder, got, converter, self.spec, self.card)

    def _snapshot(self, access: Access) -> "Snapshot":
        if self.repo is None:
            from zoo_core.weights.hub.urls import snapshot_of_urls

            return snapshot_of_urls(self._own_name, self._files, access)
        from zoo_core.weights.hub.snapshot import snapshot

        revision, pins = self.revision, self.pins
        return snapshot(
            self.repo, self.choose, access, revision=revision, pins=pins, name=self.name
        )

    @property
    def _files(self) -> tuple[PretrainedFile, ...]:
        return self.card.files if self.card else ()

    @property
    def _own_name(self) -> str:
        """The name without plugin and revision."""
        assert self.spec is not None and self.card is not None
        return f"{self.spec.arch}.{self.card.tag}"

    def choose(self, names: Iterable[str]) -> list[str]:
        """The files that are needed: those stated, those pinned, or those of the layout."""
        if self._files:
            return [file.path for file in self._files]
        if self.pins:
            return sorted(self.pins)
        if self.card is None or self.card.converter is None:
            return layout.zoo_files(names)
        by_hand = f"zoo convert hf://{self.repo} FOLDER --converter {self.card.converter}"
        return layout.third_party_files(names, hint=by_hand)
