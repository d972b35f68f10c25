"""Tokens, groups of named parts, and conditions of several parts: what goes in comes back."""

import pytest
import torch

from zoo_core import (
    Classes,
    Condition,
    DataError,
    Event,
    Group,
    Image,
    NoCapabilityError,
    Tokens,
    Vector,
)
from zoo_core.nn.inputs import class_rows, condition_features, embed_classes, one_hot
from zoo_core.spaces import as_condition

STYLES = ("noto", "twemoji", "openmoji")
LABELS = as_condition(Group(group=Classes(9), style=Classes(3, names=STYLES, optional=True)))
MIXED = as_condition(
    Group(
        style=Classes(3, names=STYLES, optional=True),
        pose=Vector(2, optional=True),
        text=Tokens(4, 300, optional=True),
        sketch=Image((1, 2, 2)),
    )
)


def test_the_short_names_are_conditions_as_ever():
    assert Classes(10) == Condition("classes", classes=10)
    assert Vector(3, optional=True) == Condition("vector", shape=(3,), optional=True)
    assert Image((1, 4, 4)) == Condition("image", shape=(1, 4, 4))
    assert Classes(2, names=("a", "b")) == Classes(2), "names tell no spaces apart"


def test_parts_by_name_and_rows_packed_already_are_the_same():
    packed = LABELS.check({"group": [0, 3, 8], "style": "twemoji"}, 3)
    assert packed.tolist() == [[0, 1], [3, 1], [8, 1]] and packed.dtype == torch.int64
    assert torch.equal(LABELS.check(packed, 3), packed)
    assert LABELS.check({"group": 2}, 2).tolist() == [[2, 3]] * 2, "an absent class is K"
    assert {k: v.tolist() for k, v in LABELS.split(packed).items()} == {
        "group": [0, 3, 8], "style": [1, 1, 1],
    }  # fmt: skip


def test_parts_of_every_kind_come_back_as_they_went_in():
    g = torch.Generator().manual_seed(0)
    given = {
        "style": ["noto", "openmoji"],
        "pose": torch.randn(2, 2, generator=g),
        "text": torch.randint(300, (2, 4), generator=g),
        "sketch": torch.randn(2, 1, 2, 2, generator=g),
    }
    packed = MIXED.check(given, 2)
    assert packed.shape == (2, 1 + 3 + 4 + 4) and packed.dtype == torch.float32
    back = MIXED.split(packed)
    assert back["style"].tolist() == [0, 2] and back["style"].dtype == torch.int64
    for name in ("pose", "text", "sketch"):
        assert torch.equal(back[name], given[name])
    without = MIXED.check({"sketch": given["sketch"]}, 2)
    assert MIXED.split(without)["text"].unique().tolist() == [300]
    assert torch.equal(MIXED.check(without, 2), without)


def test_parts_are_dropped_row_by_row_and_only_where_they_are_optional():
    packed = LABELS.check({"group": [1, 2], "style": [0, 1]}, 2)
    dropped = torch.tensor([[True, True], [True, False]])
    assert LABELS.drop(packed, dropped).tolist() == [[1, 3], [2, 1]]
    lone = Classes(5, optional=True)
    cond = torch.tensor([1, 2])
    assert lone.drop(cond, torch.tensor([[True], [False]])).tolist() == [5, 2]
    assert lone.null(2).tolist() == [5, 5]
    free = as_condition(Group(a=Classes(2, optional=True), b=Vector(1, optional=True)))
    assert free.null(1).tolist() == [[2, 0, 1]] and free.check(None, 4) is None
    assert torch.equal(free.drop(free.check({"a": 1, "b": [0.5]}, 1), torch.ones(1, 2) > 0),
                       free.null(1))  # fmt: skip


def test_one_group_for_very_many_events_takes_the_memory_of_one():
    cond = LABELS.check({"group": 1, "style": 2}, 10**12)
    assert cond.shape == (10**12, 2) and cond.untyped_storage().nbytes() < 100


