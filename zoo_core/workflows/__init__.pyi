"""What `zoo_core.workflows` offers: this file is the one table of these names."""

from .recipe import Recipe as Recipe
from .recipe import load_recipe as load_recipe
from .run import run_recipe as run_recipe
