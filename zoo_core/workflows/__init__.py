"""Whole jobs on top of training and evaluation: recipes, runs, studies, verification.

    folder = run_recipe(load_recipe("made.digits"), Path("run"))

Names resolve on first use, so that reading a recipe imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_core.workflows.recipe import Recipe, load_recipe
    from zoo_core.workflows.run import run_recipe

__all__ = ["Recipe", "load_recipe", "run_recipe"]

_HOMES = {"Recipe": "recipe", "load_recipe": "recipe", "run_recipe": "run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
