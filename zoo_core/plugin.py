"""For authors of plugins: everything that a family, sampler, loss or likelihood is written with.

    from zoo_core.plugin import Event, GenerativeModel, ModelSpec, Range, Rng, hookimpl

The names are those of `plugin.pyi`. They resolve on first use, so that a plugin's declarations
import neither torch nor numpy. No module of the core imports this one.
"""

from zoo_core import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
