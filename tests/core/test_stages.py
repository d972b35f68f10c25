"""A model of two models, each trained by a stage of its own, on its own data."""

import json
import math
from importlib.metadata import EntryPoint

import pytest
import torch
from safetensors import safe_open

import zoo_core as zoo
from zoo_core.catalog.registry import use
from zoo_core.errors import ConfigError, IntegrityError, NoCapabilityError
from zoo_core.workflows.latents import cached_latents
from zoo_core.workflows.recipe import parse_recipe
from zoo_core.workflows.run import run_recipe

POINTS = [
    EntryPoint(n, f"{m}.plugin", "density_zoo")
    for n, m in {"twostage": "zoo_twostage", "autoregressive": "zoo_autoregressive"}.items()
]
RECIPE = """
arch = "mini_latent"
data = "digits"

[train]
batch_size = 64
lr = 0.01

[[stage]]
name = "autoencoder"
arch = "mini_vq"
[stage.model]
codes = 8
[stage.loss]
name = "mini_vq"
beta = 0.5
[stage.train]
steps = 150

[[stage]]
name = "prior"
arch = "made"
data = "latents:autoencoder"
[stage.model]
shape = [1, 4, 4]
levels = 8
hidden = 32
[stage.train]
steps = 40
"""


@pytest.fixture(autouse=True)
def twostage(registry_of):
    with use(registry_of(*POINTS)) as registry:
        yield registry


def recipe(text=RECIPE, **overrides):
    return parse_recipe(text, name="two", overrides=overrides)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from zoo_core.catalog.plugins import Plugins
    from zoo_core.catalog.registry import Registry

    out = tmp_path_factory.mktemp("two")
    with use(Registry(Plugins(entry_points=POINTS, disabled=()))):
        run_recipe(recipe(), out)
    return out


def test_two_stages_are_trained_saved_loaded_and_sampled(trained):
    model = zoo.load(str(trained / "model"))
    assert (trained / "model" / "autoencoder" / "zoo.json").is_file()
    x = model.sample(4, seed=1)
    assert x.shape == (4, 1, 8, 8) and 0 <= int(x.min()) and int(x.max()) < 17
    assert torch.equal(x, zoo.load(str(trained / "model")).sample(4, seed=1))
    images = zoo.load_dataset("digits").split("valid").batch(slice(64))[0]
    decoded = model.autoencoder.from_latents(model.autoencoder.to_latents(images))
    error = (decoded - images).float().square().mean()
    assert error < 0.5 * (images - images.float().mean(0)).square().mean()


def test_the_likelihood_is_labelled_as_nats_of_its_tokens(trained):
    model = zoo.load(str(trained / "model"))
    images = zoo.load_dataset("digits").split("valid").batch(slice(64))[0]
    scored = model.log_likelihood(images)
    codes = model.autoencoder.to_latents(images)
    assert torch.allclose(scored.nats, model.prior.log_prob(codes).double())
    assert scored.event == zoo.Tokens(16, 8) and scored.nats.mean() > -16 * math.log(8)
    assert "nats/token" in str(scored.mean()) and "tokens(of the latents)" in str(scored.mean())
    with pytest.raises(zoo.UsageError):
        scored.mean().bits_per_dim  # noqa: B018
    (row,) = json.loads((trained / "model" / "zoo.json").read_text())["metrics"]
    assert row["kind"] == "tokens(of the latents)"


def test_latents_are_encoded_once_and_name_the_weights_they_are_of(trained, monkeypatch):
    model, digits = zoo.load(str(trained / "model")).autoencoder, zoo.load_dataset("digits")
    path = trained / "autoencoder" / "latents.safetensors"
    with safe_open(path, "pt") as file:
        assert set(file.metadata()) == {"weights", "events"}
    encode = type(model).to_latents
    calls = []
    monkeypatch.setattr(type(model), "to_latents", lambda m, x: calls.append(1) or encode(m, x))
    data = cached_latents(model, digits, path, write=False)
    assert calls == [] and data.event == model.latent_event
    assert torch.equal(data.split("valid").batch()[1], digits.split("valid").batch()[1])
    with torch.no_grad():
        model.encoder.weight.mul_(-1)
    assert len(cached_latents(model, digits, path, write=False).split("train")) and calls


