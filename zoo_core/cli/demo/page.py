"""The page of the demo: four tabs of inputs, whose buttons call `actions`."""

import functools
import html
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from zoo_core.cli.command import Settings
from zoo_core.cli.demo.actions import MOST, Actions, Draw
from zoo_core.errors import UsageError, ZooError, ZooWarning
from zoo_core.text import printable

__all__ = ["page"]

_ALL = "all families"
_OWN = "the architecture's own"
_TITLE = """# Density Zoo
The bundled models, on this machine alone. The sign before a number says how it stands to log p:
`=` it is log p, `>=` a lower bound, `~` an estimate, `!` unrelated."""


def page(settings: Settings, folder: Path) -> gr.Blocks:
    """The whole page; animations go into `folder`."""
    actions = Actions(settings, folder)
    with gr.Blocks(title="Density Zoo", analytics_enabled=False) as blocks:
        gr.Markdown(_TITLE)
        with gr.Tab("Sample"):
            _sample(actions)
        with gr.Tab("Score"):
            _score(actions)
        with gr.Tab("Compare"):
            _compare(actions)
        with gr.Tab("Interpolate"):
            _interpolate(actions)
    return blocks


def _sample(actions: Actions) -> None:
    with gr.Row():
        with gr.Column():
            family = gr.Dropdown([_ALL, *actions.families], value=_ALL, label="Family")
            name, about = _model(actions, actions.names())
            sampler = _sampler(actions, name)
            with gr.Row():
                steps = _optional("Steps")
                guidance = _optional("Guidance scale")
            cond = _condition()
            n, seed = _count(), _seed("Seed")
            trajectory = gr.Checkbox(label="Show the trajectory")
            button = gr.Button("Draw", variant="primary", elem_id="sample-button")
        with gr.Column():
            picture = _picture("Samples", "sample-picture")
            animation = _picture("Trajectory", "sample-trajectory")
            told = _text("sample-text")
    family.change(lambda f: _choices(actions.names(None if f == _ALL else f)), family, name)

    def draw(name: str, sampler: str, steps: Any, guidance: Any, *rest: Any) -> Any:
        cond, n, seed, trajectory = rest
        asked = Draw(name, n, seed, _named(sampler), _number(steps), _number(guidance), cond)
        picture, text, file = actions.sample(asked, trajectory=trajectory)
        return picture, file or None, text

    inputs = [name, sampler, steps, guidance, cond, n, seed, trajectory]
    _wire(button.click, draw, inputs, [picture, animation, told])


def _score(actions: Actions) -> None:
    with gr.Row():
        with gr.Column():
            name, _ = _model(actions, actions.of_images)
            file = gr.File(
                label="Image (.png or .jpg, at most 4 MB)",
                file_types=[".png", ".jpg", ".jpeg"],
                type="filepath",
                elem_id="score-file",
            )
            cond = _condition()
            button = gr.Button("Score", variant="primary", elem_id="score-button")
        with gr.Column():
            with gr.Row():
                seen = _picture("What the model sees", "score-seen")
                heat = _picture("Bits of each pixel", "score-heat")
            told = _text("score-text")
    _wire(button.click, actions.score, [name, file, cond], [seen, heat, told])


def _compare(actions: Actions) -> None:
    with gr.Row():
        first, _ = _model(actions, actions.names())
        second, _ = _model(actions, actions.names()[::-1])
    with gr.Row():
        n, seed = _count(), _seed("Seed of both")
        cond = _condition()
    button = gr.Button("Draw both", variant="primary", elem_id="compare-button")
    with gr.Row():
        left, right = _picture("First", "compare-left"), _picture("Second", "compare-right")
    told = _text("compare-text")

    def draw(first: str, second: str, n: int, seed: int, cond: str) -> Any:
        return actions.compare(Draw(first, n, seed, cond=cond), Draw(second, n, seed, cond=cond))

    _wire(button.click, draw, [first, second, n, seed, cond], [left, right, told])


