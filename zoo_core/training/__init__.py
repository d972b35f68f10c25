"""One plain training loop over players: step, EMA, checkpoint, resume.

    result = train(model, dataset, TrainConfig(steps=2000), out=Path("run"))

Names resolve on first use, so that reading a configuration imports no torch.
"""

from typing import Any

from zoo_core import compat, lazy

_public, __dir__, __all__ = lazy.attach(__name__, __file__)


def __getattr__(name: str) -> Any:
    return _public(name) if name in __all__ else compat.moved_attribute(__name__, name)
