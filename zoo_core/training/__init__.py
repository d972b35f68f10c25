"""One plain training loop over players: step, EMA, checkpoint, resume.

    result = train(model, dataset, TrainConfig(steps=2000), out=Path("run"))

Names resolve on first use, so that reading a configuration imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoo_core.compat import moved_attribute

if TYPE_CHECKING:
    from zoo_core.training.config import TrainConfig
    from zoo_core.training.loop import TrainResult, train

__all__ = ["TrainConfig", "TrainResult", "train"]

_HOMES = {
    "TrainConfig": "config",
    "TrainResult": "loop",
    "train": "loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        return moved_attribute(__name__, name)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
