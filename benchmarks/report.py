"""Writes the generated parts of docs/benchmarks.md and docs/guides/kernels.md.

    python benchmarks/report.py            from benchmarks/results/cpu/*.jsonl and the OpSpecs
    python benchmarks/report.py --check    say what is out of date; write nothing

A part stands between `<!-- name -->` and `<!-- /name -->`; that of a family is `models <family>`.
Of several measurements of a row the last counts. The plot, docs/benchmarks.png, is drawn from the
lines of the ops. Lines of JSON and parts of different families never touch: where two branches
have measured, keep the lines of both and run this again.
"""

import json
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import models
from goals import GOALS, Goal

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cpu"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "benchmarks.png"
Row = dict[str, Any]
Rows = dict[tuple[str, str], Row]


def rows(subject: str) -> Rows:
    """The last line of each (op, case) in the subject's file."""
    path = RESULTS / f"{subject}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {(r["op"], r["case"]): r for r in map(json.loads, lines)}


def own(row: Row) -> str:
    """Our contestant, the first one."""
    return next(iter(row["cpu_ms"]))


def peers(row: Row) -> list[str]:
    """Names as shipped, the reference of an op first."""
    return [n for n in row["cpu_ms"] if n != own(row) and not n.endswith(" compiled")]


def ratios(row: Row, peer: str) -> tuple[float, float]:
    """(as shipped, at its best): CPU time of the peer, and the lesser of its and the compiled."""
    ms, mine = row["cpu_ms"], row["cpu_ms"][own(row)]
    return ms[peer] / mine, min(ms[peer], ms.get(f"{peer} compiled", math.inf)) / mine


def number(x: float) -> str:
    """Three digits, no exponent."""
    digits = max(0, 2 - math.floor(math.log10(abs(x)))) if x else 0
    return f"{x:,.{min(digits, 3)}f}"


def table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machines(found: Rows) -> str:
    """One line a machine and version set, with the commits that were measured on it."""
    lines: dict[str, list[str]] = {}
    for r in found.values():
        versions = ", ".join(f"{k} {v}" for k, v in r["versions"].items())
        of = f"- {r['cpu']}, {r['isa']}, {r['threads']} thread, Python {r['python']}, {versions}"
        lines.setdefault(f"{of}; {r['date']}", []).append(r["commit"])
    return "\n".join(f"{of}, commit {', '.join(dict.fromkeys(c))}" for of, c in lines.items())


def measured(goal: Goal, row: Row) -> tuple[float, float] | None:
    """(as shipped, at its best); None where the peer was not there."""
    if goal.memory:
        saved = row["saved_bytes"]
        return None if goal.peer not in saved else (saved[goal.peer] / saved[own(row)],) * 2
    if goal.peer not in row["cpu_ms"] or not (
        goal.compiled <= (f"{goal.peer} compiled" in row["cpu_ms"])
    ):
        return None
    shipped, best = ratios(row, goal.peer)
    return (best, best) if goal.compiled else (shipped, best)


def verdict(goal: Goal, shipped: float, best: float) -> str:
    reached = shipped >= goal.times or goal.best is None
    if reached and best >= (goal.times if goal.best is None else goal.best):
        return "yes"
    return "as shipped only" if shipped >= goal.times else "**no**"


def wanted(goal: Goal) -> str:
    """3x, or 3x; 1.5x where the second baseline has a goal of its own."""
    return f"{goal.times:,g}x" + (f"; {goal.best:,g}x" if goal.best else "")


def goals(all_goals: Iterable[Goal], found: Rows) -> str:
    body = []
    for goal in all_goals:
        row = found.get((goal.op, goal.case))
        values = measured(goal, row) if row else None
        what = "saved memory, " if goal.memory else ""
        peer = goal.peer + " by torch.compile" * goal.compiled
        start = [f"`{goal.op}` {goal.case}", what + peer, wanted(goal)]
        if values is None:
            body.append([*start, "not measured", "", ""])
            continue
        shipped, best = values
        first = "" if goal.compiled or goal.memory else f"{number(shipped)}x"
        body.append([*start, first, f"{number(best)}x", verdict(goal, shipped, best)])
    return table(["row", "against", "goal", "as shipped", "at its best", "reached"], body)


def times(found: Rows) -> str:
    body = []
    for (op, case), row in found.items():
        if case.startswith("proof"):
            continue
        for peer in peers(row):
            ms, compiled = row["cpu_ms"], row["cpu_ms"].get(f"{peer} compiled")
            mine, wall = ms[own(row)], row["wall_ms"][own(row)]
            shipped, best = ratios(row, peer)
            apart = row["distance"].get(peer)
            scaled = " (scaled)" if peer in row["scaled"] else ""
            body.append([
                f"`{op}` {case}", number(mine), number(wall), peer + scaled,
                number(ms[peer]), "" if compiled is None else number(compiled),
                f"{number(shipped)}x", f"{number(best)}x",
                "" if apart is None or scaled else f"{apart:.0e}" if apart else "0",
            ])  # fmt: skip
    head = ["row", "our CPU ms", "wall ms", "against", "its ms", "compiled", "as shipped",
            "at its best", "distance"]  # fmt: skip
    return table(head, body)


