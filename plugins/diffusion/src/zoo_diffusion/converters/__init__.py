"""Converters of the checkpoints of others, a module a layout."""
