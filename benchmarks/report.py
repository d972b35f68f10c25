"""Writes the generated parts of docs/benchmarks.md and docs/kernels.md.

    python benchmarks/report.py            from benchmarks/results/cpu.jsonl and the OpSpecs
    python benchmarks/report.py --check    say what is out of date; write nothing

A part stands between `<!-- name -->` and `<!-- /name -->`. Of several measurements of a row the
last counts. The plot, docs/benchmarks.png, is drawn from the same lines.
"""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from goals import GOALS, Goal

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cpu.jsonl"
PLOT = ROOT / "docs" / "benchmarks.png"
OWN = ("cpp", "reference")
Row = dict[str, Any]


def rows() -> dict[tuple[str, str], Row]:
    """The last line of each (op, case)."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {(r["op"], r["case"]): r for r in map(json.loads, lines)}


def peers(row: Row) -> list[str]:
    """Names as shipped, the reference first."""
    return [n for n in row["cpu_ms"] if n != "cpp" and not n.endswith(" compiled")]


def ratios(row: Row, peer: str) -> tuple[float, float]:
    """(as shipped, at its best): CPU time of the peer, and the lesser of its and the compiled."""
    ms, own = row["cpu_ms"], row["cpu_ms"]["cpp"]
    return ms[peer] / own, min(ms[peer], ms.get(f"{peer} compiled", math.inf)) / own


def number(x: float) -> str:
    """Three digits, no exponent."""
    digits = max(0, 2 - math.floor(math.log10(abs(x)))) if x else 0
    return f"{x:,.{min(digits, 3)}f}"


def table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machines(found: dict[tuple[str, str], Row]) -> str:
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
        return None if goal.peer not in saved else (saved[goal.peer] / saved["cpp"],) * 2
    if goal.peer not in row["cpu_ms"] or not (
        goal.compiled <= (f"{goal.peer} compiled" in row["cpu_ms"])
    ):
        return None
    shipped, best = ratios(row, goal.peer)
    return (best, best) if goal.compiled else (shipped, best)


def verdict(goal: Goal, shipped: float, best: float) -> str:
    if best >= goal.times:
        return "yes"
    return "as shipped only" if shipped >= goal.times else "**no**"


def goals(found: dict[tuple[str, str], Row]) -> str:
    body = []
    for goal in GOALS:
        row = found.get((goal.op, goal.case))
        values = measured(goal, row) if row else None
        what = "saved memory, " if goal.memory else ""
        peer = goal.peer + " by torch.compile" * goal.compiled
        start = [f"`{goal.op}` {goal.case}", what + peer, f"{goal.times:,g}x"]
        if values is None:
            body.append([*start, "not measured", "", ""])
            continue
        shipped, best = values
        first = "" if goal.compiled or goal.memory else f"{number(shipped)}x"
        body.append([*start, first, f"{number(best)}x", verdict(goal, shipped, best)])
    return table(["row", "against", "goal", "as shipped", "at its best", "reached"], body)


def times(found: dict[tuple[str, str], Row]) -> str:
    body = []
    for (op, case), row in found.items():
        if case.startswith("proof"):
            continue
        for peer in peers(row):
            ms, compiled = row["cpu_ms"], row["cpu_ms"].get(f"{peer} compiled")
            shipped, best = ratios(row, peer)
            apart = row["distance"].get(peer)
            scaled = " (scaled)" if peer in row["scaled"] else ""
            body.append([
                f"`{op}` {case}", number(ms["cpp"]), number(row["wall_ms"]["cpp"]), peer + scaled,
                number(ms[peer]), "" if compiled is None else number(compiled),
                f"{number(shipped)}x", f"{number(best)}x",
                "" if apart is None or scaled else f"{apart:.0e}" if apart else "0",
            ])  # fmt: skip
    head = ["row", "C++ CPU ms", "wall ms", "against", "its ms", "compiled", "as shipped",
            "at its best", "distance from the reference"]  # fmt: skip
    return table(head, body)


def proof(found: dict[tuple[str, str], Row]) -> str:
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
    """Every op with what serves it, from the OpSpecs."""
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


def draw_plot(found: dict[tuple[str, str], Row], path: Path) -> None:
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


def pages() -> dict[Path, str]:
    """Each page as it should be."""
    found = rows()
    parts = {"machines": machines(found), "goals": goals(found), "times": times(found),
             "proof": proof(found)}  # fmt: skip
    made = {}
    for path, own in ((ROOT / "docs/benchmarks.md", parts),
                      (ROOT / "docs/kernels.md", {"ops": ops_table()})):  # fmt: skip
        made[path] = filled(path.read_text(), own)
    return made


def main(arguments: list[str]) -> int:
    stale = [path for path, text in pages().items() if path.read_text() != text]
    if "--check" in arguments:
        print(*(f"{path.relative_to(ROOT)} is out of date" for path in stale), sep="\n")
        return bool(stale)
    for path, text in pages().items():
        path.write_text(text)
    draw_plot(rows(), PLOT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