WRONG = [
    (LABELS, {"group": 1, "stile": 0}, "cond has no part 'stile'; parts: group: "),
    (LABELS, {"style": 0}, "cond lacks the part 'group' (integers 0..8 of shape scalar)"),
    (LABELS, {"group": 9}, "cond['group'] has values from 9 to 9; expected integers 0..8"),
    (LABELS, {"group": 0, "style": "notto"}, "cond['style'] = 'notto' is no name of a class; names"
     ": noto, twemoji, openmoji."),
    (LABELS, {"group": "food"}, "cond['group'] = 'food' is no number"),
    (LABELS, {"group": [0, 1, 2], "style": 0}, "cond['group'] has shape (3,); expected (2,)"),
    (LABELS, [[0, 4]] * 2, "cond['style'] has values from 4 to 4"),
    (LABELS, [[9, 0]] * 2, "cond['group'] has values from 9 to 9"),
    (LABELS, [0, 1, 2], "cond has shape (3,); expected a dict of group: "),
    (LABELS, None, "cond is missing; this model needs group: a class 0..8; style: "),
    (MIXED, torch.full((2, 12), 0.5), "cond['style'] holds fractions"),
    (MIXED, torch.full((2, 12), float("nan")), "cond holds NaN or infinite values; expected"),
    (Classes(3, names=STYLES), "nto", "cond = 'nto' is no name of a class; names: noto, "),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "cond", "message"), WRONG)
def test_parts_that_do_not_fit_are_refused_with_what_would(condition, cond, message):
    with pytest.raises(DataError) as caught:
        condition.check(cond, 2)
    assert caught.value.message.startswith(message)


def test_names_of_classes_stand_for_their_numbers():
    assert Classes(3, names=STYLES).check("twemoji", 2).tolist() == [1, 1]
    assert Classes(3, names=STYLES).check(["openmoji", "noto"], 2).tolist() == [2, 0]
    assert str(Classes(3, names=STYLES)) == "a class 0..2 (noto, twemoji, openmoji)"


def test_names_are_taken_from_data_of_the_same_classes_alone():
    plain = Condition.from_classes((("group", 9), ("style", 3)), optional=True)
    assert plain.optional and plain.parts[1][1].optional
    named = plain.called_as(LABELS)
    assert dict(named.parts)["style"].names == STYLES and named == plain
    other = as_condition(Group(group=Classes(9), style=Classes(3, names=("x", "y", "z"))))
    assert not named.same_values(other) and named.called_as(other) is named
    assert Condition.from_classes(None) == Condition()
    assert Condition.from_classes(4) == Classes(4)


def test_tokens_have_no_scale_and_no_bits_per_dim():
    tokens = Tokens(3, 50)
    x = tokens.check([[0, 49, 7]])
    assert torch.equal(tokens.to_network(x), x) and tokens.unit == "token" and tokens.dims == 3
    with pytest.raises(DataError, match="no scale"):
        tokens.from_network(torch.zeros(1, 3))
    with pytest.raises(DataError, match="from 0 to 50; expected 3 tokens 0..49"):
        tokens.check([[50, 0, 0]])
    assert not Event((3,), levels=50).holds(tokens), "their numbers are not the same"


TABLE = Group(age=Event((), low=0), job=Classes(3, names=STYLES), at=Event((2,)))


def test_events_of_several_parts_are_rows_of_columns():
    x = TABLE.check({"age": [31.5, 4.0], "job": ["noto", "openmoji"], "at": torch.ones(2, 2)})
    assert x.tolist() == [[31.5, 0, 1, 1], [4, 2, 1, 1]]
    assert torch.equal(TABLE.check(x), x) and TABLE.dims == 4 and not TABLE.discrete
    seen = TABLE.to_network(x)
    assert seen[:, 1].tolist() == [-1, 1] and torch.equal(seen[:, 0], x[:, 0])
    assert torch.equal(TABLE.from_network(seen), x)
    assert TABLE.from_network(torch.tensor([[-1.0, 9.0, 0.0, 0.0]])).tolist() == [[0, 2, 0, 0]]
    assert TABLE.select(["at", "age"]).shape == (3,)
    codes = Group(a=Classes(3), b=Classes(5))
    assert codes.discrete and codes.check({"a": [1], "b": [4]}).dtype == torch.int64


