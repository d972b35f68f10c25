"""The components of one kind: an ordered, typed collection that is searched by name.

A component is unique per name and required capabilities, a network per name and signature. Where
two plugins declare the same one, neither wins: the bare name raises, the spelling `dist:name`
works.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, overload

from zoo_core.catalog.names import Name, parse
from zoo_core.catalog.plugins import LoadRecord
from zoo_core.errors import UnknownNameError, ZooError

__all__ = ["Components", "Entry", "Spec", "use_of"]


class Spec(Protocol):
    """What all specs have: a name."""

    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Spec)


def use_of(spec: object) -> object:
    """What a spec is for beside its name: required capabilities, or a network's signature."""
    return getattr(spec, "signature", getattr(spec, "requires", ()))


@dataclass(frozen=True)
class Entry(Generic[S]):
    """A spec and the plugin that declared it."""

    spec: S
    plugin: LoadRecord

    @property
    def qualified(self) -> str:
        """The name that means this entry alone, `dist:name`."""
        return f"{self.plugin.dist}:{self.spec.name}"


class Components(Sequence[Entry[S]]):
    """All entries of one kind, sorted by name; a registry has one for each kind.

    >>> from zoo_core.catalog.registry import current
    >>> current().samplers.one("direct").spec.summary
    "the model's own one-pass sampler"
    """

    def __init__(
        self, kind: str, entries: Iterable[Entry[S]], unknown: Callable[[str, Name], ZooError]
    ) -> None:
        """`unknown(kind, name)` is the error for a name that no entry has."""
        self.kind = kind
        self._entries = sorted(entries, key=lambda e: (e.spec.name, e.plugin.dist))
        self._unknown = unknown

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Entry[S]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry[S]]: ...
    def __getitem__(self, index: int | slice) -> Entry[S] | list[Entry[S]]:
        return self._entries[index]

    @property
    def names(self) -> list[str]:
        """The names, each once, sorted."""
        return sorted({entry.spec.name for entry in self})

    def find(self, name: str | Name) -> list[Entry[S]]:
        """The entries that a name may mean; raises `UnknownNameError` if there are none."""
        name = parse(name, self.kind) if isinstance(name, str) else name
        if self.kind != "model" and (name.tag or name.revision):
            raise UnknownNameError(f"{str(name)!r}: a {self.kind} has neither tags nor revisions.")
        entries = [e for e in self if e.spec.name == name.name]
        if name.dist is not None:
            entries = [e for e in entries if e.plugin.dist == name.dist]
        if not entries:
            raise self._unknown(self.kind, name)
        return entries

    def one(self, name: str | Name) -> Entry[S]:
        """The one entry that a name means; raises `UnknownNameError` if there are several."""
        entries = self.find(name)
        if len(entries) > 1:
            raise UnknownNameError(
                f"{self.kind} {str(name)!r} is declared more than once.",
                hint=f"write {' or '.join(e.qualified for e in entries)}",
            )
        return entries[0]
