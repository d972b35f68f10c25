"""Checkpoints of others: pickles without their code, foreign layouts and names, strictly."""

import json
import pickle
import zipfile

import pytest
import torch
from foreign_pickles import Evil
from netlike import CONFIG, NET, others
from safetensors.torch import load_file, save_file

import zoo_core as zoo
from zoo_core import building
from zoo_core.catalog.layout import third_party_files as foreign_files
from zoo_core.catalog.registry import use
from zoo_core.errors import ConfigError, IntegrityError, UnknownNameError, UsageError
from zoo_core.weights import third_party, unpickle
from zoo_core.weights.checkpoint import METADATA, WEIGHTS, read_metadata

PLUGIN = """
from zoo_core.plugin import ConverterSpec, ModelSpec, hookimpl
from zoo_core.catalog.specs import Pretrained
ZOO_API = 1

@hookimpl
def zoo_models():
    return [ModelSpec(
        "mini_ar", "miniature", "explicit/tractable", "zoo_mini.autoregressive:MiniAR",
        "zoo_mini.autoregressive:Config", capabilities=("Density", "Conditionals"),
        default_likelihood="exact",
        pretrained=(Pretrained("far", "me/net", "MIT", "them", converter="netlike"),),
    )]

@hookimpl
def zoo_converters():
    return [ConverterSpec("netlike", "{module}_net:NetLike", "mini_ar", "net.0, net.1 of others")]
"""


@pytest.fixture
def converter(install, registry_of):
    """A plugin whose converter `netlike` reads what `others` writes is in force."""
    with use(registry_of(install(PLUGIN, net=NET))) as registry:
        yield registry


@pytest.fixture
def model(converter):
    return zoo.create("mini_ar", side=2, hidden=8)


def root_layout(folder, tensors):
    folder.mkdir()
    (folder / "config.json").write_text(CONFIG)
    (folder / "model_index.json").write_text("{}")
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")


def folder_layout(folder, tensors):
    root_layout(folder, {"x": torch.ones(1)})
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet").mkdir()
    (folder / "unet" / "config.json").write_text(CONFIG)
    save_file(tensors, folder / "unet" / "diffusion_pytorch_model.safetensors")


def sharded_layout(folder, tensors):
    root_layout(folder, tensors)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    shards = {}
    for i, (name, value) in enumerate(tensors.items(), 1):
        shards[name] = f"diffusion_pytorch_model-{i:05}-of-{len(tensors):05}.safetensors"
        save_file({name: value}, folder / shards[name])
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))


LAYOUTS = [root_layout, folder_layout, sharded_layout]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_foreign_layout_becomes_the_same_model(model, tmp_path, zoo_command, layout):
    layout(tmp_path / "src", others(model))
    argv = ["convert", tmp_path / "src", tmp_path / "out", "--converter", "netlike"]
    code, _, err = zoo_command(*argv, "--license", "MIT")
    assert code == 0, err
    loaded = zoo.load(str(tmp_path / "out"))
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in loaded.state_dict().items())
    metadata = read_metadata(tmp_path / "out")
    assert (metadata["license"], metadata["converter"]) == ("MIT", "netlike")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_registered_tag_loads_a_foreign_repository(hub, model, tmp_path, layout):
    layout(tmp_path / "src", others(model))
    paths = [p for p in (tmp_path / "src").rglob("*") if p.is_file()]
    files = {p.relative_to(tmp_path / "src").as_posix(): p.read_bytes() for p in paths}
    commit = hub.add("me/net", files | {"modeling.py": b"boom", "pytorch_model.bin": b"boom"})
    loaded = zoo.load("mini_ar.far")
    assert loaded.origin == f"hf://me/net@{commit}"
    assert torch.equal(loaded.first.weight, model.first.weight)
    assert not any(line.endswith((".py", ".bin")) for line in hub.lines())
    hub.asked.clear()
    zoo.load("mini_ar.far", offline=True)
    assert hub.asked == []


@pytest.mark.slow
def test_a_foreign_repository_of_pickles_is_converted_only_when_asked(
    hub, model, tmp_path, zoo_command
):
    torch.save(others(model), tmp_path / "w.bin")
    data = (tmp_path / "w.bin").read_bytes()
    hub.add("me/net", {"config.json": CONFIG.encode(), "pytorch_model.bin": data})
    with pytest.raises(UsageError, match=r"pytorch_model.bin can run code") as caught:
        zoo.load("mini_ar.far")
    assert "zoo convert" in caught.value.hint
    argv = ["convert", "hf://me/net", tmp_path / "out", "--converter", "netlike"]
    code, _, err = zoo_command(*argv)
    assert code == 0, err
    loaded = zoo.load(str(tmp_path / "out"))
    assert torch.equal(loaded.first.weight, model.first.weight)
    assert loaded.origin.startswith("hf://me/net@")


