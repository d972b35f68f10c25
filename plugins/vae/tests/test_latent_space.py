"""Use of latents: encoding, reconstruction, interpolation, active units, posterior collapse."""

import json

import pytest
import torch

import zoo_core as zoo
from zoo_core import latent
from zoo_core.likelihoods.elbo import ELBOLoss
from zoo_core.training.config import TrainConfig
from zoo_vae import active_units

SMALL = {
    "vae": {"hidden": (8,), "latent": 4},
    "iwae": {"latent": (4, 2), "hidden": (8, 6)},
    "hvae": {"channels": (4,), "blocks": (3,), "latent": (1,)},
}
LATENTS = {"vae": 4, "iwae": 6, "hvae": 12}


@pytest.fixture(params=SMALL)
def model(request):
    torch.manual_seed(0)
    model = zoo.create(request.param, shape=(1, 4, 4), **SMALL[request.param]).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def test_events_are_encoded_reconstructed_and_interpolated(model):
    x = model.sample(6)
    z = latent.encode(model, x)
    assert z.shape == (6, LATENTS[model.spec.arch])
    again = latent.reconstruct(model, x)
    assert again.shape == x.shape and bool((again >= 0).all() and (again <= 1).all())
    path = latent.interpolate(z[:3], z[3:], steps=5)
    between = latent.decode(model, path.flatten(0, 1)).view(3, 5, *x.shape[1:])
    torch.testing.assert_close(between[:, 0], again[:3])
    torch.testing.assert_close(between[:, -1], again[3:])
    plane = latent.decode(model, latent.plane(z[0], side=4))
    assert plane.shape == (16, *x.shape[1:])


def test_kl_per_unit_adds_up_to_the_kl_of_the_bound(model):
    x = model.sample(64)
    kl = active_units.kl(model, x)
    assert kl.shape == (LATENTS[model.spec.arch],) and bool((kl >= 0).all())
    if model.spec.arch != "iwae":  # its conditionals at a draw do not add up to the divergence
        (player,) = model.players("elbo").values()
        term = player.loss((x, None), zoo.Rng(0, 64), 0).terms["kl"]
        assert float(kl.sum()) == pytest.approx(float(term), rel=1e-4)


def test_units_that_ignore_the_event_are_not_active():
    model = zoo.create("vae", shape=(1, 4, 4), hidden=(8,), latent=4)
    last = model.encoder.dense.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        last.weight[1].normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randint(2, (200, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    assert active_units.variance(model, x).nonzero().flatten().tolist() == [1]
    assert active_units.count(model, x) == 1


def test_an_untrained_hierarchy_has_collapsed_groups_and_says_which():
    model = zoo.create("hvae", shape=(1, 4, 4), **SMALL["hvae"])  # q = p initially
    diagnosis = ELBOLoss().diagnose(model, zoo.Split(model.sample(8)))
    assert "level 1, 2, 3 of 3 carries nothing" in diagnosis.warning
    assert "free_bits" in diagnosis.warning
    assert diagnosis.values == {"active_1": 0, "active_2": 0, "active_3": 0}


def test_a_model_that_uses_its_latents_raises_no_warning(model):
    diagnosis = ELBOLoss().diagnose(model, zoo.Split(model.sample(8)))
    assert diagnosis.warning is None and all(diagnosis.values.values())


def test_training_log_warns_of_collapse(tmp_path):
    torch.manual_seed(0)
    model = zoo.create("vae", shape=(1, 8, 8), levels=17, likelihood="categorical", hidden=(16,))
    config = TrainConfig(steps=60, lr=1e-2)
    loss = ELBOLoss(beta=1e3)  # collapses every posterior
    zoo.train(model, zoo.load_dataset("digits"), config, loss=loss, out=tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["event"] == "diagnosis"][-1]
    assert (last["step"], last["active_1"]) == (60, 0)
    assert "posterior collapse: level 1 of 1 carries nothing" in last["warning"]
