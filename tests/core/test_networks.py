"""Networks are components: a stranger's goes into our models by name, by Config or as a module."""

import json
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo_core as zoo
from zoo_core.catalog.registry import use
from zoo_core.catalog.specs import import_target
from zoo_core.cli.describe import describe
from zoo_core.errors import ConfigError, UnknownNameError, UsageError
from zoo_core.plugin import (
    MLPConfig,
    ModulatedMLPConfig,
    ResNetConfig,
    UNetConfig,
    build_network,
)
from zoo_core.testing import run_checks

FAMILIES = [EntryPoint(n, f"zoo_{n}.plugin", "density_zoo") for n in ("diffusion", "gan", "vae")]
SHAPE, LEVELS, STEPS = (1, 8, 8), 17, 3

PLUGIN = """
    from zoo_core.plugin import NetworkSpec, hookimpl

    ZOO_API = 1

    @hookimpl
    def zoo_networks():
        home = "{module}_code"
        return [
            NetworkSpec("acme", f"{home}:Denoiser", f"{home}:Config", "denoiser"),
            NetworkSpec("acme", f"{home}:vector", f"{home}:VectorConfig", "vector"),
            NetworkSpec("acme", f"{home}:image", f"{home}:ImageConfig", "image"),
        ]
"""
CODE = """
    from dataclasses import dataclass
    from math import prod

    import torch
    from torch import nn

    @dataclass(frozen=True)
    class Config:
        hidden: int = 4

    class VectorConfig(Config):
        pass

    class ImageConfig(Config):
        pass

    class Denoiser(nn.Module):
        def __init__(self, config, *, shape, inputs, num_labels):
            super().__init__()
            self.conv = nn.Conv2d(inputs + 1, shape[0], 3, padding=1)

        def forward(self, x, time, label=None):
            t = time.to(x.dtype).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
            return self.conv(torch.cat((x, t / 1000), 1))

    class Vector(nn.Sequential):
        def forward(self, x, features=None):
            return super().forward(x)

    def vector(config, *, inputs, outputs, features):
        h = config.hidden
        return Vector(nn.Linear(inputs, h), nn.SiLU(), nn.Linear(h, outputs))

    def image(config, *, inputs, outputs, size):
        h = config.hidden
        return nn.Sequential(
            nn.Conv2d(inputs, h, 3, padding=1), nn.SiLU(), nn.Conv2d(h, outputs, 1)
        )
"""


@pytest.fixture
def acme(install, registry_of):
    """Our families beside a plugin that has networks alone; its module of code."""
    point = install(PLUGIN, code=CODE)
    with use(registry_of(*FAMILIES, point)):
        yield __import__(f"{point.value}_code")


def digits():
    events = torch.randint(0, LEVELS, (32, *SHAPE), generator=torch.Generator().manual_seed(0))
    split = zoo.Split(events.to(torch.uint8))
    event = zoo.Event(SHAPE, levels=LEVELS)
    splits = {"train": split, "valid": split}
    return zoo.Dataset("noise", event, zoo.Condition(), splits, "none", "drawn here")


MODELS = {
    "ddpm": {"timesteps": 10},
    "vdm": {"schedule_hidden": 8},
    "r3gan": {"latent": 3, "widths": (4,)},
    "hvae": {"channels": (4,), "blocks": (1,), "latent": (1,), "likelihood": "categorical"},
}


def by_name(arch):
    """The options that put the stranger's registered networks into an architecture."""
    table = {"type": "acme", "hidden": 3}
    return {
        "r3gan": {"generator": table, "discriminator": table},
        "hvae": {"encoder": "acme", "decoder": table},
    }.get(arch, {"network": "acme"})


def as_modules(arch, code):
    """The options that put the stranger's bare modules into an architecture."""
    config, image = code.Config(), {"size": SHAPE[1:]}
    if arch == "r3gan":
        g = code.vector(config, inputs=3, outputs=64, features=0)
        return {"generator": g, "discriminator": code.image(config, inputs=1, outputs=4, **image)}
    if arch == "hvae":
        e = code.image(config, inputs=1, outputs=4, **image)
        return {"encoder": e, "decoder": code.image(config, inputs=4, outputs=LEVELS, **image)}
    return {"network": code.Denoiser(config, shape=SHAPE, inputs=1, num_labels=0)}


def trained(arch, **options):
    model = zoo.create(arch, shape=SHAPE, levels=LEVELS, **MODELS[arch], **options)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    zoo.train(model, digits(), zoo.TrainConfig(steps=STEPS, batch_size=8, evaluate="loss"))
    own = [k for k in before if any(k.startswith(f"{n}.") for n in ("network", *options))]
    assert any(not torch.equal(before[k], model.state_dict()[k]) for k in own)
    return model


