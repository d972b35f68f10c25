"""Tables of names and shapes of published checkpoints, as `<layout>.txt` holds them.

    down_blocks.#.resnets.#.norm1.weight 0..3 x 0..1 (8): 128 | 256

`#` stands for a number in a name; its range follows, how many tensors there are, and the shapes
that occur. `...` at the end says that there are further shapes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent
_LINE = re.compile(r"(?P<name>\S+?)(?: (?P<ranges>[\d. x]+) \((?P<count>\d+)\))?: (?P<shapes>.+)")


@dataclass
class Row:
    """The tensors of one pattern: the numbers that occur at each place, and the shapes."""

    numbers: list[set[int]]
    shapes: set[str] = field(default_factory=set)
    count: int = 0

    def ranges(self) -> str:
        ends = [(min(n), max(n)) for n in self.numbers]
        return " x ".join(f"{a}" if a == b else f"{a}..{b}" for a, b in ends)


def rows(shapes: Mapping[str, Sequence[int]]) -> dict[str, Row]:
    """The rows of a state dict, by pattern."""
    found: dict[str, Row] = {}
    for name, shape in shapes.items():
        parts = name.split(".")
        numbers = [int(part) for part in parts if part.isdecimal()]
        pattern = ".".join("#" if part.isdecimal() else part for part in parts)
        row = found.setdefault(pattern, Row([set() for _ in numbers]))
        for seen, number in zip(row.numbers, numbers, strict=True):
            seen.add(number)
        row.shapes.add("x".join(map(str, shape)) or "scalar")
        row.count += 1
    return found


def text(shapes: Mapping[str, Sequence[int]]) -> str:
    """The table of a state dict."""
    lines = []
    for pattern, row in rows(shapes).items():
        place = f" {row.ranges()} ({row.count})" if row.numbers else ""
        lines.append(f"{pattern}{place}: {' | '.join(sorted(row.shapes))}")
    return "\n".join(lines) + "\n"


def differences(layout: str, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """What differs between a table and a state dict, a line each."""
    lines = (FOLDER / f"{layout}.txt").read_text().splitlines()
    have, told = rows(shapes), []
    for line in (line for line in lines if line and not line.startswith("//")):
        match = _LINE.fullmatch(line)
        assert match is not None, line
        row = have.pop(match["name"], None)
        if row is None:
            told.append(f"missing: {line}")
            continue
        listed = match["shapes"].removesuffix(" ...").split(" | ")
        more = row.shapes - set(listed)
        whole = set(listed) <= row.shapes and bool(more) == line.endswith(" ...")
        place = (match["ranges"] or "", int(match["count"] or 1))
        if not whole or place != (row.ranges(), row.count):
            told.append(f"{line}: have {row.ranges()} ({row.count}): {sorted(row.shapes)}")
    return told + [f"unexpected: {name}" for name in have]
