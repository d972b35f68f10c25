"""Mixtures of rings in the plane: an example of a Density Zoo plugin."""

__version__ = "0.1.0"