def draw(model):
    steps = {"steps": 2} if hasattr(model, "denoise") else {}
    return model.sample(2, seed=1, **steps)


@pytest.mark.parametrize("arch", MODELS)
def test_a_strangers_registered_network_is_trained_saved_and_loaded(arch, acme, tmp_path):
    model = trained(arch, **by_name(arch))
    again = zoo.load(str(model.save(tmp_path / "m")))
    assert torch.equal(draw(again), draw(model))
    config = json.loads((tmp_path / "m" / "zoo.json").read_text())["config"]
    fields = by_name(arch)
    assert all(config[name]["type"] == "acme" for name in fields)
    assert again.config == model.config


@pytest.mark.parametrize("arch", MODELS)
def test_a_strangers_module_is_trained_and_not_saved(arch, acme, tmp_path):
    model = trained(arch, **as_modules(arch, acme))
    assert draw(model).shape == (2, *SHAPE)
    with pytest.raises(UsageError, match="cannot be saved.*which no config describes") as caught:
        model.save(tmp_path / "m")
    assert "zoo_networks" in str(caught.value) and not (tmp_path / "m").exists()


def test_a_missing_network_is_named_when_a_model_is_loaded(acme, tmp_path, registry_of):
    folder = zoo.create("ddpm", shape=SHAPE, network="acme").save(tmp_path / "m")
    with use(registry_of(*FAMILIES)), pytest.raises(ConfigError, match="type = 'acme'"):
        zoo.load(str(folder))


def test_two_plugins_networks_of_one_name_are_told_apart(install, registry_of, tmp_path):
    points = [install(PLUGIN, code=CODE, name=n, dist=f"zoo-{n}") for n in ("acme", "other")]
    with use(registry_of(*FAMILIES, *points)):
        with pytest.raises(ConfigError, match="write zoo-acme:acme or zoo-other:acme"):
            zoo.create("ddpm", shape=SHAPE, network="acme")
        model = zoo.create("ddpm", shape=SHAPE, network="zoo-other:acme")
        again = zoo.load(str(model.save(tmp_path / "m")))
        assert type(again.network) is type(model.network)


def test_a_network_is_given_by_name_table_or_config():
    for network in ("mlp", {"type": "mlp"}, ModulatedMLPConfig()):
        assert zoo.create("ddpm", network=network).config.network == ModulatedMLPConfig()
    made = zoo.create("r3gan", shape=SHAPE, generator="mlp", discriminator=ResNetConfig(hidden=4))
    assert (made.config.generator, made.config.discriminator.hidden) == (MLPConfig(), 4)
    assert zoo.create("hvae", decoder={"type": "resnet"}).config.decoder == ResNetConfig()


