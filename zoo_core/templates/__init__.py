"""Texts from which new plugins are written."""