def test_names_that_do_not_map_are_listed(model, tmp_path, zoo_command):
    root_layout(tmp_path / "src", others(model) | {"head.weight": torch.ones(1)})
    argv = ["convert", tmp_path / "src", tmp_path / "out", "--converter", "netlike"]
    code, _, err = zoo_command(*argv)
    assert code == 6 and "1 tensors do not map onto the architecture: head.weight" in err
    assert not (tmp_path / "out").exists()


def test_tensors_that_are_missing_or_of_another_shape_are_listed(model, tmp_path):
    tensors = others(model)
    del tensors["net.0.bias"]
    read = third_party.Foreign({}, {"": tensors})
    with pytest.raises(IntegrityError, match=r"missing: first\.bias"):
        building.convert(read, "netlike", {})
    with pytest.raises(IntegrityError, match="does not fit the model"):
        building.convert(third_party.Foreign({}, {"": others(model)}), "netlike", {"hidden": 9})


def test_converters_and_their_options_are_checked(model):
    read = third_party.Foreign({}, {"": others(model)})
    with pytest.raises(UnknownNameError, match="netlike"):
        building.convert(read, "netlke", {})
    with pytest.raises(ConfigError, match=r"netlike\.hiden"):
        building.convert(read, "netlike", {"hiden": 8})


def test_two_names_onto_one_are_refused():
    with pytest.raises(IntegrityError, match="onto a name that another has taken: a2"):
        third_party.renamed({"a1": torch.ones(1), "a2": torch.ones(1)}, {"a.": "b"})


def test_a_pickle_becomes_safetensors_in_a_child(tmp_path, zoo_command):
    tensors = {"w": torch.randn(3, 2), "n": {"b": torch.arange(3)}}
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "w.ckpt")
    code, _, err = zoo_command("convert", tmp_path / "w.ckpt", tmp_path / "w.safetensors")
    assert code == 0, err
    found = load_file(tmp_path / "w.safetensors")
    assert sorted(found) == ["state_dict.n.b", "state_dict.w"]
    assert torch.equal(found["state_dict.w"], tensors["w"])
    code, _, err = zoo_command("convert", tmp_path / "w.ckpt", tmp_path / "w.bin")
    assert code == 7 and "is no .safetensors file" in err


def evil_raw(path, marker):
    path.write_bytes(pickle.dumps({"w": Evil(marker)}))


def evil_zip(path, marker):
    torch.save({"w": Evil(marker)}, path)


@pytest.mark.parametrize("make", [evil_raw, evil_zip])
def test_a_pickle_with_code_is_refused_and_runs_nothing(tmp_path, monkeypatch, make):
    """What the child does, without the child: the same reader refuses."""
    monkeypatch.setattr(unpickle, "_limit", lambda _: None)
    make(tmp_path / "evil.bin", tmp_path / "marker")
    with pytest.raises(pickle.UnpicklingError):
        unpickle._child(str(tmp_path / "evil.bin"), str(tmp_path / "out"), 1 << 30)
    assert not (tmp_path / "marker").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [evil_raw, evil_zip])
def test_why_a_pickle_is_refused_is_told_without_advice_to_load_it(tmp_path, make):
    """Torch's own message says how to load it in spite of what it found."""
    make(tmp_path / "evil.bin", tmp_path / "marker")
    with pytest.raises(Exception, match="weights_only") as caught:
        torch.load(tmp_path / "evil.bin", weights_only=True)
    assert unpickle._why(caught.value) in (
        "it asks for posix.mkdir, and may run code when it is loaded",
        "it is no pickle that torch.save writes",  # of a newer protocol
    )


def test_errors_of_torch_are_told_in_our_own_words():
    asks = "Unsupported global: GLOBAL os.system\x1b[31m was not an allowed global by default"
    why = unpickle._why(pickle.UnpicklingError(asks))
    assert why == "it asks for os.system, and may run code when it is loaded"
    for error in (EOFError(), KeyError(101), RuntimeError("set weights_only=False \x1b[31m")):
        why = f"it is damaged or no checkpoint ({type(error).__name__})"
        assert unpickle._why(error) == why


def converted(tmp_path, zoo_command, held):
    torch.save(held, tmp_path / "w.bin")
    return zoo_command("convert", tmp_path / "w.bin", tmp_path / "w.safetensors")