def _interpolate(actions: Actions) -> None:
    names = [name for name in actions.names() if actions.has_latents(name)]
    with gr.Row():
        with gr.Column():
            name, _ = _model(actions, names)
            sampler = _sampler(actions, name)
            cond = _condition()
            with gr.Row():
                start, end = _seed("Seed at the start"), _seed("Seed at the end", 1)
            frames = gr.Slider(2, 16, value=8, step=1, label="Events on the way")
            button = gr.Button("Interpolate", variant="primary", elem_id="interpolate-button")
        with gr.Column():
            picture = _picture("From seed to seed", "interpolate-picture")
            told = _text("interpolate-text")

    def draw(name: str, sampler: str, cond: str, start: int, end: int, frames: int) -> Any:
        asked = Draw(name, 1, start, _named(sampler), cond=cond)
        return actions.interpolate(asked, end, frames=int(frames))

    _wire(button.click, draw, [name, sampler, cond, start, end, frames], [picture, told])


def _model(actions: Actions, names: list[str]) -> tuple[gr.Dropdown, gr.Textbox]:
    """A model and what is known of it."""
    preferred = next((n for n in names if n.endswith(".digits")), names[0] if names else None)
    name = gr.Dropdown(names, value=preferred, label="Model")
    about = gr.Textbox(actions.about(preferred) if preferred else "", label="About", lines=2)
    _wire(name.change, actions.about, [name], [about])
    return name, about


def _sampler(actions: Actions, name: gr.Dropdown) -> gr.Dropdown:
    """The samplers of a model, which follow it."""
    sampler = gr.Dropdown([_OWN, *actions.samplers(name.value)], value=_OWN, label="Sampler")
    name.change(lambda n: gr.Dropdown([_OWN, *actions.samplers(n)], value=_OWN), name, sampler)
    return sampler


def _choices(names: list[str]) -> gr.Dropdown:
    return gr.Dropdown(names, value=names[0] if names else None)


def _condition() -> gr.Textbox:
    return gr.Textbox(
        "", label="Condition", max_lines=1, placeholder="as --cond: 3, or group=food,style=noto"
    )


def _optional(label: str) -> gr.Textbox:
    return gr.Textbox("", label=label, max_lines=1, placeholder="the sampler's own")


def _number(text: str) -> float | None:
    """The number in an optional field; None if it is empty."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise UsageError(f"{text!r} is no number.", hint="leave it empty for a default") from None


def _count() -> gr.Slider:
    return gr.Slider(1, MOST, value=16, step=1, label="Events")


def _seed(label: str, value: int = 0) -> gr.Number:
    return gr.Number(value, label=label, precision=0, minimum=0, maximum=2**53 - 1)


def _picture(label: str, name: str) -> gr.Image:
    """A picture to look at or keep, without gradio's button that posts it to a forum."""
    return gr.Image(
        label=label,
        type="pil",
        format="png",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=name,
    )


def _text(name: str) -> gr.Textbox:
    return gr.Textbox(label="What was done", lines=4, interactive=False, elem_id=name)


def _named(sampler: str) -> str:
    return "" if sampler == _OWN else sampler


def _wire(
    event: Callable[..., Any], action: Callable[..., Any], inputs: list[Any], outputs: list[Any]
) -> None:
    """Call an action on an event; one model runs at a time."""
    event(_told(action), inputs, outputs, concurrency_limit=1, concurrency_id="models")


def _told(action: Callable[..., Any]) -> Callable[..., Any]:
    """The action, whose errors and warnings are shown in the words of the command."""

    @functools.wraps(action)
    def call(*inputs: Any) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ZooWarning)
            try:
                result = action(*inputs)
            except ZooError as error:
                hint = f"\nhint: {error.command}" if error.command else ""
                raise gr.Error(_shown(f"{error.message}{hint}"), duration=None) from error
        for warning in caught:
            if issubclass(warning.category, ZooWarning):
                gr.Warning(_shown(str(warning.message)))
        return result

    return call


def _shown(text: str) -> str:
    """Printable text that the page does not take for HTML."""
    return "<br>".join(html.escape(printable(line)) for line in text.splitlines())
