"""The generic likelihoods of the built-in plugin, and the losses of the same bounds.

    from zoo_core.likelihoods import IWAE

    model.log_likelihood(x, method=IWAE(k=64))

The names are those of `__init__.pyi`; they are imported on first use.
"""

from zoo_core import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
