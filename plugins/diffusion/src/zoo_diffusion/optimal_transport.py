"""The optimal assignment of a batch's noises to its events, by shortest augmenting paths.

    min over permutations p of sum_i |x_i - eps_{p(i)}|^2

Jonker & Volgenant, 1987, in the form of Crouse, 2016. Exact, O(B^3) with B^2 steps in numpy: about
10 ms for 64 events. Shapes: B batch, S the event's shape.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["assignment", "solve"]


def assignment(x: Tensor, eps: Tensor) -> Tensor:
    """p (B,) int64 with the least sum of |x_i - eps_{p(i)}|^2, for x and eps (B, *S)."""
    a, b = x.double().flatten(1), eps.double().flatten(1)
    cost = torch.cdist(a, b).square().cpu().numpy()
    return torch.from_numpy(solve(cost)).to(x.device)


def solve(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """The column of every row, (B,), with the least sum of costs (B, B)."""
    n = len(cost)
    u, v = np.zeros(n), np.zeros(n)
    row_of = np.full(n, -1)
    for row in range(n):
        previous, end, reach, seen = _shortest_path(cost, u, v, row_of, row)
        least = reach[end]
        u[row] += least
        others = seen & (row_of >= 0)
        u[row_of[others]] += least - reach[others]
        v[seen] += reach[seen] - least
        _augment(row_of, previous, row, end)
    columns = np.empty(n, np.int64)
    columns[row_of] = np.arange(n)
    return columns


def _shortest_path(
    cost: NDArray[np.float64],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    row_of: NDArray[np.int64],
    row: int,
) -> tuple[NDArray[np.int64], int, NDArray[np.float64], NDArray[np.bool_]]:
    """Dijkstra's path from a row to a free column, by reduced costs.

    Returns the row before every column, the free column, the distances, and the columns that are
    settled before it.
    """
    n = len(cost)
    reach, seen = np.full(n, np.inf), np.zeros(n, bool)
    previous = np.full(n, -1)
    i, so_far = row, 0.0
    while True:
        through = so_far + cost[i] - u[i] - v
        better = ~seen & (through < reach)
        reach[better], previous[better] = through[better], i
        j = int(np.where(seen, np.inf, reach).argmin())
        so_far = float(reach[j])
        if row_of[j] < 0:
            return previous, j, reach, seen
        seen[j] = True
        i = int(row_of[j])


def _augment(row_of: NDArray[np.int64], previous: NDArray[np.int64], row: int, end: int) -> None:
    """Give every row of the path the column after it, from the free column back."""
    j = end
    while True:
        i = int(previous[j])
        before = np.flatnonzero(row_of == i)
        row_of[j] = i
        if i == row:
            return
        j = int(before[0])
