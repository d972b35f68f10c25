"""A sampler and a likelihood for models of other plugins."""

__version__ = "0.1.0"
