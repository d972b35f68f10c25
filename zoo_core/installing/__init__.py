"""Plugins from an index, a wheel or a folder into this interpreter, by its own installer."""
