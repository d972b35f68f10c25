"""Only listed files are read: of a commit what it lists and was verified, else what zoo.json says.

Everything else that lies in a folder, put there by whomever, is as good as absent.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load, save

import zoo_core as zoo
from zoo_core.catalog.layout import INDEX
from zoo_core.catalog.tags import Tag
from zoo_core.errors import DataError, IntegrityError, UsageError
from zoo_core.evaluation import evaluate
from zoo_core.weights import checkpoint, golden, third_party
from zoo_core.weights.checkpoint import GOLDEN, METADATA, WEIGHTS
from zoo_core.weights.hub.cache import Store
from zoo_core.weights.tensors import weight_files
from zoo_core.workflows.verification import read_record, write_record

MODEL = "hf://me/mini"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def sharded(files, *, hashes=False):
    """The model in two shards; `files` of its zoo.json are theirs, or empty."""
    tensors = load(files[WEIGHTS])
    names = sorted(tensors)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    made = {s: save({n: tensors[n] for n in half}) for s, half in zip(SHARDS, halves, strict=True)}
    where = {n: s for s, half in zip(SHARDS, halves, strict=True) for n in half}
    made[INDEX] = json.dumps({"weight_map": where}).encode()
    return made | {METADATA: listing(files[METADATA], made if hashes else {})}


def listing(metadata, files):
    """A zoo.json whose `files` are these."""
    from hashlib import sha256

    kept = {n: {"sha256": sha256(b).hexdigest(), "size": len(b)} for n, b in files.items()}
    return json.dumps(json.loads(metadata) | {"files": kept}).encode()


def evil(files):
    """Weights of the same shapes that are other ones."""
    return save({name: value + 1 for name, value in load(files[WEIGHTS]).items()})


def same(model, files):
    state = model.state_dict()
    return all(torch.equal(state[k], v) for k, v in load(files[WEIGHTS]).items())


@pytest.fixture(params=["online", "a pinned commit", "offline", "offline, by another client"])
def again(request, hub, cache):
    """Fetch the model, let somebody add to its folder, and load it once more."""

    def act(commit, add):
        if "another" in request.param:
            from huggingface_hub import snapshot_download

            snapshot_download("me/mini", cache_dir=cache, endpoint=hub.url)
        else:
            zoo.load(MODEL)
        add(Store(cache, "me/mini").snapshot(commit))
        name = f"{MODEL}@{commit}" if "pinned" in request.param else MODEL
        return zoo.load(name, offline="offline" in request.param)

    return act


@pytest.mark.parametrize("hashes", [False, True])
def test_an_unlisted_file_in_a_sharded_commit_is_not_read(hub, minis, files, again, hashes):
    commit = hub.add("me/mini", sharded(files, hashes=hashes))
    model = again(commit, lambda folder: (folder / WEIGHTS).write_bytes(evil(files)))
    assert same(model, files) and model.origin == f"{MODEL}@{commit}"


def test_an_unlisted_index_in_a_commit_of_one_file_is_not_read(hub, minis, files, again):
    commit = hub.add("me/mini", files | {METADATA: listing(files[METADATA], {})})

    def add(folder):
        for name, data in sharded({**files, WEIGHTS: evil(files)}).items():
            if name != METADATA:
                (folder / name).write_bytes(data)

    assert same(again(commit, add), files)


def test_a_shard_that_the_commit_does_not_list_is_not_read(hub, minis, files, again):
    made = sharded(files)
    last = made.pop(SHARDS[1])
    commit = hub.add("me/mini", made)
    with pytest.raises(IntegrityError, match=rf"{SHARDS[1]} is (missing|in no list)"):
        again(commit, lambda folder: (folder / SHARDS[1]).write_bytes(last))


def test_a_link_to_an_unlisted_file_is_not_followed(hub, minis, files, again, tmp_path):
    (tmp_path / "evil").write_bytes(evil(files))
    commit = hub.add("me/mini", sharded(files))
    model = again(commit, lambda folder: (folder / WEIGHTS).symlink_to(tmp_path / "evil"))
    assert same(model, files)


@pytest.fixture(scope="module")
def parted(files, tmp_path_factory):
    """The files of a model with a part, by path; the part's weights are sharded."""
    from importlib.metadata import EntryPoint

    from zoo_core.catalog.plugins import Plugins
    from zoo_core.catalog.registry import Registry, use

    mini = EntryPoint("mini", "zoo_mini.plugin", "density_zoo")
    with use(Registry(Plugins([mini], disabled=()))):
        folder = zoo.create("mini_stack").save(tmp_path_factory.mktemp("m") / "m")
    made = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    whole = {name: path.read_bytes() for name, path in made.items()}
    base = {n.removeprefix("base/"): whole.pop(n) for n in list(whole) if n.startswith("base/")}
    shards = {f"base/{name}": data for name, data in sharded(base).items()}
    return whole | shards, base


def test_an_unlisted_file_in_the_folder_of_a_part_is_not_read(hub, minis, parted, again):
    files, base = parted
    commit = hub.add("me/mini", files)
    model = again(commit, lambda folder: (folder / "base" / WEIGHTS).write_bytes(evil(base)))
    assert same(model.base, base)


def test_a_part_that_the_commit_does_not_list_is_not_read(hub, minis, parted, again):
    files, base = parted
    commit = hub.add("me/mini", {n: b for n, b in files.items() if not n.startswith("base/")})

    def add(folder):
        (folder / "base").mkdir()
        for name, data in base.items():
            (folder / "base" / name).write_bytes(data)

    with pytest.raises(IntegrityError, match=r"base/zoo.json is in no list"):
        again(commit, add)


