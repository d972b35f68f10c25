"""How good a model is: likelihood with its kind, sample quality, speed, and comparisons."""
