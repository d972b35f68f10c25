"""Variational autoencoders: a Density Zoo plugin. Importing it imports no torch."""

__version__ = "0.2.0"
