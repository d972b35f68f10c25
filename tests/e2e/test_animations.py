"""The animations of examples/animations.py, at the smallest size."""

import runpy
from pathlib import Path

import torch
from PIL import Image

import zoo_core as zoo

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "animations.py"))


def test_a_trajectory_ends_in_what_is_sampled():
    model = zoo.load("ddpm.digits")
    frames = EXAMPLE["trajectory"](model, n=2, steps=2)
    assert [f.shape for f in frames] == [(2, 1, 8, 8)] * 3
    assert torch.equal(frames[-1], model.sample(2, seed=0, sampler="ddim", steps=2))


def test_an_interpolation_goes_from_each_event_to_the_next():
    model = zoo.load("ddpm.digits")
    ends = zoo.load_dataset("digits").split("test").batch(range(2))[0]
    first, last = EXAMPLE["between_images"](model, ends, steps=2)
    assert torch.equal(first, last.roll(1, 0))


def test_latents_and_classes_move_while_the_rest_stays(tmp_path):
    model = zoo.load("r3gan.emoji")
    conditions = [{"group": group, "style": "noto"} for group in ("smileys", "flags")]
    first, last = EXAMPLE["between_latents"](model, n=2, steps=2, cond=conditions[0])
    assert torch.allclose(first, last.roll(1, 0), atol=1e-3)
    frames = EXAMPLE["sweep"](model, conditions, n=2)
    assert torch.equal(frames[0], model.sample(2, seed=0, cond=conditions[0]))
    path = EXAMPLE["write"](tmp_path / "new" / "sweep.gif", frames, model.event)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size) == (2, (128, 64))
