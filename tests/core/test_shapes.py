"""The shapes that `zoo_core.nn` states in annotations are checked wherever tests run it."""

import jaxtyping
import pytest
import torch

from zoo_core.nn.distributions import Normal
from zoo_core.nn.inputs import one_hot
from zoo_core.nn.masked import MaskedLinear


@pytest.mark.parametrize(
    "call",
    [
        lambda: Normal(torch.zeros(2, 3), torch.zeros(2, 4)),
        lambda: one_hot(torch.zeros(2, 1, dtype=torch.long), 3, torch.float32),
        lambda: MaskedLinear(torch.arange(3), torch.arange(4)).part(torch.zeros(3), slice(2)),
    ],
)
def test_another_shape_than_the_annotation_says_is_an_error_in_tests(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()