WRONG_EVENTS = [
    (TABLE, {"age": [1.0], "job": [3], "at": torch.ones(1, 2)}, "x['job'] has values from 3 to 3"),
    (TABLE, torch.zeros(2, 3), "x has shape (2, 3); expected (B, 4): age: "),
    (TABLE, torch.tensor([[-1.0, 0, 0, 0]]), "x['age'] has values from -1 to -1"),
    (TABLE, torch.tensor([[1.0, 0.5, 0, 0]]), "x['job'] holds fractions"),
    (Group(a=Classes(3, optional=True)), [[0]], "a: an event has all of its parts"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "x", "message"), WRONG_EVENTS)
def test_events_of_several_parts_that_do_not_fit_are_refused(event, x, message):
    with pytest.raises(DataError) as caught:
        event.check(x)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Group(), "a group has no parts"),
        (lambda: Group(a=Group(b=Classes(2))), "part 'a' is a Group; parts are"),
        (lambda: Group(a=3), "part 'a' is a int; parts are"),
        (lambda: Classes(3, names=("a",)), "3 classes have 1 names"),
        (lambda: Classes(0), "k = 0; it must be an integer of at least 1"),
        (lambda: Tokens(0, 5), "length = 0"),
        (lambda: TABLE.select(["agee"]), "no part 'agee'; parts: age, job, at"),
    ],
)
def test_spaces_that_cannot_be_are_refused(make, message):
    with pytest.raises(DataError) as caught:
        make()
    assert caught.value.message.startswith(message)


def test_networks_get_a_vector_in_which_every_part_has_its_columns():
    assert (Classes(4).features, LABELS.features, Condition().features) == (4, 9 + 4, 0)
    assert MIXED.features == 4 + 3 + 4 * 301 + 4
    cond = torch.tensor([2, 0])
    lone = condition_features(Classes(4), cond, torch.float32)
    assert torch.equal(lone, one_hot(cond, 4, torch.float32))
    packed = LABELS.check({"group": [8, 0], "style": "openmoji"}, 2)
    packed[1, 1] = 3
    seen = condition_features(LABELS, packed, torch.float64)
    assert seen.nonzero().tolist() == [[0, 8], [0, 9 + 2], [1, 0], [1, 9 + 3]]
    assert condition_features(LABELS, None, torch.float32, like=seen) is None, "not all optional"
    pose = Vector(2, optional=True)
    assert condition_features(pose, torch.ones(1, 2), torch.float32).tolist() == [[1, 1, 0]]
    assert condition_features(pose, None, torch.float32, like=seen).tolist() == [[0, 0, 1]] * 2


def test_one_table_holds_an_embedding_for_each_part():
    table = torch.nn.Embedding(LABELS.features, 5)
    packed = LABELS.check({"group": [8, 0], "style": [2, 0]}, 2)
    by_table = embed_classes(table, LABELS, packed)
    by_features = condition_features(LABELS, packed, torch.float32) @ table.weight
    torch.testing.assert_close(by_table, by_features)
    small = torch.nn.Embedding(3, 5)
    assert torch.equal(embed_classes(small, Classes(3), torch.tensor([1])), small.weight[[1]])
    words = as_condition(Tokens(2, 3))
    assert class_rows(words, torch.tensor([[1, 2]])).tolist() == [[1, 5]]
    with pytest.raises(NoCapabilityError, match="pose: reals .* has no embedding"):
        embed_classes(table, MIXED, torch.zeros(1, 12))


def test_combinations_of_classes_are_numbered():
    packed = LABELS.check({"group": [0, 8, 3], "style": [0, 2, 1]}, 3)
    packed[2, 1] = 3
    assert LABELS.cells == 9 * 4 and LABELS.cell(packed).tolist() == [0, 34, 15]
    assert (Classes(4).cells, MIXED.cells, Condition().cells) == (4, None, None)
