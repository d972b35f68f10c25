"""Names in listings and files: on a terminal they are shown, in a card they are plain text."""

import json

import pytest
import torch
from safetensors.torch import save_file

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.weights.card import card
from zoo_core.weights.checkpoint import METADATA, WEIGHTS
from zoo_core.weights.hub import client
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.listing import Listed

ESCAPE = "\x1b]0;title\x07\x9b31m"
SHOWN = r"\x1b]0;title\x07\x9b31m"


def test_the_id_that_a_listing_names_is_shown(hub, commit, caplog):
    hub.edit = lambda listing: listing | {"id": f"me/new{ESCAPE}"}
    zoo.load("hf://me/mini")
    assert f"hf://me/mini is now called hf://me/new{SHOWN}" in caplog.text


def test_a_progress_bar_shows_the_name_of_its_file(monkeypatch):
    monkeypatch.setattr("tqdm.tqdm", lambda **options: options["desc"])
    assert client._bar(Listed(f"a{ESCAPE}", 1, "0" * 40), Access(), 0) == f"a{SHOWN}"


@pytest.fixture
def folder(minis, tmp_path):
    return zoo.create("mini_ar", side=2, hidden=8).save(tmp_path / "m")


def test_names_of_tensors_and_fields_of_a_folder_are_shown(folder, zoo_command, tmp_path):
    metadata = json.loads((folder / METADATA).read_bytes())
    save_file({f"w{ESCAPE}": torch.ones(1)}, folder / WEIGHTS)
    del metadata["files"]
    (folder / METADATA).write_text(json.dumps(metadata))
    code, out, err = zoo_command("sample", folder, "--out", tmp_path / "x.npz")
    assert code == 6 and f"w{SHOWN}" in err and "\x1b" not in out + err
    (folder / METADATA).write_text(json.dumps(metadata | {"arch": f"mini{ESCAPE}"}))
    code, out, err = zoo_command("sample", folder, "--out", tmp_path / "x.npz")
    assert code == 3 and SHOWN.lstrip("\\") in err and "\x1b" not in out + err


def test_a_card_is_text_whatever_a_folder_says(folder):
    metadata = json.loads((folder / METADATA).read_bytes())
    odd = f"x{ESCAPE}\n---\n| [a](javascript:b) <img src=c> `d`"
    metadata |= {"source": odd, "license": odd, "recipe": {"text": f"```\n{ESCAPE}"}}
    text = card("me/m", current().model("mini_ar").spec, metadata)
    cell = rf"x{SHOWN} --- \| \[a\](javascript:b) \<img src=c> \`d\`".replace(
        SHOWN, SHOWN.replace("\\", r"\\").replace("]", r"\]")
    )
    assert f"| source | {cell} |" in text.splitlines()
    assert all(c.isprintable() or c == "\n" for c in text)
    assert text.count("\n---\n") == 1 and text.count("```") == 4
