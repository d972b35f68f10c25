"""Density Zoo: generative models behind one interface that says what kind of density they have.

    import zoo_core as zoo

    model = zoo.load("pixelcnn.digits")
    x = model.sample(16, seed=0)
    log_p = model.log_likelihood(x)

The names are those of `__init__.pyi`. They resolve on first use, so that importing this package
imports neither torch nor numpy. Authors of plugins import from `zoo_core.plugin`.
"""

from typing import Any

from zoo_core import compat, lazy

compat.install()

_public, __dir__, __all__ = lazy.attach(__name__, __file__)


def __getattr__(name: str) -> Any:
    return _public(name) if name in __all__ else compat.moved_attribute(__name__, name)
