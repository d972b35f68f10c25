"""Configs: what is accepted, what is refused and in which words."""

import json
import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo_core.config import Range, from_dict, from_strings, to_dict, validate
from zoo_core.errors import ConfigError


@dataclass(frozen=True)
class Conv:
    type: ClassVar[str] = "conv"
    width: Annotated[int, Range(1, 64)] = 8


@dataclass(frozen=True)
class Dense:
    type: ClassVar[str] = "dense"
    sizes: tuple[int, ...] = (4, 4)


@dataclass(frozen=True)
class Config:
    levels: Annotated[int, Range(1, 64)] = 3
    rate: Annotated[float, Range(0, 1, open=True)] = 0.5
    mode: Literal["affine", "additive"] = "affine"
    bias: bool = True
    name: str | None = None
    shape: tuple[int, int] = (1, 2)
    widths: Annotated[tuple[int, ...], Range(1, 9)] = (1,)
    net: Conv | Dense = field(default_factory=Conv)


CONFIGS = st.builds(
    Config,
    st.integers(1, 64),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.sampled_from(["affine", "additive"]),
    st.booleans(),
    st.none() | st.text(max_size=5),
    st.tuples(st.integers(), st.integers()),
    st.lists(st.integers(1, 9), max_size=3).map(tuple),
    st.builds(Conv, st.integers(1, 64)) | st.builds(Dense, st.just((2,))),
)


@given(CONFIGS)
def test_a_config_survives_json(config):
    validate(config)
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config


REFUSED = [
    ({"levels": 0}, "x.levels = 0 is out of range; it must lie in [1, 64]."),
    ({"levels": 65}, "x.levels = 65 is out of range; it must lie in [1, 64]."),
    ({"levels": 2.0}, "x.levels = 2.0; it must be of type int."),
    ({"levels": True}, "x.levels = True; it must be of type int."),
    ({"levels": "3"}, "x.levels = '3'; it must be of type int."),
    ({"rate": 0.0}, "x.rate = 0.0 is out of range; it must lie in (0, 1)."),
    ({"rate": math.nan}, "x.rate = nan; it must be finite."),
    ({"rate": 10**400}, "x.rate = inf; it must be finite."),
    ({"bias": 1}, "x.bias = 1; it must be of type bool."),
    ({"mode": "afine"}, "x.mode = 'afine'; it must be one of 'affine', 'additive'."),
    ({"shape": [1]}, "x.shape = [1]; it must have 2 entries."),
    ({"shape": 3}, "x.shape = 3; it must be a list."),
    ({"shape": [1, "a"]}, "x.shape[1] = 'a'; it must be of type int."),
    ({"widths": [1, 99]}, "x.widths = (1, 99) is out of range; it must lie in [1, 9]."),
    ({"net": {"type": "cnv"}}, "x.net.type = 'cnv'; it must be one of conv, dense."),
    ({"net": {"type": "conv", "width": 0}}, "x.net.width = 0 is out of range;"),
    ({"net": {"type": "conv", "with": 0}}, "unknown option x.net.with; options: width."),
    ({"leves": 3}, "unknown option x.leves; options: levels, rate,"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_what_does_not_fit_is_refused_by_name(values, message):
    with pytest.raises(ConfigError) as caught:
        from_dict(Config, values, where="x.")
    assert caught.value.message.startswith(message)
    assert caught.value.exit_code == 7


def test_a_misspelt_option_is_answered_with_the_closest():
    with pytest.raises(ConfigError) as caught:
        from_dict(Config, {"leves": 3})
    assert caught.value.hint == "Did you mean levels?"


def test_a_config_built_in_python_obeys_the_same_rules():
    for config in (Config(levels=0), Config(net=Conv(width=0)), Config(mode="no")):
        with pytest.raises(ConfigError):
            validate(config)


def test_integers_serve_as_reals():
    assert from_dict(Conv, {"width": 3}) == Conv(3)

    @dataclass(frozen=True)
    class Real:
        x: float

    assert from_dict(Real, {"x": 2}) == Real(2.0)
    with pytest.raises(ConfigError, match=r"option x is required"):
        from_dict(Real, {})


def test_set_strings_are_json_or_plain_text():
    values = {"levels": "5", "mode": "additive", "name": "null", "rate": "1e-1"}
    found = from_strings(Config, values)
    assert (found.levels, found.mode, found.name, found.rate) == (5, "additive", None, 0.1)


def test_a_table_is_asked_for_where_a_table_is_due():
    with pytest.raises(ConfigError, match="expected a table, got 3"):
        from_dict(Config, 3)
