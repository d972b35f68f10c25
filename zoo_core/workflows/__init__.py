"""Whole jobs on top of training and evaluation: recipes, runs, studies, verification.

    folder = run_recipe(load_recipe("made.digits"), Path("run"))

Names resolve on first use, so that reading a recipe imports no torch.
"""

from zoo_core import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
