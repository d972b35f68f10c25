"""Normalizing flows: a Density Zoo plugin.

    from zoo_flows import DeqBound

    model.log_likelihood(x, method=DeqBound(draws=1, k=64))

The names are those of `__init__.pyi`. They resolve on first use, so that importing this package
imports no torch.
"""

from zoo_core.plugin import attach

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = attach(__name__, __file__)