def test_what_is_no_tensor_is_left_out_by_name(tmp_path, zoo_command):
    held = {"w": torch.ones(1), "epoch": 3, "hyper\x1b[31m": {"lr": [0.1, None], "none": {}}}
    code, _, err = converted(tmp_path, zoo_command, held)
    assert code == 0
    names = r"epoch, hyper\x1b[31m.lr.0, hyper\x1b[31m.lr.1"
    assert err == f"w.bin: 3 entries that are no tensors were left out: {names}\n"


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)}, "same dotted name: a.b"),
        ({1: torch.ones(1), "1": torch.ones(1)}, "same dotted name: 1"),
        ({"": torch.ones(1), "tensor": torch.ones(1)}, "same dotted name: tensor"),
        ({"w": torch.eye(2).to_sparse()}, "w is sparse"),
        ({"w": torch.ones(2, dtype=torch.complex128)}, "complex128"),
        ({"__metadata__": torch.ones(1)}, "__metadata__"),
    ],
)
def test_what_safetensors_cannot_hold_is_refused_by_name(tmp_path, monkeypatch, held, words):
    monkeypatch.setattr(unpickle, "_limit", lambda _: None)
    torch.save(held, tmp_path / "w.bin")
    with pytest.raises(unpickle._Unfit, match=words):
        unpickle._child(str(tmp_path / "w.bin"), str(tmp_path / "out"), 1 << 30)
    assert not (tmp_path / "out").exists()


def test_a_clash_of_names_ends_the_conversion(tmp_path, zoo_command):
    held = {"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)}
    code, _, err = converted(tmp_path, zoo_command, held)
    assert code == 6 and "a.b" in err and not (tmp_path / "w.safetensors").exists()


def test_an_index_whose_shards_lack_a_tensor_is_refused(model, tmp_path, zoo_command):
    sharded_layout(tmp_path / "src", others(model))
    index = tmp_path / "src" / "diffusion_pytorch_model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": names | {"gone": next(iter(names.values()))}}))
    code, _, err = zoo_command("convert", tmp_path / "src", tmp_path / "w.safetensors")
    assert code == 6 and "its shards lack: gone" in err


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["w.bin", "nowhere/w.safetensors"], 7, "nowhere does not exist"),
        (["w.bin", "w.safetensors", "--license", "mit"], 2, "--license is for a model's folder"),
        (["w.bin", "w.safetensors", "--set", "a=1"], 2, "--set is for a model's folder"),
        (["w.bin", "w.safetensors", "--revision", "v1"], 2, "--revision is for a repository"),
    ],
)
def test_options_and_folders_that_go_nowhere_are_refused(
    tmp_path, monkeypatch, zoo_command, argv, code, words
):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(1)}, "w.bin")
    ended, _, err = zoo_command("convert", *argv)
    assert ended == code and words in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.bin"]


@pytest.mark.slow
def test_the_child_says_why_it_refused(tmp_path, zoo_command):
    evil_zip(tmp_path / "evil.bin", tmp_path / "marker")
    code, _, err = zoo_command("convert", tmp_path / "evil.bin", tmp_path / "out.safetensors")
    assert code == 6 and "evil.bin is not read: it asks for posix.mkdir" in err
    assert not (tmp_path / "marker").exists() and not (tmp_path / "out.safetensors").exists()


def test_what_claims_more_than_it_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickle, "_limit", lambda _: None)
    torch.save({"w": torch.zeros(1).expand(1_000_000_000)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="w claims 1,000,000,000 numbers and holds fewer"):
        unpickle._child(str(tmp_path / "w.pt"), str(tmp_path / "out"), 1 << 30)
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="holds no tensors"):
        unpickle._child(str(tmp_path / "w.pt"), str(tmp_path / "out"), 1 << 30)


def test_an_archive_that_inflates_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(64 << 20))
    with pytest.raises(IntegrityError, match="its archive inflates to 67,108,864 bytes"):
        unpickle.unpickle(tmp_path / "w.pt", tmp_path / "out")


@pytest.mark.slow
def test_the_child_has_so_much_memory_and_time(tmp_path):
    torch.save({"w": torch.zeros(64 << 20)}, tmp_path / "w.pt")
    with pytest.raises(IntegrityError, match="is not read"):
        unpickle.unpickle(tmp_path / "w.pt", tmp_path / "out", memory=64 << 20)
    with pytest.raises(IntegrityError, match="took more than 0.05 s"):
        unpickle.unpickle(tmp_path / "w.pt", tmp_path / "out", seconds=0.05)
    assert not (tmp_path / "out").exists()


def test_what_is_read_of_a_repository():
    names = ["model_index.json", "scheduler/scheduler_config.json", "README.md", "modeling.py"]
    names += [f"unet/diffusion_pytorch_model{end}" for end in (".safetensors", ".bin")]
    names += [
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "a/b/config.json",
    ]
    assert foreign_files(names) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    with pytest.raises(UsageError, match="no weights as safetensors"):
        foreign_files(["README.md"])


def test_configs_that_are_none_are_refused(model, tmp_path):
    root_layout(tmp_path / "src", others(model))
    (tmp_path / "src" / "config.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"config.json cannot be read as JSON"):
        third_party.read(tmp_path / "src")
    (tmp_path / "src" / "config.json").write_text(" " * (1 << 21))
    with pytest.raises(IntegrityError, match="larger than 1,048,576 bytes"):
        third_party.read(tmp_path / "src")
    assert (METADATA, WEIGHTS) == ("zoo.json", "model.safetensors")
