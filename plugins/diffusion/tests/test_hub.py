"""Checkpoints of diffusers by name, over the Hub's protocol, from a Hub on this machine."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save

import zoo_core as zoo
from zoo_core.cli import main
from zoo_core.errors import UsageError, ZooError

HUB = Path(__file__).parents[3] / "tests/weights/hub"
CONFIG = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 8],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
SCHEDULER = {"_class_name": "DDPMScheduler", "num_train_timesteps": 30, "beta_end": 0.2}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    if not HUB.exists():
        pytest.skip("the Hub on this machine is in the repository's tests alone")
    monkeypatch.syspath_prepend(str(HUB))
    from fake_hub import Hub

    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.close()
    sys.modules.pop("fake_hub", None)


def network():
    torch.manual_seed(0)
    options = {"channels": (8, 8), "down": ("plain", "attention"), "layers": 1, "groups": 4}
    more = {"type": "unet", "eps": 1e-5, "head": 8, "time_flip": True, "time_shift": 0.0}
    return zoo.create("ddpm", shape=(1, 8, 8), levels=256, network=options | more).network


def pipeline(theirs, folder):
    """The files of a pipeline by path."""
    scheduler = "scheduler/scheduler_config.json" if folder else "scheduler_config.json"
    state = {name: t.contiguous() for name, t in theirs.state_dict().items()}
    return {
        f"{folder}config.json": json.dumps(CONFIG).encode(),
        f"{folder}diffusion_pytorch_model.safetensors": save(state),
        scheduler: json.dumps(SCHEDULER).encode(),
        "model_index.json": json.dumps({"_class_name": "DDPMPipeline"}).encode(),
    }


def written(place, files):
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return str(place)


@pytest.mark.parametrize("folder", ["", "unet/"])
def test_pipeline_loads_by_its_path_in_both_layouts(tmp_path, folder):
    theirs = network()
    model = zoo.load(written(tmp_path, pipeline(theirs, folder)))
    assert model.spec.arch == "ddpm" and model.config.timesteps == 30
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 20.0])
    with torch.no_grad():
        assert torch.equal(model.network(x, t), theirs.eval()(x, t))


@pytest.mark.parametrize(
    ("change", "text", "hint"),
    [
        ({"scheduler_config.json": None}, "UNet2DModel, for which there is no", "diffusers_ddpm"),
        (
            {"scheduler_config.json": b'{"_class_name": "LCMScheduler"}'},
            "LCMScheduler",
            "nothing installed reads LCMScheduler",
        ),
        ({"config.json": b'{"_class_name": "Other"}'}, "Other", "nothing installed reads Other"),
        (
            {"other/scheduler_config.json": b'{"_class_name": "ScoreSdeVeScheduler"}'},
            "more than one",
            "convert",
        ),
        (
            {"diffusion_pytorch_model.safetensors": None, "diffusion_pytorch_model.bin": b"code"},
            "no weights as safetensors",
            "--converter diffusers_ddpm",
        ),
    ],
)
def test_folder_that_does_not_say_what_it_is_is_refused(tmp_path, change, text, hint):
    files = {k: v for k, v in (pipeline(network(), "") | change).items() if v is not None}
    with pytest.raises(UsageError, match=text) as caught:
        zoo.load(written(tmp_path, files))
    assert hint in caught.value.hint


def pickled(theirs):
    data = io.BytesIO()
    torch.save(theirs.state_dict(), data)
    return data.getvalue()


@pytest.mark.parametrize("folder", ["", "unet/"])
@pytest.mark.parametrize(
    "change",
    [
        {"scheduler": None},
        {"scheduler": "DPMSolverMultistepScheduler"},
        {"scheduler": "EulerDiscreteScheduler"},
        {"variant": "fp16.safetensors"},
        {"variant": "bin"},
        {"second": "ScoreSdeVeScheduler"},
        {"norm_num_groups": 3},
    ],
    ids=str,
)
def test_a_hint_names_no_command_that_fails(tmp_path, folder, change):
    """Whatever the hint says is done and works; or it names no command, and none would work."""
    place, out = tmp_path / "theirs", tmp_path / "out"
    weights = f"{folder}diffusion_pytorch_model.safetensors"
    written(place, changed(pipeline(network(), folder), folder, weights, change))
    with pytest.raises(ZooError) as caught:
        zoo.load(str(place))
    hint = caught.value.hint
    if "zoo convert" in hint:
        command = hint.partition(" (")[0].split()[1:]
        command[command.index("OUT")] = str(out)
        assert main(command) == 0
        arch = "consistency" if change.get("scheduler", "") is None else "ddpm"
        assert zoo.load(str(out)).spec.arch == arch
    elif "copy it to" in hint:
        shutil.copy(place / weights.replace("safetensors", change["variant"]), place / weights)
        assert zoo.load(str(place)).spec.arch == "ddpm"
    else:
        assert "nothing installed reads" in hint or "a divisor" in hint
        assert main(["convert", str(place), str(out), "--converter", "diffusers_ddpm"]) != 0


def changed(files, folder, weights, change):
    """A pipeline's files with another scheduler, a second one, other weights or another key."""
    scheduler = next(name for name in files if name.endswith("scheduler_config.json"))
    if "scheduler" in change:
        files[scheduler] = json.dumps({"_class_name": change["scheduler"]}).encode()
    if change.get("scheduler", "") is None:
        del files[scheduler]
    if "second" in change:
        files["other/scheduler_config.json"] = json.dumps(
            {"_class_name": change["second"]}
        ).encode()
    if "variant" in change:
        data = files.pop(weights)
        data = pickled(network()) if change["variant"] == "bin" else data
        files[weights.replace("safetensors", change["variant"])] = data
    config = CONFIG | {k: v for k, v in change.items() if k in CONFIG}
    return files | {f"{folder}config.json": json.dumps(config).encode()}


@pytest.mark.parametrize("folder", ["", "unet/"])
def test_checkpoint_loads_by_name_in_both_layouts(hub, folder):
    theirs = network()
    hub.add("1aurent/ddpm-mnist", pipeline(theirs, folder))
    model = zoo.load("ddpm.mnist")
    assert model.config.timesteps == 30 and model.config.beta_last == 0.2
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 20.0])
    with torch.no_grad():
        assert torch.equal(model.network(x, t), theirs.eval()(x, t))
    assert model.sample(2, sampler="ddim", steps=3).shape == (2, 1, 8, 8)


def test_command_samples_a_checkpoint_of_others_by_path_and_shows_its_steps(tmp_path):
    theirs = written(tmp_path / "theirs", pipeline(network(), "unet/"))
    out, steps = tmp_path / "samples.npz", tmp_path / "steps.png"
    command = ["-m", "zoo_core", "--json", "sample", theirs, "-n", "2", "--out", str(out)]
    command += ["--set", "steps=3", "--trace", str(steps)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["weights"]) == 64 and out.exists()
    with Image.open(steps) as shown:
        assert shown.width > shown.height  # two rows of three steps


def test_repository_of_pickles_alone_says_how_to_convert_it(hub):
    config = json.dumps(CONFIG).encode()
    files = {"config.json": config, "diffusion_pytorch_model.bin": b"pickled"}
    hub.add("google/ddpm-celebahq-256", files)
    with pytest.raises(UsageError, match="no weights as safetensors") as caught:
        zoo.load("ddpm.celebahq256")
    assert "zoo convert hf://" in caught.value.hint
