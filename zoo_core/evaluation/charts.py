"""Charts by matplotlib and pictures as data URIs.

A chart is an SVG of the width of a telephone, so that its text stays readable there, and names are
in a legend below it, where they cannot cover each other or the points.
"""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLORS",
    "Point",
    "curves",
    "data_uri",
    "densities",
    "heat",
    "histograms",
    "plane",
    "scatter",
]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c510a", "#000000")
"""Distinguishable with most kinds of colour vision (Okabe and Ito, 2008)."""
_MARKERS = "osD^vPX*"
_WIDTH, _HEIGHT, _LINE = 4.2, 2.7, 0.19
"""Inches, of which CSS counts 96 pixels each; _LINE is that of a line of the legend."""
_LONG = 26
"""Names longer than this share no line of the legend."""
_BINS = 40
_ROOM = 3.5
"""Factor beside the points on a logarithmic axis, which then has a decade at least."""
_DECADES = 300
"""A ratio of largest and smallest above which powers of ten alone are labelled."""


@dataclass(frozen=True)
class Point:
    """A named point of a scatter plot, with the standard error of y, infinite if unknown."""

    name: str
    x: float
    y: float
    error: float = 0.0

    @property
    def bar(self) -> float:
        """The length of its error bar, 0 if the error is unknown."""
        return self.error if math.isfinite(self.error) else 0.0


def scatter(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    lines: Sequence[tuple[str, float]] = (),
) -> str:
    """Points with a logarithmic x axis, and named horizontal lines; an SVG as a data URI."""
    names = [p.name for p in points] + [name for name, _ in lines]
    with _chart(names, x_label, y_label) as (axes, buffer):
        axes.set_xscale("log")
        for i, p in enumerate(points):
            marker = _MARKERS[i % len(_MARKERS)]
            axes.errorbar(p.x, p.y, yerr=p.bar, fmt=marker, color=_color(i), label=p.name)
        _levels(axes, lines)
        _log_ticks(axes, min(p.x for p in points) / _ROOM, max(p.x for p in points) * _ROOM)
    return _uri(buffer.getvalue(), "svg+xml")


def curves(
    series: Sequence[Sequence[Point]],
    *,
    x_label: str,
    y_label: str,
    lines: Sequence[tuple[str, float]] = (),
) -> str:
    """Series of points of one name each, joined by lines, as `scatter` draws them."""
    names = [points[0].name for points in series] + [name for name, _ in lines]
    with _chart(names, x_label, y_label) as (axes, buffer):
        axes.set_xscale("log")
        for i, points in enumerate(series):
            x, y, bars = zip(*((p.x, p.y, p.bar) for p in points), strict=True)
            marker = _MARKERS[i % len(_MARKERS)]
            axes.errorbar(x, y, yerr=bars, marker=marker, color=_color(i), label=points[0].name)
        _levels(axes, lines)
        every = [p.x for points in series for p in points]
        _log_ticks(axes, min(every) / _ROOM, max(every) * _ROOM)
    return _uri(buffer.getvalue(), "svg+xml")


def histograms(samples: Sequence[tuple[str, Sequence[float]]], *, x_label: str) -> str:
    """The outlines of histograms with the same bins, each of area 1; an SVG as a data URI."""
    with _chart([name for name, _ in samples], x_label, "density") as (axes, buffer):
        edges, heights = densities([values for _, values in samples])
        for i, ((name, _), height) in enumerate(zip(samples, heights, strict=True)):
            axes.stairs(height, edges, color=_color(i), fill=True, alpha=0.12)
            axes.stairs(height, edges, color=_color(i), linewidth=1.5, label=name)
    return _uri(buffer.getvalue(), "svg+xml")


def densities(samples: Sequence[Sequence[float]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Edges of bins from the 0.5 % to the 99.5 % quantile, which take what lies beyond, and the
    heights of a histogram of area 1 for each sample."""
    values = [np.asarray(v, float) for v in samples]
    low = min(float(np.quantile(v, 0.005)) for v in values)
    high = max(float(np.quantile(v, 0.995)) for v in values)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    return edges, [np.histogram(v.clip(low, high), edges, density=True)[0] for v in values]


def plane(points: np.ndarray, low: np.ndarray, high: np.ndarray, side: int = 200) -> np.ndarray:
    """A density plot of points (N, 2) in a rectangle, dark where dense, uint8 (H, W, 3)."""
    cell = ((points - low) / (high - low) * side).astype(int)
    cell = cell[((cell >= 0) & (cell < side)).all(1)]
    count = np.zeros((side, side))
    np.add.at(count, (side - 1 - cell[:, 1], cell[:, 0]), 1)
    shade = 235 * np.log1p(count) / np.log1p(max(count.max(), 1))
    return np.repeat((255 - shade).astype(np.uint8)[:, :, None], 3, axis=2)


def heat(values: np.ndarray, top: float) -> np.ndarray:
    """Values (H, W) from 0 (white) over orange to `top` (dark), uint8 (H, W, 3)."""
    t = np.clip(values / max(top, 1e-12), 0, 1)[..., None]
    stops = np.array([[255, 255, 255], [253, 174, 97], [158, 1, 66]], float)
    scaled = np.where(t < 0.5, stops[0] + 2 * t * (stops[1] - stops[0]), 0)
    scaled = np.where(t >= 0.5, stops[1] + (2 * t - 1) * (stops[2] - stops[1]), scaled)
    return scaled.astype(np.uint8)


def data_uri(picture: np.ndarray) -> str:
    """A picture (H, W, 3), uint8, as a PNG in a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return _uri(buffer.getvalue(), "png")


@contextmanager
def _chart(
    names: Sequence[str], x_label: str, y_label: str
) -> "Iterator[tuple[Axes, io.BytesIO]]":
    """Axes to draw on, and the buffer that holds the SVG with its legend afterwards."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = 1 if max(map(len, names)) > _LONG else 2
    height = _HEIGHT + _LINE * math.ceil(len(names) / columns)
    buffer = io.BytesIO()
    # Without a date and with a fixed salt, equal reports are equal files.
    with matplotlib.rc_context({"font.size": 9, "axes.grid": True, "svg.hashsalt": "zoo"}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.subplots()
        axes.set(xlabel=x_label, ylabel=y_label, axisbelow=True)
        axes.grid(color="#eee")
        axes.spines[["top", "right"]].set_visible(False)
        yield axes, buffer
        figure.legend(loc="outside lower center", ncols=columns, frameon=False)
        figure.savefig(buffer, format="svg", metadata={"Date": None})


def _levels(axes: "Axes", lines: Sequence[tuple[str, float]]) -> None:
    """Named horizontal lines."""
    for (name, height), dash in zip(lines, cycle(("--", ":", "-.")), strict=False):
        axes.axhline(height, color="#777", linestyle=dash, linewidth=1, label=name)


def _log_ticks(axes: "Axes", low: float, high: float) -> None:
    """Limits of a logarithmic x axis, and labels 1, 2, 5 a decade, or 1 alone over many."""
    from matplotlib.ticker import LogLocator, NullLocator

    steps = (1.0, 2.0, 5.0) if high / low < _DECADES else (1.0,)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
