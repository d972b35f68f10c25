"""--cond: numbers, names, classes in turn, parts by name, rows of a file, and what is wrong."""

import numpy as np
import pytest

from zoo_core import Classes, Condition, Group, Tokens, Vector, ZooError
from zoo_core.cli.condition import condition_of
from zoo_core.spaces import as_condition

STYLES = ("noto", "twemoji")
LABELS = as_condition(Group(group=Classes(9), style=Classes(2, names=STYLES, optional=True)))
FREE = as_condition(Group(pose=Vector(2), text=Tokens(3, 50)))


@pytest.mark.parametrize(
    ("condition", "text", "rows"),
    [
        (Classes(9), "3", [3, 3, 3]),
        (Classes(9), "3,4", [3, 4, 3]),
        (Classes(2, names=STYLES), "twemoji,noto", [1, 0, 1]),
        (Classes(2, names=STYLES), "1", [1, 1, 1]),
        (Classes(2, names=("1", "0")), "1", [0, 0, 0]),
        (LABELS, "group=4,style=twemoji", [[4, 1]] * 3),
        (LABELS, "group=4", [[4, 2]] * 3),
        (LABELS, "group=4,5,style=noto,twemoji", [[4, 0], [5, 1], [4, 0]]),
        (FREE, "pose=0.5,-1,text=1,2,3", [[0.5, -1, 1, 2, 3]] * 3),
        (Vector(2), "0.5,1.5", [[0.5, 1.5]] * 3),
        (Classes(9, optional=True), None, None),
        (Condition(), None, None),
    ],
)
def test_text_stands_for_conditions(condition, text, rows):
    found = condition_of(condition, text, 3)
    assert (found if found is None else found.tolist()) == rows


def test_parts_may_have_a_row_for_each_event_in_a_file(tmp_path):
    np.save(tmp_path / "p.npy", np.array([[0.0, 1.0], [2.0, 3.0]], np.float32))
    found = condition_of(FREE, f"text=1,2,3,pose={tmp_path / 'p.npy'}", 2)
    assert found.tolist() == [[0, 1, 1, 2, 3], [2, 3, 1, 2, 3]]
    np.save(tmp_path / "all.npy", np.array([[1, 0], [2, 2]]))
    assert condition_of(LABELS, str(tmp_path / "all.npy"), 2).tolist() == [[1, 0], [2, 2]]


@pytest.mark.parametrize(
    ("condition", "text", "message"),
    [
        (Classes(9), "x", "--cond 'x' is no class, no list of classes and no .npy file"),
        (Classes(9), "group=3", "--cond 'group=3' names parts; the model needs a class 0..8."),
        (Classes(9), str(1 << 70), f"--cond '{1 << 70}' is no class"),
        (Classes(2, names=STYLES), "nto", "cond = 'nto' is no name of a class; names: noto, twem"),
        (LABELS, "3", "--cond '3' does not say of which part; the model needs group: "),
        (LABELS, "stil=noto,group=1", "cond has no part 'stil'; parts: group: "),
        (LABELS, "group=1,group=2", "--cond 'group=1,group=2' names 'group' twice"),
        (LABELS, "group=food", "--cond group='food' is no class"),
        (LABELS, "style=noto", "cond lacks the part 'group'"),
        (LABELS, None, "the model needs group: a class 0..8; style: "),
        (Condition(), "3", "the model takes no condition"),
        (FREE, "pose=1,text=1,2,3", "cond['pose'] has shape (1,); expected (3, 2)"),
    ],
)
def test_text_that_does_not_fit_is_refused_with_what_would(condition, text, message):
    with pytest.raises(ZooError) as caught:
        condition_of(condition, text, 3)
    assert caught.value.message.startswith(message)
