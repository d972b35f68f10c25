"""A model of two labels in each family: trained on a file, sampled, scored, saved and loaded."""

import numpy as np
import pytest
import torch

import zoo_core as zoo
from zoo_core.cli import main

TINY = {
    "made": {"hidden": 8},
    "maf": {"layers": 1, "hidden": 8},
    "vae": {"latent": 2, "hidden": (8,), "channels": (4,)},
    "wgan_gp": {"latent": 4, "width": 4, "dense": True},
    "ddpm": {"timesteps": 8, "network": {"type": "mlp", "hidden": 16, "layers": 1}},
}
COND = {"group": 2, "style": "twemoji"}


@pytest.fixture
def file(tmp_path):
    n = np.arange(48)
    x = (n[:, None] + np.arange(8) * (1 + n[:, None] % 3) & 1).astype(bool).reshape(48, 1, 2, 4)
    names = np.array(["noto", "twemoji"])
    np.savez(
        tmp_path / "two.npz", train=x, y_train_group=n % 3, y_train_style=n % 2, names_style=names
    )
    return tmp_path / "two.npz"


def _trained(arch, file, **options):
    data = zoo.load_dataset(str(file))
    counts = tuple((name, part.classes) for name, part in data.condition.parts)
    torch.manual_seed(0)
    model = zoo.create(arch, shape=(1, 2, 4), levels=2, classes=counts, **TINY[arch])
    config = zoo.TrainConfig(steps=3, batch_size=16, eval_every=0, lr=1e-2)
    zoo.train(model, data, config, progress=False, **options)
    return model, data


@pytest.mark.parametrize("arch", TINY)
def test_two_labels_are_learned_named_and_kept(arch, file, tmp_path):
    model, data = _trained(arch, file)
    again = zoo.load(str(model.save(tmp_path / "model")))
    assert str(again.condition).count("(noto, twemoji)") == 1, "training takes the names"
    assert torch.equal(again.sample(4, cond=COND), model.sample(4, cond={"group": 2, "style": 1}))
    if model.spec.default_likelihood is not None:
        x, y = data.split("train").batch(slice(0, 4))
        found = [m.log_likelihood(x, cond=c).nats for m, c in ((again, y), (model, y))]
        assert torch.equal(*found) and bool(found[0].isfinite().all())


def test_the_command_takes_labels_by_name_and_shows_them(file, tmp_path, capsys):
    model, _ = _trained("made", file)
    folder, out = model.save(tmp_path / "model"), tmp_path / "x.npz"
    sample = ["sample", str(folder), "-n", "4", "--out", str(out), "--cond"]
    assert main([*sample, "group=2,style=twemoji"]) == 0
    assert np.array_equal(np.load(out)["x"], model.sample(4, cond=COND).numpy())
    assert main([*sample, "group=2,style=nto"]) == 7
    assert "names: noto, twemoji" in capsys.readouterr().err
    assert main(["likelihood", str(folder), "--data", str(file), "--split", "train"]) == 0
    assert main(["data", "info", str(file)]) == 0
    assert "style: a class 0..1 (noto, twemoji)" in capsys.readouterr().out


@pytest.mark.parametrize("drop", ["together", "separately"])
def test_diffusion_drops_labels_and_is_guided_by_those_that_are_given(drop, file):
    model, _ = _trained("ddpm", file, loss="simple")
    players = model.players("simple", p_uncond=0.5, drop_labels=drop)
    x, y = torch.zeros(64, 1, 2, 4).long(), model.condition.check(COND, 64)
    assert bool(players["model"].loss((x, y), zoo.Rng(0, 64), 0).total.isfinite())
    free = model.sample(64, seed=1)
    assert free.shape == (64, 1, 2, 4), "every label may be left out"
    told = model.sample(64, seed=1, cond={"style": "noto"})
    guided = model.sample(64, seed=1, cond={"style": "noto"}, sampler="ddim", guidance_scale=9.0)
    plain = model.sample(64, seed=1, cond={"style": "noto"}, sampler="ddim")
    assert not torch.equal(guided, plain) and told.shape == free.shape
