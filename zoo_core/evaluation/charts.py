"""Charts as SVG text and pictures as data URIs, without scripts, fonts or external resources."""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

__all__ = ["COLORS", "Axis", "Point", "data_uri", "heat", "histograms", "plane", "scatter"]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c510a", "#000000")
"""Distinguishable with most kinds of colour vision (Okabe and Ito, 2008)."""

_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 48
_BINS = 40
_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """A range of values on a side of a chart, linear or logarithmic."""

    low: float
    high: float
    label: str
    log: bool = False

    def position(self, value: float) -> float:
        """The position of a value, 0 at the low end and 1 at the high end."""
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        return (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values within the range."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**e for e in range(first, last + 1)]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / _TICKS))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (m * step) <= _TICKS)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Point:
    """A named point of a scatter plot, with the standard error of y, infinite if unknown."""

    name: str
    x: float
    y: float
    error: float = 0.0

    @property
    def bar(self) -> float:
        """Half the length of the error bar, 0 if the error is unknown."""
        return self.error if math.isfinite(self.error) else 0.0


def scatter(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    lines: Sequence[tuple[str, float]] = (),
) -> str:
    """A scatter plot with a logarithmic x axis, and named horizontal lines."""
    xs, ys = [p.x for p in points], [p.y + s * p.bar for p in points for s in (-1, 1)]
    ys += [y for _, y in lines]
    margin = 0.08 * (max(ys) - min(ys) or 1.0)
    x = Axis(min(xs) / 2, max(xs) * 4, x_label, log=True)
    y = Axis(min(ys) - margin, max(ys) + margin, y_label)
    body = [*_frame(x, y)]
    for name, height in lines:
        v = _y(y, height)
        body.append(f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{v}" y2="{v}"/>')
        body.append(
            f'<text x="{_WIDTH - _RIGHT - 4}" y="{v - 4}" class="end">{escape(name)}</text>'
        )
    for i, p in enumerate(points):
        color, u, v = COLORS[i % len(COLORS)], _x(x, p.x), _y(y, p.y)
        low, high = _y(y, p.y - p.bar), _y(y, p.y + p.bar)
        body.append(f'<line x1="{u}" x2="{u}" y1="{low}" y2="{high}" stroke="{color}"/>')
        body.append(f'<circle cx="{u}" cy="{v}" r="5" fill="{color}"/>')
        body.append(f'<text x="{u + 9}" y="{v + 4}">{escape(p.name)}</text>')
    return _svg(body, f"{y_label} against {x_label}")


def histograms(samples: Sequence[tuple[str, Sequence[float]]], *, x_label: str) -> str:
    """The outlines of several histograms with the same bins, each of area 1."""
    values = [np.asarray(v, float) for _, v in samples]
    low = min(float(np.quantile(v, 0.005)) for v in values)
    high = max(float(np.quantile(v, 0.995)) for v in values)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    heights = [np.histogram(v.clip(low, high), edges, density=True)[0] for v in values]
    x = Axis(float(edges[0]), float(edges[-1]), x_label)
    y = Axis(0, 1.05 * float(max(h.max() for h in heights)), "density")
    body = [*_frame(x, y)]
    for i, ((name, _), height) in enumerate(zip(samples, heights, strict=True)):
        color = COLORS[i % len(COLORS)]
        path = " ".join(_outline(x, y, edges, height))
        body.append(f'<path d="{path}" fill="{color}22" stroke="{color}" stroke-width="1.5"/>')
        top = _TOP + 14 + 18 * i
        body.append(
            f'<rect x="{_LEFT + 10}" y="{top - 9}" width="10" height="10" fill="{color}"/>'
        )
        body.append(f'<text x="{_LEFT + 26}" y="{top}">{escape(name)}</text>')
    return _svg(body, f"histograms of {x_label}")


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
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _outline(x: Axis, y: Axis, edges: np.ndarray, height: np.ndarray) -> Iterator[str]:
    yield f"M{_x(x, edges[0])} {_y(y, 0)}"
    for i, h in enumerate(height):
        yield f"L{_x(x, edges[i])} {_y(y, h)} L{_x(x, edges[i + 1])} {_y(y, h)}"
    yield f"L{_x(x, edges[-1])} {_y(y, 0)}"


def _frame(x: Axis, y: Axis) -> Iterator[str]:
    """Axes with ticks, grid lines and labels."""
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for t in x.ticks():
        u = _x(x, t)
        yield f'<line class="grid" x1="{u}" x2="{u}" y1="{_TOP}" y2="{bottom}"/>'
        yield f'<text x="{u}" y="{bottom + 18}" class="middle">{t:g}</text>'
    for t in y.ticks():
        v = _y(y, t)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{v}" y2="{v}"/>'
        yield f'<text x="{_LEFT - 6}" y="{v + 4}" class="end">{t:g}</text>'
    center, middle = (_LEFT + right) / 2, (_TOP + bottom) / 2
    yield f'<text x="{center}" y="{_HEIGHT - 8}" class="middle">{escape(x.label)}</text>'
    yield (
        f'<text x="14" y="{middle}" class="middle" '
        f'transform="rotate(-90 14 {middle})">{escape(y.label)}</text>'
    )


def _x(axis: Axis, value: float) -> float:
    return round(_LEFT + axis.position(float(value)) * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(_HEIGHT - _BOTTOM - axis.position(float(value)) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _svg(body: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )
