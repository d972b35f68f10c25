"""Writes what `frozen/` lacks, with the code of now; what is there is never written again.

    .venv/bin/python tests/compat/make.py

    plugins/<name>/      sources of plugins, as their authors wrote them against this version
    models/<name>/       a tiny model of every architecture, with golden tensors
    training/            a recipe, the model it trained with a record of its evaluation, and the
                         folder of the same training half way, with its checkpoint
    bare/                a folder written by hand: no list of files, no plugin, few options
    hub/                 the Hub's cache after a pull
    user/                pins.json and plugins.toml of a user
    manifest.json        the SHA-256 of every file above

To cover something new, e.g. an architecture, add it here and run this; a copy that is frozen
stays as it is, for it stands for what users have on their disks.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import zoo_core as zoo
from zoo_core.catalog.registry import Registry, use

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "weights" / "hub")]

from frozen_plugins import EXAMPLES, FROZEN, MANIFEST, SCAFFOLD, frozen_registry  # noqa: E402

VARIANTS = {  # further ones than the tiny size of every architecture, by the name of the folder
    "made.classes": ("made", {"shape": (1, 3, 3), "levels": 3, "hidden": 8, "classes": 3}),
    "realnvp.image": ("realnvp", {"shape": (1, 4, 4), "levels": 3, "hidden": 4, "blocks": 1}),
    "ddpm.unet": (
        "ddpm",
        {
            "shape": (1, 8, 8), "levels": 17, "classes": 3, "timesteps": 20, "beta_last": 0.4,
            "network": {"type": "unet", "channels": (4, 4), "down": ("plain", "attention"),
                        "layers": 1, "groups": 2},
        },
    ),
}  # fmt: skip
RECIPE = """\
# A recipe of version 0.1; the tests train it again from its checkpoint.
arch = "nsf_coupling"
license = "CC0-1.0"
source = "made for tests/compat"
report = "test"

[data]
name = "moons"
train = 256
valid = 64
test = 64

[model]
steps = 2
bins = 4
hidden = 8
blocks = 1

[train]
steps = 20
batch_size = 32
lr = 0.01
eval_every = 10
keep_best = true
ema = 0.5
checkpoint_every = 10
log_every = 10
"""
BARE = {
    "schema": 1,
    "arch": "made",
    "config": {"shape": [1, 2, 2], "levels": 3, "hidden": 4},
}


def sources(folder: Path) -> None:
    """The example plugins, and the one that `zoo plugins new` writes."""
    from zoo_core.scaffold import new_plugin

    unwanted = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*_cache")
    for name in EXAMPLES:
        if not (folder / name).exists():
            shutil.copytree(ROOT / "examples" / name, folder / name, ignore=unwanted)
    if not (folder / SCAFFOLD).exists():
        new_plugin(SCAFFOLD.removeprefix("density-zoo-"), folder / SCAFFOLD)


def models(folder: Path, registry: Registry) -> None:
    """Every architecture at its tiny size, then the variants."""
    from zoo_core.testing.subjects import ModelSubject

    for entry in registry.models:
        subject = ModelSubject(entry.spec, entry.plugin, registry)
        keep(subject.model, folder / subject.name)
    for name, (arch, options) in VARIANTS.items():
        keep(lambda arch=arch, options=options: perturbed(arch, options), folder / name)


def perturbed(arch: str, options: dict) -> zoo.GenerativeModel:
    """A fresh model whose zeros at initialization are zeros no more."""
    torch.manual_seed(0)
    model = zoo.create(arch, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model.eval()


def keep(make: Callable[[], zoo.GenerativeModel], folder: Path) -> None:
    """Save a model with golden tensors of random events, and of random classes if it has any."""
    from zoo_core.weights import golden

    if folder.exists():
        return
    model, generator = make(), torch.Generator().manual_seed(1)
    event, condition = model.event, model.condition
    shape, cond = (4, *event.shape), None
    if event.levels is not None:
        x = torch.randint(event.levels, shape, generator=generator)
    else:
        x = torch.rand(shape, generator=generator)
    if condition.classes is not None:
        cond = torch.randint(condition.classes, (4,), generator=generator)
    tensors = golden.record(model, x, cond)
    model.save(folder, golden=tensors, license="CC0-1.0", source="made for tests/compat")


def training(folder: Path) -> None:
    """A finished training with a record of its evaluation, and its checkpoint of step 10."""
    from zoo_core.evaluation.evaluate import evaluate
    from zoo_core.weights.checkpoint import weights_hash
    from zoo_core.workflows import load_recipe, run_recipe
    from zoo_core.workflows.verification import data_of, write_record

    if folder.exists():
        return
    folder.mkdir(parents=True)
    (folder / "nsf_coupling.tiny.toml").write_text(RECIPE)
    recipe = load_recipe(folder / "nsf_coupling.tiny.toml")
    with ending_at_the_first_checkpoint():
        run_recipe(recipe, folder / "half", progress=False)
    with TemporaryDirectory() as scratch:
        shutil.copytree(run_recipe(recipe, Path(scratch), progress=False), folder / "model")
    model, data = zoo.load(str(folder / "model")), data_of(folder / "model")
    about = {"name": "nsf_coupling.tiny", "weights": weights_hash(folder / "model")}
    found = evaluate(model, data, measurements=["likelihood", "quality"], n=32, about=about)
    write_record(folder / "model", found.record)


@contextmanager
def ending_at_the_first_checkpoint() -> Iterator[None]:
    """Trainings in the block end there, as a crash would end them, and the block with them."""
    from zoo_core.training import state

    class Ended(Exception):
        pass

    save = state.save

    def once(*args: object, **options: object) -> None:
        save(*args, **options)
        raise Ended

    state.save = once
    try:
        yield
    except Ended:
        pass
    finally:
        state.save = save


def bare(folder: Path) -> None:
    """Weights with as little beside them as somebody would write who has no `save()`."""
    if folder.exists():
        return
    keep(lambda: perturbed("made", BARE["config"]), folder)
    (folder / "zoo.json").write_text(json.dumps(BARE, indent=1) + "\n")


def user_of_the_hub(hub: Path, user: Path, model: Path) -> None:
    """The cache, the pins and the configuration that the command itself writes."""
    from fake_hub import Hub

    from zoo_core.catalog import plugin_config
    from zoo_core.catalog.plugins import set_enabled
    from zoo_core.cli import main

    if hub.exists():
        return
    server = Hub()
    server.add("me/tiny", {p.name: p.read_bytes() for p in model.iterdir()})
    with TemporaryDirectory() as scratch:
        os.environ |= {
            "HF_ENDPOINT": server.url, "XDG_CONFIG_HOME": f"{scratch}/config",
            "ZOO_CACHE": f"{scratch}/cache", "HF_HOME": f"{scratch}/hf",
        }  # fmt: skip
        assert main(["--quiet", "pull", "hf://me/tiny", "--pin"]) == 0
        set_enabled("gan", False)
        plugin_config.write(installed={"density-zoo-rings": {"requirement": "density-zoo-rings"}})
        shutil.copytree(f"{scratch}/config/density-zoo", user)
        shutil.copytree(f"{scratch}/cache/hub", hub, symlinks=True)
    server.close()
    shutil.rmtree(hub / ".locks", ignore_errors=True)


def sealed(folder: Path) -> None:
    """Add to the manifest what is new; raise if what was there has changed."""
    old = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    files = [p for p in folder.rglob("*") if p.is_file() and p != MANIFEST]
    now = {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if "__pycache__" not in p.parts
    }
    changed = [name for name in old if now.get(name) != old[name]]
    if changed:
        raise SystemExit(f"frozen files have changed: {', '.join(changed)}")
    MANIFEST.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    size = sum(p.stat().st_size for p in files)
    print(f"{folder}: {len(now)} files, {size / 1e3:.0f} kB, {len(now) - len(old)} of them new")


def main() -> None:
    """All of it, with the frozen plugins in force beside the five families."""
    torch.set_num_threads(1)
    sources(FROZEN / "plugins")
    with frozen_registry() as registry, use(registry):
        models(FROZEN / "models", registry)
        training(FROZEN / "training")
        bare(FROZEN / "bare")
        user_of_the_hub(FROZEN / "hub", FROZEN / "user", FROZEN / "models" / "made")
    sealed(FROZEN)


if __name__ == "__main__":
    main()
