"""Long short-term memories over images, along rows or diagonals.

From its pre-activation y = [o f i g] and the previous cell state c, a cell computes

    c' = sigmoid(f) c + sigmoid(i) tanh(g),    h' = sigmoid(o) tanh(c')

PixelRNN (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759, eq. 3. `y` is the
input-to-state part of the pre-activation; the scans add the state-to-state part:

    row         y + above(h of the row above, three columns wide), c of the pixel above
    diagonal    y + above(h of the pixel above) + beside(h of the pixel to the left), c of the left
    mirrored    a diagonal scan from the right, moved one row down to stay causal

Outside the image h and c are zero. Each scan runs over a whole map (`FullPass`) or pixel by pixel
(`IncrementalPass`).

Shapes: B batch, U units, H rows, W columns; y (B, 4U, H, W), h and c (B, U, H, W).
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.incremental_decoding import FullPass, IncrementalPass, Pass, PixelConv

__all__ = ["DiagonalCell", "RowCell", "diagonal_scan", "lstm_cell", "mirrored_scan", "row_scan"]


class RowCell(nn.Module):
    """The state-to-state convolution of Row LSTM, 1 x 3."""

    def __init__(self, U: int) -> None:
        super().__init__()
        self.above = nn.Conv2d(U, 4 * U, (1, 3), padding=(0, 1))


class DiagonalCell(nn.Module):
    """The state-to-state convolution of Diagonal BiLSTM, 2 x 1 in the skewed map."""

    def __init__(self, U: int) -> None:
        super().__init__()
        self.above = PixelConv(U, 4 * U)
        self.beside = PixelConv(U, 4 * U, bias=False)


def lstm_cell(y: Tensor, c: Tensor, dim: int = 1) -> tuple[Tensor, Tensor]:
    """(h', c'), eq. 3, of features along `dim`."""
    o, f, i, g = y.chunk(4, dim)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def row_scan(m: RowCell, y: Tensor, run: Pass) -> Tensor:
    """h at the positions of the pass."""
    return _scan_rows(m, y) if isinstance(run, FullPass) else _step_row(m, y, _incremental(run))


def diagonal_scan(m: DiagonalCell, y: Tensor, run: Pass) -> Tensor:
    """h at the positions of the pass, from the left."""
    if isinstance(run, FullPass):
        return _scan_diagonals(m, y)
    return _step_diagonal(m, y, _incremental(run))


def mirrored_scan(m: DiagonalCell, y: Tensor, run: Pass) -> Tensor:
    """h of the row above the positions of the pass, from the right."""
    if isinstance(run, FullPass):
        h = _scan_diagonals(m, y.flip(-1)).flip(-1)
        return F.pad(h, (0, 0, 1, 0))[:, :, :-1]
    return _step_mirrored(m, y, _incremental(run))


def _scan_rows(m: RowCell, y: Tensor) -> Tensor:
    """Features lead, (U, B, W), so that each row is one matrix product."""
    weight = m.above.weight[:, :, 0].movedim(2, 1).flatten(1)  # (4U, 3U): left, above, right
    h = c = y.new_zeros(y.shape[1] // 4, len(y), y.shape[3])
    rows = []
    for row in (y + _bias(m)).permute(2, 1, 0, 3).contiguous():  # (4U, B, W)
        neighbours = torch.cat((F.pad(h, (1, -1)), h, F.pad(h, (-1, 1))))
        h, c = lstm_cell(_affine(row, weight, neighbours), c, dim=0)
        rows.append(h)
    return torch.stack(rows).permute(2, 1, 0, 3)


def _scan_diagonals(m: DiagonalCell, y: Tensor) -> Tensor:
    """Features lead, (U, N, B): the N pixels with r + c = t are a diagonal, in order of rows."""
    B, _, H, W = y.shape
    weight = torch.cat((m.above.weight, m.beside.weight), 1)[:, :, 0, 0]  # (4U, 2U)
    diagonal_of = (torch.arange(H)[:, None] + torch.arange(W)).flatten()  # t of each pixel
    order = diagonal_of.argsort(stable=True).to(y.device)
    lengths = diagonal_of.bincount().tolist()
    pixels = (y + _bias(m)).permute(1, 2, 3, 0).flatten(1, 2).index_select(1, order)
    h = c = y.new_zeros(y.shape[1] // 4, 0, B)
    diagonals = []
    for t, diagonal in enumerate(torch.split(pixels, lengths, 1)):
        first, last = int(t >= W), int(t < H)  # whether a row ends, whether one begins
        beside, c = (F.pad(x, (0, 0, -first, last)) for x in (h, c))
        above = F.pad(h, (0, 0, 1 - first, last - 1))
        h, c = lstm_cell(_affine(diagonal, weight, torch.cat((above, beside))), c, dim=0)
        diagonals.append(h)
    h = torch.cat(diagonals, 1).index_select(1, order.argsort())
    return h.view(-1, H, W, B).permute(3, 0, 1, 2)


def _affine(y: Tensor, weight: Tensor, h: Tensor) -> Tensor:
    """y + weight h, (4U, ., .), (4U, n) and (n, ., .)."""
    return torch.addmm(y.flatten(1), weight, h.flatten(1)).view(y.shape)


def _bias(m: RowCell | DiagonalCell) -> Tensor:
    assert m.above.bias is not None
    return m.above.bias[:, None, None]


@dataclass
class _State:
    """The state of a cell at row r; `h` and `c` are those of the newest pixel of each column."""

    r: int
    h: Tensor  # (B, U, 1, W)
    c: Tensor  # (B, U, 1, W)
    above: Tensor  # (B, 4U, 1, W), the contribution of the row above
    c_above: Tensor  # (B, U, 1, W), c of the row above
    y: Tensor  # (B, 4U, 1, W), input-to-state part of the newest pixels, for the mirrored scan


def _step_row(m: RowCell, y: Tensor, run: IncrementalPass) -> Tensor:
    """A pixel, or a row at once: both depend on states of the row above alone."""
    at, s = slice(None) if run.c is None else _columns(run), _state(m, y, run)
    h, c = lstm_cell(y + s.above[..., at], s.c_above[..., at])
    s.h[..., at], s.c[..., at] = h, c
    return h


def _step_diagonal(m: DiagonalCell, y: Tensor, run: IncrementalPass) -> Tensor:
    at, s = _columns(run), _state(m, y, run)
    left = slice(at.start - 1, at.start)
    h = c = y.new_zeros(len(y), y.shape[1] // 4, 1, 1)
    if at.start > 0:
        h, c = s.h[..., left], s.c[..., left]
    h, c = lstm_cell(y + s.above[..., at] + m.beside(h), c)
    s.h[..., at], s.c[..., at] = h, c
    return h


def _step_mirrored(m: DiagonalCell, y: Tensor, run: IncrementalPass) -> Tensor:
    """A row is scanned when the next one begins; until then its inputs are stored."""
    at, s = _columns(run), _state(m, y, run)
    if at.start == 0 and run.r > 0:
        _scan_from_the_right(m, s)
    s.y[..., at] = y
    return s.h[..., at]


def _scan_from_the_right(m: DiagonalCell, s: _State) -> None:
    h = c = s.h.new_zeros(*s.h.shape[:3], 1)
    for i in reversed(range(s.h.shape[3])):
        at = slice(i, i + 1)
        h, c = lstm_cell(s.y[..., at] + s.above[..., at] + m.beside(h), c)
        s.h[..., at] = h


def _state(m: RowCell | DiagonalCell, y: Tensor, run: IncrementalPass) -> _State:
    """The cell's state in the current row."""
    if m not in run.cache.states:
        zeros = y.new_zeros(len(y), y.shape[1] // 4, 1, run.width)
        inputs = y.new_zeros(len(y), y.shape[1], 1, run.width)
        run.cache.states[m] = _State(
            run.r, zeros, zeros.clone(), m.above(zeros), zeros.clone(), inputs
        )
    s = cast(_State, run.cache.states[m])
    if s.r != run.r:
        s.r, s.above, s.c_above = run.r, m.above(s.h), s.c.clone()
    return s


def _columns(run: IncrementalPass) -> slice:
    assert run.c is not None  # the cells of diagonals advance pixel by pixel
    return slice(run.c, run.c + 1)


def _incremental(run: Pass) -> IncrementalPass:
    assert isinstance(run, IncrementalPass)  # the only other kind of pass
    return run