@pytest.mark.parametrize(
    "network, message",
    [
        ("umet", "must be one of dit, mlp, song_unet, unet"),
        ({"hidden": 3}, "type = None; it must be one of"),
        ({"type": "mlp", "size": 3}, "unknown option ddpm.network.size"),
        (MLPConfig(), "no network of the signature 'denoiser'"),
        (nn.Linear, "no network of the signature 'denoiser'"),
    ],
)
def test_what_is_no_network_of_the_signature_is_refused(network, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        zoo.create("ddpm", network=network)


def test_a_module_of_another_signature_or_size_is_refused_when_the_model_is_made():
    with pytest.raises(ConfigError, match="Linear as a denoiser network.*raises TypeError"):
        zoo.create("ddpm", network=nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"returned \(2, 8, 4, 4\) for two rows.*\(2, 64\)"):
        body = nn.Conv2d(1, 8, 2, stride=2)
        zoo.create("r3gan", shape=SHAPE, discriminator=body)


def test_checking_a_module_leaves_its_statistics_and_mode_as_they_are():
    body = nn.Sequential(nn.Conv2d(1, 64, 3), nn.BatchNorm2d(64))
    zoo.create("r3gan", shape=SHAPE, discriminator=body)
    assert body.training and torch.equal(body[1].running_mean, torch.zeros(64))


def test_a_compiled_network_is_saved_as_the_one_inside(tmp_path):
    model = zoo.create("ddpm")
    plain = set(model.state_dict())
    model.network = torch.compile(model.network)
    again = zoo.load(str(model.save(tmp_path / "m")))
    assert set(again.state_dict()) == plain
    module = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(UsageError, match="cannot be saved"):
        model.network = module
        model.save(tmp_path / "n")


def test_a_network_wrapped_for_data_parallelism_is_saved_as_the_one_inside(tmp_path):
    model = zoo.create("ddpm")
    plain = set(model.state_dict())
    model.network = nn.DataParallel(model.network)
    assert set(zoo.load(str(model.save(tmp_path / "m"))).state_dict()) == plain


def test_a_network_with_a_layer_replaced_is_not_saved(tmp_path):
    model = zoo.create("ddpm")
    model.network.last = nn.Linear(128, 2, bias=False)
    with pytest.raises(UsageError, match="other parameters than it was built with"):
        model.save(tmp_path / "m")


def test_a_call_of_a_model_is_its_capabilitys_map_and_runs_hooks():
    density, calls = zoo.create("made", shape=(1, 2, 2), levels=2), []
    density.register_forward_hook(lambda *_: calls.append(1))
    x = torch.zeros(3, 1, 2, 2, dtype=torch.long)
    assert torch.equal(density(x), density.log_prob(x)) and calls == [1]
    denoiser = zoo.create("ddpm")
    x_t, t = torch.zeros(3, 2), torch.full((3,), 0.5)
    assert torch.equal(denoiser(x_t, t), denoiser.denoise(x_t, t))
    generator = zoo.create("r3gan", shape=(2,), latent=3)
    z = torch.ones(3, 3)
    assert torch.equal(nn.DataParallel(generator)(z), generator.generate(z))


def test_a_generator_is_exported():
    model = zoo.create("r3gan", shape=SHAPE, latent=3, widths=(4,), group=4).eval()
    z = torch.ones(2, 3)
    exported = torch.export.export(model, (z,))
    assert torch.allclose(exported.module()(z), model(z))


def test_a_network_of_images_is_for_images():
    network = UNetConfig(channels=(8,), down=("plain",), groups=4)
    with pytest.raises(ConfigError, match="a U-Net is for images"):
        zoo.create("ddpm", network=network)
    with pytest.raises(ConfigError, match="discriminator is a network for images"):
        zoo.create("r3gan", shape=(2,), discriminator="resnet")


def test_the_page_on_networks_runs(tmp_path, monkeypatch, registry_of):
    text = (Path(__file__).parents[2] / "docs" / "guides" / "networks.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "zoo_acme").mkdir()
    for name in ("plugin", "networks"):
        (file,) = [b for b in blocks if b.startswith(f"# zoo_acme/{name}.py\n")]
        (tmp_path / "zoo_acme" / f"{name}.py").write_text(file)
        blocks.remove(file)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    point = EntryPoint("acme", "zoo_acme.plugin", "density_zoo")
    with use(registry_of(*FAMILIES, point)) as registry:
        space = {"__name__": "page"}
        for block in blocks:
            exec(block, space)
        assert [r for r in run_checks("acme", registry) if r.status != "ok"] == []
        with pytest.raises(UsageError, match="cannot be saved"):
            zoo.create("ddpm", network=space["Denoiser"](2, 2)).save("runs/moons")


def test_the_kit_names_a_network_that_does_not_fit_its_signature(install, registry_of):
    wrong = CODE.replace("nn.Linear(h, outputs)", "nn.Linear(h, outputs + 1)")
    with use(registry_of(install(PLUGIN, code=wrong))) as registry:
        failed = [r for r in run_checks("acme", registry) if r.status == "failed"]
    assert ["network 'acme'" in r.message for r in failed] == [True]


def test_any_model_with_a_layer_replaced_is_not_saved(tmp_path):
    model = zoo.create("vae", shape=(1, 2, 2), hidden=(4,), latent=2)
    model.save(tmp_path / "m")
    model.decoder.dense.layers[0] = nn.Linear(2, 4, bias=False)
    with pytest.raises(UsageError, match=r"decoder\.dense\.layers\.0\.bias is not as its config"):
        model.save(tmp_path / "n")
    again = zoo.load(str(tmp_path / "m"))
    again.encoder = torch.compile(again.encoder)
    assert zoo.load(str(again.save(tmp_path / "n"))).config == model.config


def test_the_options_of_networks_are_listed_with_a_models():
    names = {field.name: field for field in describe(import_target(zoo.info("ddpm").spec.config))}
    assert names["network"].type == "dit | mlp | song_unet | unet"
    assert "network[unet].channels" in names


@pytest.mark.parametrize("network", ["unet", "song_unet"])
def test_u_nets_take_images_whose_sides_cannot_be_halved(network):
    options = {
        "unet": {"channels": [8, 8, 8], "down": ["plain"] * 3, "groups": 4},
        "song_unet": {"width": 8, "multipliers": [1, 1, 1], "blocks": 1, "attention": []},
    }[network]
    sizes = {"shape": (3, 13, 10), "inputs": 3, "num_labels": 0}
    net = build_network({"type": network, **options}, "denoiser", **sizes).eval()
    x, time = torch.randn(2, 3, 13, 10), torch.rand(2)
    out = net(x, time)
    assert out.shape == x.shape
    padded = torch.nn.functional.pad(x, (0, 2, 0, 3), mode="replicate")
    assert torch.allclose(net(padded, time)[..., :13, :10], out)
