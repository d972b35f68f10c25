"""acme-mixture: a plugin for Density Zoo. Like `plugin.py`, this module imports no torch."""

__version__ = "0.1.0"
