"""`python -m tools.pin` fills what a Hub knows into cards, and nothing else."""

import hashlib
import sys
import tomllib
from pathlib import Path

import pytest
from carded import WEIGHTS, card

import zoo_core as zoo
from zoo_core.catalog.cards import CARDS
from zoo_core.catalog.registry import use

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools import pin  # noqa: E402


@pytest.fixture
def cards_file(carded, published, install):
    """The path of a plugin's cards, two of repositories and one of an address."""

    def start(text):
        registry = carded(text)
        return registry, install.site / "zoo_carded" / CARDS

    published("one", "two")
    return start


def test_a_card_gets_the_commit_and_the_hash_of_every_file(cards_file, hub, capsys):
    text = "# kept\n" + card("one") + '\n["mini-ar-2".one.config]\nside = 2\n' + card("two")
    text = text.replace('"mini-ar-2"', "mini-ar-2")
    registry, path = cards_file(text)
    with use(registry):
        assert pin.main(["mini-ar-2.one"]) == 0
        shown = capsys.readouterr().out
        assert path.read_text() == text and "+revision = " in shown
        assert pin.main(["mini-ar-2.one", "--write"]) == 0
    after = tomllib.loads(path.read_text())["mini-ar-2"]
    commit, files = hub.repos["them/one"].at("main")
    hashes = {f["path"]: (f["size"], f["sha256"]) for f in after["one"]["files"]}
    assert after["one"]["revision"] == commit
    assert hashes == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()
    }
    assert after["two"] == tomllib.loads(text)["mini-ar-2"]["two"]
    assert after["one"]["config"] == {"side": 2} and path.read_text().startswith("# kept\n")
    assert not any(line.endswith(WEIGHTS) for line in hub.lines())  # named by their SHA-256


def test_pinned_cards_load_and_pinning_again_changes_nothing(cards_file, hub, capsys):
    registry, path = cards_file((card("one") + card("two")).replace('"mini-ar-2"', "mini-ar-2"))
    with use(registry):
        assert pin.main(["--write", "--open"]) == 0
        text = path.read_text()
        assert zoo.info("mini-ar-2.one").tag.status == "pinned"
        assert zoo.list_models("mini-ar*", pretrained=True) == ["mini-ar-2.one", "mini-ar-2.two"]
        capsys.readouterr()
        assert pin.main([]) == 0 and capsys.readouterr().out == ""
        hub.add("them/one", {"config.json": b"{}"})
        zoo.load("mini-ar-2.one")
        assert path.read_text() == text


def test_a_pull_requests_safetensors_are_named_by_their_commit(cards_file, hub):
    files = hub.repos["them/one"].at("main")[1]
    hub.add("them/one", {"config.json": b"{}", "pytorch_model.bin": b"boom"})
    commit = hub.repos["them/one"].commit(files, "refs/pr/1")
    text = card("one", more='revision = "refs/pr/1"').replace('"mini-ar-2"', "mini-ar-2")
    registry, path = cards_file(text)
    hub.repos["them/one"].refs["refs/pr/1"] = commit
    with use(registry):
        assert pin.main(["--write"]) == 0
        assert tomllib.loads(path.read_text())["mini-ar-2"]["one"]["revision"] == commit
        zoo.load("mini-ar-2.one")


def test_an_address_is_read_once_and_hashed(cards_file, hub):
    url = f"{hub.url}/them/one/resolve/main/{WEIGHTS}"
    text = card("one").replace('repo = "them/one"\n', "").replace('"mini-ar-2"', "mini-ar-2")
    text += f'files = [{{ path = "w.safetensors", urls = ["{url}"] }}]\n'
    registry, path = cards_file(text)
    data = hub.repos["them/one"].at("main")[1][WEIGHTS]
    with use(registry):
        assert pin.main(["--write"]) == 0
        (stated,) = tomllib.loads(path.read_text())["mini-ar-2"]["one"]["files"]
        digest = hashlib.sha256(data).hexdigest()
        assert stated == {
            "path": "w.safetensors",
            "size": len(data),
            "sha256": digest,
            "urls": [url],
        }
        assert zoo.load("mini-ar-2.one").origin == url


def test_a_card_that_cannot_be_pinned_is_named_and_the_others_are(cards_file, hub, capsys):
    text = (card("gone") + card("two")).replace('"mini-ar-2"', "mini-ar-2")
    registry, path = cards_file(text)
    with use(registry):
        assert pin.main(["--write"]) == 1
        assert "mini-ar-2.gone: hf://them/gone does not exist" in capsys.readouterr().err
        assert zoo.info("mini-ar-2.two").tag.status == "pinned"
        with pytest.raises(zoo.ZooError, match="no card is called mini-ar-2.three"):
            pin.main(["mini-ar-2.three"])
