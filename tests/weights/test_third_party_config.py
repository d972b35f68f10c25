"""A foreign config is read whole: what nobody asked for, or of another type, is named."""

import pytest

from zoo_core.errors import IntegrityError
from zoo_core.weights.third_party import ForeignConfig


def config(**keys):
    return ForeignConfig({"_class_name": "Net", **keys}, "unet/config.json", harmless=("author",))


def test_keys_that_were_read_or_are_harmless_or_null_are_fine():
    c = config(width=8, author="me", unknown=None, rate=1)
    assert c.get("width", 16) == 8 and c.get("depth", 2) == 2 and c.get("rate", 0.5) == 1
    assert c.finish() == ()


def test_keys_that_nobody_read_are_refused_by_name_and_value():
    with pytest.raises(IntegrityError, match=r"unet/config.json: a = 1, b = \[2\] has no counter"):
        config(a=1, b=[2]).finish()


@pytest.mark.parametrize(
    ("value", "default"),
    [("8", 16), (8.5, 16), (True, 16), (1, True), (8, (1, 2)), (None, 16), ([], "text")],
)
def test_a_value_of_another_type_than_its_default_is_refused(value, default):
    with pytest.raises(IntegrityError, match="width = .* has no counterpart; expected"):
        config(width=value).get("width", default)


@pytest.mark.parametrize("value", ["gelu", None, [], {}, 1])
def test_a_value_without_a_counterpart_lists_those_that_have_one(value):
    with pytest.raises(IntegrityError, match="has no counterpart; known: 'relu', 'silu'"):
        config(act=value).one("act", {"relu": 1, "silu": 2}, "relu")


def test_only_lets_values_through_that_mean_what_is_built():
    for c in (config(), config(bias=True)):
        c.only("bias", True)
        assert c.finish() == ()
    with pytest.raises(IntegrityError, match="bias = False"):
        config(bias=False).only("bias", True)


def test_what_is_of_the_sampler_is_a_remark_where_it_differs():
    c = config(steps=20, clip=True)
    c.said("steps", 50)
    c.said("clip", True)
    assert c.finish() == ("unet/config.json: not of the model, but of its sampler: steps = 20",)


@pytest.mark.parametrize("other", [[], "text", 3, None])
def test_a_config_that_is_no_object_is_refused(other):
    with pytest.raises(IntegrityError, match="expected an object"):
        ForeignConfig(other, "config.json")
