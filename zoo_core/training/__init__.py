"""One plain training loop over players: step, EMA, checkpoint, resume, recipes.

    result = train(model, dataset, TrainConfig(steps=2000), out=Path("run"))
    folder = run_recipe(load_recipe("made.digits"), Path("run"))

Names resolve on first use, so that reading a recipe imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_core.training.config import TrainConfig
    from zoo_core.training.loop import TrainResult, train
    from zoo_core.training.recipe import Recipe, load_recipe
    from zoo_core.training.run import run_recipe

__all__ = ["Recipe", "TrainConfig", "TrainResult", "load_recipe", "run_recipe", "train"]

_HOMES = {
    "Recipe": "recipe",
    "TrainConfig": "config",
    "TrainResult": "loop",
    "load_recipe": "recipe",
    "run_recipe": "run",
    "train": "loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
