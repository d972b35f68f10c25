"""What a model is a distribution over, and what it may be conditioned on.

`Event`, `Tokens` and `Group` are spaces of events; `Classes`, `Vector`, `Image`, `Tokens` and
groups of them are conditions. Checks run at the public boundary, on the tensor's own device.
"""

from zoo_core.spaces.condition import (
    ClassCounts,
    Classes,
    Condition,
    Image,
    Vector,
    class_features,
)
from zoo_core.spaces.event import Event, Tokens, rescale_levels
from zoo_core.spaces.group import Group, as_condition

__all__ = [
    "ClassCounts",
    "Classes",
    "Condition",
    "Event",
    "Group",
    "Image",
    "Tokens",
    "Vector",
    "as_condition",
    "class_features",
    "rescale_levels",
]
