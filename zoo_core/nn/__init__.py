"""Distributions and layers that networks of several families share."""