def proof(found: Rows) -> str:
    lines = []
    for (_, case), r in found.items():
        if case.startswith("proof"):
            ms = r["cpu_ms"]
            lines.append(
                f"- {case.removeprefix('proof ')}: all {r['pixels']} pixels by the full-forward "
                f"loop, {number(ms['full_forward_loop'] / 1e3)} s of CPU time, against "
                f"{number(ms['cpp'])} ms: {number(ms['full_forward_loop'] / ms['cpp'])}x; "
                f"{r['equal_pixels']} pixels equal. One forward takes "
                f"{number(r['forward_over_dense'])} of the time of a dense stack of the same "
                f"shapes ({r['format'].removeprefix('torch.')})."
            )
    return "\n".join(lines) or "Not run."


def ops_table() -> str:
    """Every op with the backends that it has, from the OpSpecs."""
    import zoo_kernels

    body = []
    for name, spec in sorted(zoo_kernels.ops().items()):
        dtypes = ", ".join(
            f"{str(d)[6:]} {'equal bits' if tol == (0.0, 0.0) else f'{tol[0]:g}'}"
            for d, tol in spec.tolerances.items()
        )
        gradient = "yes" if spec.derivative else "no"
        serving = ["yes" if i in spec.impls else "-" for i in ("reference", "cpp", "triton")]
        body.append([f"`{name}`", *serving, gradient, dtypes, str(len(spec.variants))])
    head = ["op", "reference", "C++", "Triton", "gradient", "dtype and relative tolerance",
            "variants compiled ahead"]  # fmt: skip
    return table(head, body)


def draw_plot(found: Rows, path: Path) -> None:
    """Horizontal bars, logarithmic: how many times faster than each peer at its best."""
    from PIL import Image, ImageDraw

    bars = [
        (f"{op} {case} / {peer}", ratios(row, peer)[1])
        for (op, case), row in found.items()
        if not case.startswith("proof")
        for peer in peers(row)
        if peer != "reference" or f"{peer} compiled" in row["cpu_ms"]
    ]
    line, left, width = 18, 430, 900
    top = math.log10(max(10.0, *(r for _, r in bars)))
    image = Image.new("RGB", (width, line * (len(bars) + 2)), "white")
    pen = ImageDraw.Draw(image)
    for i, (name, ratio) in enumerate(bars):
        y = line * (i + 1)
        length = max(0.0, math.log10(ratio)) / top * (width - left - 70)
        pen.text((6, y + 2), name, fill="black")
        pen.rectangle((left, y + 2, left + length, y + line - 4), fill=(70, 110, 160))
        pen.text((left + length + 6, y + 2), f"{number(ratio)}x", fill="black")
    image.save(path)


def filled(text: str, parts: dict[str, str]) -> str:
    """`text` with the generated parts between their marks."""
    for name, part in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        text, n = re.subn(pattern, lambda m, p=part: m[1] + p + m[2], text, flags=re.S)
        if n != 1:
            raise ValueError(f"the text must have one part {name!r}, not {n}")
    return text


def family(name: str) -> str:
    """The part of a family: its goals, times and machine."""
    module, found = models.families().get(name), rows(name)
    if module is None:
        return "No benchmarks yet."
    parts = (goals(module.GOALS, found), times(found), machines(found))
    return "\n\n".join(parts if found else parts[:1])


def pages() -> dict[Path, str]:
    """Each page as it should be."""
    text, found = PAGE.read_text(), rows("ops")
    named = set(re.findall(r"<!-- models (\w+) -->", text)) | set(models.families())
    parts = {"machines": machines(found), "goals": goals(GOALS, found), "times": times(found),
             "proof": proof(found)}  # fmt: skip
    parts |= {f"models {name}": family(name) for name in sorted(named)}
    ops_page = ROOT / "docs" / "guides" / "kernels.md"
    return {PAGE: filled(text, parts),
            ops_page: filled(ops_page.read_text(), {"ops": ops_table()})}  # fmt: skip


def main(arguments: list[str]) -> int:
    stale = [path for path, text in pages().items() if path.read_text() != text]
    if "--check" in arguments:
        print(*(f"{path.relative_to(ROOT)} is out of date" for path in stale), sep="\n")
        return bool(stale)
    for path, text in pages().items():
        path.write_text(text)
    draw_plot(rows("ops"), PLOT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
