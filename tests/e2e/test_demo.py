"""`zoo demo`: what its buttons do, and the page in a real browser, asking nobody else."""

import shlex
import sys

import numpy as np
import pytest
from PIL import Image

import zoo_core as zoo
from zoo_core.cli.command import Settings
from zoo_core.cli.demo.actions import MOST, Actions, Draw
from zoo_core.errors import (
    ConfigError,
    DataError,
    NoCapabilityError,
    NoLikelihoodError,
    UsageError,
)


@pytest.fixture
def actions(tmp_path):
    return Actions(Settings(), tmp_path)


@pytest.fixture
def digit(tmp_path):
    """A held-out digit as an 8-bit picture that comes back as it was, level for level."""
    x = zoo.load_dataset("digits").split("test").batch()[0][:1]
    path = tmp_path / "digit.png"
    Image.fromarray((x[0, 0] * 256 // 17 + 8).clamp(max=255).byte().numpy()).save(path)
    return x, path


def test_drawing_is_what_the_command_in_the_text_draws(actions, zoo_command, tmp_path):
    picture, text, animation = actions.sample(Draw("made.digits", 4, 3, "sequential"))
    command = text.splitlines()[0]
    assert shlex.split(command)[:3] == ["zoo", "sample", "made.digits"] and animation == ""
    zoo_command(*shlex.split(command)[1:], "--out", tmp_path / "x.png")
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(tmp_path / "x.png")))


@pytest.fixture
def zoo_command():
    from zoo_core.cli import main

    def run(*words):
        assert main([str(w) for w in words]) == 0

    return run


def test_an_image_is_scored_as_the_model_scores_the_same_event(actions, digit):
    x, path = digit
    seen, heat, text = actions.score("made.digits", str(path))
    nats = float(zoo.load("made.digits").log_likelihood(x).nats)
    assert f"made.digits: log p = {nats:.3f}" in text
    assert "independent: log p = " in text and "gaussian: log p >= " in text
    assert seen.size == heat.size and "bits of each pixel: black is 0, white" in text
    assert actions.score("vae.digits", str(path))[1] is None  # no conditionals, no map


def test_a_trajectory_is_an_animation_of_the_steps(actions):
    *_, file = actions.sample(Draw("made.digits", 2), trajectory=True)
    with Image.open(file) as animation:
        assert animation.n_frames > 2


@pytest.mark.parametrize("name", ["vae.digits", "dcgan.digits", "nsf_coupling.moons"])
def test_a_path_begins_and_ends_at_its_seeds(actions, name):
    ends = actions.interpolate(Draw(name, seed=1), 2, frames=2)[0]
    back = actions.interpolate(Draw(name, seed=2), 1, frames=2)[0]
    if ends.size[0] == ends.size[1]:  # points in the plane are drawn together
        assert np.array_equal(np.asarray(ends), np.asarray(back))
        return
    half = ends.size[0] // 2
    first, last = np.asarray(ends)[:, 2:half], np.asarray(ends)[:, half + 1 : -1]
    assert np.array_equal(first, np.asarray(back)[:, half + 1 : -1][:, : first.shape[1]])
    assert not np.array_equal(first, last[:, : first.shape[1]])


@pytest.mark.parametrize(
    ("do", "error", "words"),
    [
        (lambda a: a.sample(Draw("made.digits", MOST + 1)), UsageError, "1 to 64"),
        (lambda a: a.sample(Draw("made.digits", steps=3.0)), ConfigError, "unknown option"),
        (lambda a: a.sample(Draw("ddpm.digits", steps=1e9)), UsageError, "from 1 to 1000"),
        (lambda a: a.sample(Draw("hvae.emoji", 1)), DataError, "the model needs group"),
        (lambda a: a.score("made.digits", None), UsageError, "no image"),
        (lambda a: a.score("made.digits", __file__), DataError, "cannot be read as an image"),
        (lambda a: a.interpolate(Draw("made.digits"), 1), NoCapabilityError, "no latents"),
    ],
)
def test_mistakes_are_told_in_the_words_of_the_command(actions, do, error, words):
    with pytest.raises(error, match=words):
        do(actions)


def test_a_model_without_density_has_no_score(actions, digit):
    with pytest.raises(NoLikelihoodError, match="no p\\(x\\)"):
        actions.score("dcgan.digits", str(digit[1]))


def test_without_the_extra_the_demo_says_what_to_install(monkeypatch, capsys):
    from zoo_core.cli import main

    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo"]) == 2
    assert "pip install 'density-zoo[demo]'" in capsys.readouterr().err


WATCHED = """
import socket, sys
real = socket.getaddrinfo
def watched(host, *rest, **options):
    if host not in (None, "", "127.0.0.1", "localhost", b"127.0.0.1"):
        print(f"ASKED {host}", file=sys.stderr, flush=True)
    return real(host, *rest, **options)
socket.getaddrinfo = watched
from zoo_core.cli import main
sys.exit(main(["demo"]))
"""


@pytest.fixture
def demo(start, tmp_path):
    """The address of a running demo; at the end nothing may have been looked up elsewhere."""
    pytest.importorskip("gradio", reason="gradio is not installed: make test-slow installs it")
    process = start("-c", WATCHED, GRADIO_TEMP_DIR=str(tmp_path / "gradio"), COLUMNS="80")
    with process:
        yield process.stdout.readline().strip()
        process.terminate()
        assert "ASKED" not in process.stderr.read()


LOADED = "([id]) => (document.querySelector(`#${id} img`) ?? {}).naturalWidth"


def _shown(page, name):
    """Wait until the picture of a component has loaded."""
    page.wait_for_function(LOADED, arg=[name], timeout=300_000)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(demo, digit, browser, width):
    """Draw, upload, score, compare and interpolate; an error is shown, nobody else is asked."""
    page = browser(width)
    page.goto(demo)
    page.click("#sample-button")
    _shown(page, "sample-picture")
    assert "zoo sample" in page.input_value("#sample-text textarea")
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.get_by_role("tab", name="Score").click()
    page.click("#score-button")
    page.wait_for_selector("text=no image is given")
    page.set_input_files("#score-file input[type=file]", str(digit[1]))
    page.wait_for_selector("#score-file >> text=digit")
    page.click("#score-button")
    _shown(page, "score-seen")
    assert "log p" in page.input_value("#score-text textarea")

    for tab, button, picture in (
        ("Compare", "compare-button", "compare-right"),
        ("Interpolate", "interpolate-button", "interpolate-picture"),
    ):
        page.get_by_role("tab", name=tab).click()
        page.click(f"#{button}")
        _shown(page, picture)
    assert page.asked == []
    assert [line for line in page.said if "error" in line.lower()] == []
