"""Registered names of public repositories, whose files nobody has seen: status `unpinned`.

The plugin is one of a family that loads other people's repositories: diffusers' root layout with
and without safetensors, beside code and pickles that are never asked for.
"""

import json
import time

import pytest
import torch
from netlike import CONFIG, NET, others
from safetensors.torch import save as to_safetensors

import zoo_core as zoo
from zoo_core.catalog.registry import use
from zoo_core.errors import IntegrityError, NetworkError, UsageError

WEIGHTS = "diffusion_pytorch_model.safetensors"
PLUGIN = """
from zoo_core.plugin import ConverterSpec, ModelSpec, hookimpl
from zoo_core.catalog.specs import Pretrained
ZOO_API = 1

@hookimpl
def zoo_models():
    return [ModelSpec(
        "mini_ar", "miniature", "explicit/tractable", "zoo_mini.autoregressive:MiniAR",
        "zoo_mini.autoregressive:Config", capabilities=("Density", "Conditionals"),
        default_likelihood="exact", default_sampler="sequential", paper="https://example.org/p",
        pretrained=(
            Pretrained("cifar10", "them/net-cifar10", "Apache-2.0", "https://example.org/them",
                       size=143_000_000, converter="netlike", metrics=(("fid", 3.17),)),
            Pretrained("faces", "them/net-faces", "MIT", "https://example.org/them",
                       converter="netlike"),
        ),
    )]

@hookimpl
def zoo_converters():
    return [ConverterSpec("netlike", "{module}_net:NetLike", "mini_ar", "net.0, net.1 of others")]
"""


@pytest.fixture
def public(hub, install, registry_of):
    """A Hub with a repository in safetensors and one of pickles alone; returns what is in them."""
    with use(registry_of(install(PLUGIN, net=NET))):
        model = zoo.create("mini_ar", side=2, hidden=8)
        tensors = others(model)
        torch.save(tensors, pickled := install.site / "w.bin")
        common = {"config.json": CONFIG.encode(), "model_index.json": b"{}", "net.py": b"boom"}
        common |= {"scheduler_config.json": b"{}", "diffusion_pytorch_model.bin": b"boom"}
        hub.add("them/net-cifar10", common | {WEIGHTS: to_safetensors(tensors)})
        hub.add("them/net-faces", common | {"diffusion_pytorch_model.bin": pickled.read_bytes()})
        yield model


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_listing_registered_names_makes_no_request(public, hub, zoo_command):
    code, out, _ = zoo_command("list", "--pretrained", "--license", "apache*", "--json")
    (row,) = json.loads(out)
    assert code == 0 and hub.asked == []
    assert (row["name"], row["status"], row["license"]) == (
        "mini_ar.cifar10",
        "unpinned",
        "Apache-2.0",
    )
    assert (row["source"], row["size"]) == ("https://example.org/them", 143_000_000)
    shown = zoo_command("list", "--pretrained", "--long")[1]
    assert "143.0 MB" in shown and "fid 3.17" in shown
    told = zoo_command("info", "mini_ar.cifar10")[1]
    for fact in ("unpinned", "them/net-cifar10", "Apache-2.0", "https://example.org/p", "fid"):
        assert fact in told
    assert hub.asked == []


def test_a_registered_name_loads_and_says_which_commit_it_was(public, hub):
    model = zoo.load("mini_ar.cifar10")
    commit = hub.repos["them/net-cifar10"].refs["main"]
    assert same(model, public) and model.origin == f"hf://them/net-cifar10@{commit}"
    assert not any(line.endswith((".py", ".bin")) for line in hub.lines())
    hub.asked.clear()
    assert same(zoo.load("mini_ar.cifar10", offline=True), public) and hub.asked == []


def test_a_pull_prints_what_it_resolved_to_and_a_pin_keeps_it(public, hub, zoo_command):
    code, out, _ = zoo_command("pull", "mini_ar.cifar10", "--pin", "--json")
    found, commit = json.loads(out), hub.repos["them/net-cifar10"].refs["main"]
    assert code == 0 and found["commit"] == commit
    wanted = {"config.json", "model_index.json", "scheduler_config.json", WEIGHTS}
    assert set(found["sha256"]) == wanted
    assert all(len(digest) == 64 for digest in found["sha256"].values())
    assert zoo.info("mini_ar.cifar10").tag.status == "pinned"
    hub.add("them/net-cifar10", {"config.json": b"{}"})
    hub.asked.clear()
    assert same(zoo.load("mini_ar.cifar10"), public) and hub.asked == []


def test_a_repository_of_pickles_names_the_command_that_converts_it(
    public, hub, zoo_command, tmp_path
):
    with pytest.raises(UsageError, match=r"diffusion_pytorch_model\.bin can run code") as caught:
        zoo.load("mini_ar.faces")
    assert not any(line.endswith(".bin") for line in hub.lines())
    command = caught.value.hint.split()
    assert command[:3] == ["zoo", "convert", "hf://them/net-faces"]
    command[command.index("FOLDER")] = tmp_path / "faces"
    assert zoo_command(*command[1:])[0] == 0
    assert same(zoo.load(str(tmp_path / "faces")), public)


def test_a_pickle_that_another_client_cached_is_not_read_by_loading(public, hub, cache, capfd):
    """The snapshot's folder is shared; only what was asked for and verified counts."""
    from huggingface_hub import snapshot_download

    hub.repos["them/net-cifar10"].commit(
        hub.repos["them/net-cifar10"].at("main")[1] | {"vae/pytorch_model.bin": b"boom"}
    )
    snapshot_download("them/net-cifar10", cache_dir=cache, endpoint=hub.url)
    assert same(zoo.load("mini_ar.cifar10"), public)


def test_a_repository_that_has_become_something_else_is_refused(public, hub):
    files = hub.repos["them/net-cifar10"].at("main")[1]
    hub.add("them/net-cifar10", files | {"config.json": b'{"size": 3, "width": 8}'})
    with pytest.raises(IntegrityError, match="does not fit the model"):
        zoo.load("mini_ar.cifar10")
    hub.add("them/net-cifar10", files | {WEIGHTS: to_safetensors({"head": torch.ones(1)})})
    with pytest.raises(IntegrityError, match="do not map onto the architecture: head"):
        zoo.load("mini_ar.cifar10")


def test_without_a_connection_a_registered_name_fails_soon_and_says_what_to_run(public, hub):
    start = time.monotonic()
    with pytest.raises(NetworkError) as caught:
        zoo.load("mini_ar.cifar10", offline=True)
    assert time.monotonic() - start < 1 and hub.asked == []
    assert caught.value.hint == "with a connection: zoo pull mini_ar.cifar10"
