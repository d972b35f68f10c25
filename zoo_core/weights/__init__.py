"""Weights by name: tags and their folders, checkpoints, and what may be read from them."""