def test_the_hash_of_weights_names_those_of_parts(minis, tmp_path):
    model = zoo.create("mini_stack")
    one = checkpoint.weights_hash(model.save(tmp_path / "a"))
    with torch.no_grad():
        next(iter(model.base.parameters())).add_(1)
    two = checkpoint.weights_hash(model.save(tmp_path / "b"))
    assert len({one, two, None}) == 3
    metadata = json.loads((tmp_path / "a" / METADATA).read_text())
    record = {"likelihood": None, "quality": None, "model": {"weights": one}}
    for place, known in (("a", False), ("b", None)):
        kept = {"folder": tmp_path / place, "metadata": metadata, "evaluation": record}
        assert Tag("mini_stack", "x", "bundled", "l", "s", **kept).proven is known


def test_an_evaluation_of_weights_without_a_hash_is_of_none(minis, tmp_path):
    folder = zoo.create("mini_ar").save(tmp_path / "m")
    metadata = json.loads((folder / METADATA).read_text()) | {"files": {}}
    (folder / METADATA).write_text(json.dumps(metadata))
    record = {"schema": evaluate.SCHEMA, "model": {"weights": checkpoint.weights_hash(folder)}}
    assert record["model"]["weights"] is None
    with pytest.raises(DataError, match="no hash of the weights"):
        write_record(folder, record)
    (folder / "evaluation.json").write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match="is not of the weights beside it"):
        read_record(folder)


def test_a_converter_reads_no_unlisted_file_of_a_folder(tmp_path):
    """Of diffusers' layout; in each folder an index stood aside for one file."""
    name = "diffusion_pytorch_model.safetensors"
    shard = "diffusion_pytorch_model-00001-of-00001.safetensors"
    folder = tmp_path / "unet"
    folder.mkdir()
    (folder / shard).write_bytes(save({"a": torch.ones(2)}))
    (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    verified = [f"unet/{shard}", f"unet/{name}.index.json"]
    (folder / name).write_bytes(save({"a": torch.zeros(2)}))
    found = third_party.read(tmp_path, files=verified).tensors["unet"]
    assert torch.equal(found["a"], torch.ones(2))
    with pytest.raises(IntegrityError, match=f"{shard} is in no list"):
        third_party.read(tmp_path, files=verified[1:])


# Folders on this machine


@pytest.fixture
def folder(minis, files, tmp_path):
    place = tmp_path / "m"
    place.mkdir()
    for name, data in sharded(files, hashes=True).items():
        (place / name).write_bytes(data)
    return place


def test_what_zoo_json_lists_is_what_counts_in_a_local_folder(folder, files):
    (folder / WEIGHTS).write_bytes(evil(files))
    assert same(zoo.load(str(folder)), files)
    metadata = json.loads((folder / METADATA).read_text())
    del metadata["files"][SHARDS[0]]
    (folder / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(IntegrityError, match=rf"{SHARDS[0]} is in no list"):
        zoo.load(str(folder))


def test_a_changed_index_is_refused(folder):
    path = folder / INDEX
    path.write_text(path.read_text() + " ")
    with pytest.raises(IntegrityError, match=f"{INDEX} is damaged"):
        zoo.load(str(folder))


@pytest.mark.parametrize("entry", [{}, {"sha256": None}, {"sha256": "0" * 63}, {"size": 3}, 3])
def test_an_entry_without_a_hash_is_refused(folder, entry):
    metadata = json.loads((folder / METADATA).read_text())
    metadata["files"][INDEX] = entry
    (folder / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(IntegrityError, match="`files`"):
        zoo.load(str(folder))


def test_golden_tensors_are_those_that_zoo_json_lists(minis, tmp_path):
    model = zoo.create("mini_ar", side=2, hidden=8)
    folder = model.save(tmp_path / "m", golden=golden.record(model))
    data = (folder / GOLDEN).read_bytes()
    (folder / GOLDEN).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # within the tolerance
    with pytest.raises(IntegrityError, match=f"{GOLDEN} is damaged"):
        golden.check(model, folder)
    plain = model.save(tmp_path / "plain")
    shutil.copy(folder / GOLDEN, plain / GOLDEN)
    with pytest.raises(IntegrityError, match=f"{GOLDEN} is in no list"):
        golden.check(model, plain)
    (folder / GOLDEN).unlink()
    with pytest.raises(IntegrityError, match=f"{GOLDEN} cannot be read"):
        zoo.push(folder, "me/new", dry_run=True)


def test_what_is_pushed_is_what_was_loaded(folder, files):
    (folder / WEIGHTS).write_bytes(evil(files))
    sent = zoo.push(folder, "me/new", dry_run=True).files
    assert set(sent) == {METADATA, INDEX, *SHARDS, "README.md", "samples.png"}


def test_the_hash_of_weights_names_every_shard(folder, files):
    one = checkpoint.weights_hash(folder)
    assert one is not None and len(one) == 64
    metadata = json.loads((folder / METADATA).read_text())
    metadata["files"][SHARDS[1]]["sha256"] = "0" * 64
    (folder / METADATA).write_text(json.dumps(metadata))
    assert checkpoint.weights_hash(folder) != one


def test_weight_files_reads_nothing_that_is_not_among_them(tmp_path):
    (tmp_path / WEIGHTS).write_bytes(b"")
    with pytest.raises(IntegrityError, match="in no list"):
        weight_files(tmp_path, set())


# What was measured


def test_an_evaluation_is_neither_read_from_a_commits_folder_nor_put_there(
    hub, commit, cache, zoo_command
):
    zoo.load(MODEL)
    code, _, err = zoo_command("evaluate", MODEL, "--record")
    assert code == UsageError.exit_code and "--out" in err