def test_a_damaged_file_of_latents_is_named(trained, tmp_path):
    model = zoo.load(str(trained / "model")).autoencoder
    (path := tmp_path / "latents.safetensors").write_bytes(b"no tensors")
    with pytest.raises(IntegrityError, match="latents.safetensors cannot be read"):
        cached_latents(model, zoo.load_dataset("digits"), path, write=True)


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop", ["autoencoder", "prior"])
def test_each_stage_resumes_by_itself_to_the_same_bits(trained, tmp_path, monkeypatch, stop):
    from zoo_core.training.loop import train
    from zoo_core.workflows import run

    def stopping(model, data, config, *, out, **options):
        if out.name == stop:
            _interrupt(monkeypatch, config.steps // 2)
        return train(model, data, config, out=out, **options)

    every = {"stage.0.train.checkpoint_every": 10, "stage.1.train.checkpoint_every": 10}
    monkeypatch.setattr(run, "train", stopping)
    with pytest.raises(Stop):
        run_recipe(recipe(**every), tmp_path)
    monkeypatch.undo()
    run_recipe(recipe(**every), tmp_path, resume=True)
    whole, again = (zoo.load(str(out / "model")) for out in (trained, tmp_path))
    for (name, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def _interrupt(monkeypatch, step):
    """Stop training in the middle: the loss raises at a step."""
    import zoo_twostage.vq as vq

    from zoo_core.training.losses import NLL

    for loss in (vq.VQLoss, NLL):
        call = loss.__call__

        def failing(self, model, batch, rng, at, call=call):
            if at == step:
                raise Stop
            return call(self, model, batch, rng, at)

        monkeypatch.setattr(loss, "__call__", failing)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"stage.1.name": "decoder"}, "no submodel of that name; submodels: autoencoder, prior"),
        ({"stage.1.data": "latents:base"}, "has no submodel 'base'"),
        ({"stage.0.data": "latents:autoencoder"}, "is not trained before it"),
        ({"stage.1.model.levels": 4}, "the prior is of"),
        ({"stage.1.data": "digits"}, "digits"),
        ({"stage.1.train.batch_size": 1 << 20}, "batch_size"),
    ],
)
def test_what_does_not_fit_is_said_before_the_first_step(overrides, message, tmp_path):
    with pytest.raises((ConfigError, zoo.DataError), match=message):
        run_recipe(recipe(**overrides), tmp_path / "out")
    assert not (tmp_path / "out" / "autoencoder").exists()


def test_latents_need_an_autoencoder(tmp_path):
    text = RECIPE.replace('"latents:autoencoder"', '"latents:prior"')
    with pytest.raises(ConfigError, match="not trained before"):
        run_recipe(recipe(text), tmp_path)
    swapped = zoo.create("made", shape=(1, 4, 4), levels=8)
    with pytest.raises(NoCapabilityError, match="it is no Autoencoder"):
        cached_latents(swapped, zoo.load_dataset("digits"), tmp_path / "l", write=False)


def test_a_stages_model_needs_an_arch_of_its_own():
    with pytest.raises(ConfigError, match=r"stage\.0\.model is for a stage with an arch"):
        recipe('arch = "a"\ndata = "b"\n[[stage]]\nname = "s"\n[stage.model]\nx = 1')


def test_a_stage_with_an_arch_has_neither_the_loss_nor_the_players_of_the_whole():
    text = RECIPE.replace("[train]", '[loss]\nname = "x"\n[players.y]\nlr = 1.0\n[train]', 1)
    assert [s.loss for s in recipe(text).stages] == ["mini_vq", None]
    assert [dict(s.players) for s in recipe(text).stages] == [{}, {}]
