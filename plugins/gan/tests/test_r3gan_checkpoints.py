"""Published networks of R3GAN give the outputs of their reference."""

import sys
from pathlib import Path

import pytest
import torch
from anchors import golden

import zoo_core as zoo
from zoo_core.building import build, convert
from zoo_core.errors import IntegrityError, UsageError
from zoo_core.weights.assign import undrawn
from zoo_core.weights.third_party import Foreign

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "weights" / "layouts"))

import tables  # noqa: E402


def reference():
    """State dicts and data of the generator and the discriminator."""
    return golden("r3gan_generator")[1:], golden("r3gan_discriminator")[1:]


def under(prefix, tensors):
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def read(*parts, **options):
    return convert(
        Foreign({}, {"": {k: v for p in parts for k, v in p.items()}}), "r3gan", options
    )


def test_outputs_are_those_of_the_reference(tmp_path):
    (g, g_data), (d, d_data) = reference()
    model = read(under("G_ema.Model", g), under("D.Model", d))
    model = zoo.load(str(model.save(tmp_path / "folder")))
    with torch.no_grad():
        x = model.generator(g_data["in.z"], g_data["in.y_onehot"].argmax(1))
        score = model.discriminator(d_data["in.x"], d_data["in.y_onehot"].argmax(1))
    torch.testing.assert_close(x, g_data["out.x"], rtol=0, atol=1e-6)
    torch.testing.assert_close(score, d_data["out.score"], rtol=0, atol=1e-6)


def test_generator_alone_samples_and_does_not_train():
    (g, _), _ = reference()
    model = read(under("G_ema.Model", g), under("G.Model", {k: v + 1 for k, v in g.items()}))
    assert model.discriminator is None and model.sample(2, cond=[0, 1]).shape == (2, 3, 8, 8)
    assert torch.equal(model.generator.body[0].basis, g["MainLayers.0.Layers.0.Basis"])
    with pytest.raises(UsageError, match="without a discriminator"):
        model.players()


LABELLED = {"classes": 4, "embedding": 6}


@pytest.mark.parametrize("options", [{}, LABELLED])
def test_a_model_written_under_their_names_comes_back(options):
    """Three stages of which two have equal widths, with and without classes."""
    model = zoo.create(
        "r3gan",
        shape=(3, 16, 16),
        levels=256,
        latent=5,
        widths=(8, 8, 4),
        blocks=2,
        group=4,
        patch=1,
        resampling="fir",
        **options,
    )
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    g, d = theirs(model)
    found = read(under("G", g), under("D", d))
    z, x = torch.randn(3, 5), torch.randn(3, 3, 16, 16)
    cond = torch.tensor([0, 3, 1]) if options else None
    with torch.no_grad():
        for name, value in (("generator", z), ("discriminator", x)):
            want, have = (getattr(m, name)(value, cond) for m in (model, found))
            torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-5)


def theirs(model):
    """The two networks under the names of R3GAN; biases that it lacks become zero in the model."""
    block = {
        "first.weight": "LinearLayer1.Layer.weight",
        "middle.weight": "LinearLayer2.Layer.weight",
    }
    block |= {"last.weight": "LinearLayer3.Layer.weight", "first.bias": "NonLinearity1.Bias"}
    block |= {"middle.bias": "NonLinearity2.Bias", "map.weight": "LinearLayer.Layer.weight"}
    step, stages = model.config.blocks + 1, len(model.config.widths)
    found = []
    for net, first in ((model.generator, 0), (model.discriminator, 2)):
        names = {}
        for i in range(stages * step):
            for name, tensor in net.body[first + i].state_dict().items():
                layer = f"MainLayers.{i // step}.Layers.{i % step}"
                names[f"{layer}.{block.get(name, name)}"] = tensor
        found.append(names)
    g, d = found
    torch.nn.init.zeros_(model.generator.body[stages * step].bias)
    g["AggregationLayer.Layer.weight"] = model.generator.body[stages * step].weight
    torch.nn.init.zeros_(model.generator.body[0].scales.bias)
    g["MainLayers.0.Layers.0.Basis"] = g.pop("MainLayers.0.Layers.0.basis")
    g["MainLayers.0.Layers.0.LinearLayer.weight"] = g.pop("MainLayers.0.Layers.0.scales.weight")
    del g["MainLayers.0.Layers.0.scales.bias"]
    torch.nn.init.zeros_(model.discriminator.body[1].bias)
    d["ExtractionLayer.Layer.weight"] = model.discriminator.body[1].weight
    end = f"MainLayers.{stages - 1}.Layers.{step - 1}"
    d[f"{end}.Basis.weight"] = d.pop(f"{end}.weight")
    torch.nn.init.zeros_(model.discriminator.head.bias)
    d[f"{end}.LinearLayer.weight"] = model.discriminator.head.weight
    if model.generator.embedding is not None:
        g["EmbeddingLayer.weight"] = model.generator.embedding.weight.T
        torch.nn.init.zeros_(model.discriminator.head.weight)
        d[f"{end}.LinearLayer.weight"] = torch.eye(8)
        d["EmbeddingLayer.weight"] = model.discriminator.embedding.weight.T / 8**0.5
    return g, d


def test_other_networks_and_filters_are_refused():
    with pytest.raises(IntegrityError, match="no generator of R3GAN"):
        read({"main.0.weight": torch.ones(1)})
    (g, _), _ = reference()
    kernel = "MainLayers.1.Layers.0.Resampler.Kernel"
    with pytest.raises(IntegrityError, match=f"{kernel} is another filter"):
        read(g | {kernel: torch.ones(4, 4) / 16})
    with pytest.raises(IntegrityError, match="1 tensors do not map"):
        read(g | {"MainLayers.0.Layers.1.Norm.weight": torch.ones(1)})


SIZES = {
    "cifar10": 20_781_952,
    "ffhq64": 22_429_824,
    "ffhq256": 23_057_952,
    "imagenet32": 82_914_304,
    "imagenet64": 103_570_432,
}
"""Parameters of the published generators."""


@pytest.mark.parametrize("tag", SIZES)
def test_a_card_has_the_names_shapes_and_size_of_the_reference(tag):
    info = zoo.info(f"r3gan.{tag}")
    with torch.device("meta"), undrawn():
        model = build(info.spec, dict(info.tag.hub.config))
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs(model)[0].items()}
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == SIZES[tag]
    if tag == "cifar10":
        assert tables.differences("r3gan-cifar10", shapes) == []


def test_a_published_generator_has_no_licence_and_loads_only_if_that_is_accepted():
    for tag in SIZES:
        with pytest.raises(UsageError, match="states no licence"):
            zoo.load(f"r3gan.{tag}", offline=True)
