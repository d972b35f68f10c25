"""How events come about, as a strip of steps or an animation."""

import numpy as np
import pytest
import torch
from PIL import Image

import zoo_core as zoo
from zoo_core.data.traces import Trace
from zoo_core.errors import OutputError, UsageError


def steps(n, batch=3, shape=(1, 4, 4), levels=4):
    """A trace in which the events of step j have the value j modulo the levels."""
    seen = Trace()
    for j in range(n):
        seen(j, torch.full((batch, *shape), j % levels))
    return seen


def test_strip_has_a_row_an_event_and_a_column_a_chosen_step(tmp_path):
    event = zoo.Event((1, 4, 4), levels=4)
    steps(4).write(tmp_path / "a.png", event)
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape == (3 * 66 + 2, 4 * 66 + 2, 3)
    shades = [int(pixels[10, 2 + 66 * j + 10, 0]) for j in range(4)]
    assert shades == [0, 85, 170, 255]
    steps(100).write(tmp_path / "b.png", event)
    assert np.asarray(Image.open(tmp_path / "b.png")).shape[1] == 12 * 66 + 2


def test_animation_has_a_frame_a_step(tmp_path):
    steps(4).write(tmp_path / "a.gif", zoo.Event((1, 4, 4), levels=4))
    assert Image.open(tmp_path / "a.gif").n_frames == 4


def test_points_are_drawn_and_vectors_refused(tmp_path):
    seen = Trace()
    for j in range(3):
        seen(j, torch.randn(50, 2) + j)
    seen.write(tmp_path / "a.png", zoo.Event((2,)))
    assert np.asarray(Image.open(tmp_path / "a.png")).shape == (512, 3 * 512, 3)
    with pytest.raises(OutputError, match="is no picture"):
        seen.write(tmp_path / "b.png", zoo.Event((5,)))
    with pytest.raises(OutputError, match="must be .png or .gif"):
        seen.write(tmp_path / "b.txt", zoo.Event((2,)))
    with pytest.raises(UsageError, match="showed no steps"):
        Trace().write(tmp_path / "b.png", zoo.Event((2,)))


def test_only_the_first_batch_and_eight_events_of_it_are_kept():
    seen, x = Trace(), torch.zeros(20, 1, 4, 4)
    for _ in range(2):
        for j in range(5):
            seen(j, x)
    assert len(seen.frames) == 5 and len(seen.frames[0]) == 8
    x += 1
    assert not seen.frames[0].any()
