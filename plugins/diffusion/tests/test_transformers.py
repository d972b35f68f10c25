"""Diffusion transformers: outputs of the references SiT, JiT and DiT, and what a dit refuses."""

import pytest
import torch
from anchors import golden

import zoo_core as zoo
from zoo_core.building import convert
from zoo_core.errors import ConfigError, IntegrityError
from zoo_core.nn.dit import image_positions
from zoo_core.weights.third_party import Foreign

TINY = {"type": "dit", "hidden": 16, "layers": 2, "heads": 2}


def converted(name, converter, **options):
    _, state, data = golden(name)
    return convert(Foreign({}, {"": state}), converter, options).eval(), state, data


@torch.no_grad()
def test_outputs_are_those_of_sit():
    model, _, data = converted("sit", "sit", heads=3)
    t = 1 - data["in.t"].double()
    found = -model.predict(data["in.x"], t, data["in.y"])
    torch.testing.assert_close(found, data["out.v"], rtol=0, atol=1e-4)
    torch.testing.assert_close(-model.velocity(data["in.x"], t, data["in.y"]), found)
    assert "network.positions" not in model.state_dict()  # the stored ones are the sinusoids
    assert model.config.classes == 10 and model.event.shape == (4, 8, 8)


@torch.no_grad()
def test_a_sit_of_the_trigonometric_path_has_the_same_velocity():
    """SiT's network gives dx/dt towards the data; ours is in units of the path's rate."""
    model, _, data = converted("sit", "sit", heads=3, path="variance_preserving")
    assert model.config.path == "variance_preserving"
    found = -model.velocity(data["in.x"], 1 - data["in.t"].double(), data["in.y"])
    torch.testing.assert_close(found, data["out.v"], rtol=0, atol=1e-4)


@torch.no_grad()
def test_outputs_are_those_of_jit():
    model, _, data = converted("jit", "jit", label_layer=1)
    found = model.predict(data["in.x"], 1 - data["in.t"].double(), data["in.y"])
    torch.testing.assert_close(found, data["out.x_pred"], rtol=0, atol=1e-4)
    assert model.prediction == "x0" and model.event.levels == 256


@torch.no_grad()
def test_outputs_are_those_of_torchcfm_as_a_flow():
    model, _, data = converted("torchcfm_unet", "torchcfm", size=16, head=16)
    found = -model.velocity(data["in.x"], 1 - data["in.t"].double())
    torch.testing.assert_close(found, data["out.v"], rtol=0, atol=1e-4)


def test_a_width_that_was_never_published_asks_for_heads():
    _, state, _ = golden("sit")
    with pytest.raises(IntegrityError, match="width 48 is of no published size"):
        convert(Foreign({}, {"": state}), "sit", {})


@torch.no_grad()
@pytest.mark.parametrize("learned", [True, False])
def test_outputs_are_those_of_diffusers_dit(learned, tmp_path):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    torch.manual_seed(0)
    theirs = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8 if learned else 4,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
    ).eval()
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.1)
    embedders = [block.norm1.emb.state_dict() for block in theirs.transformer_blocks]
    for block in theirs.transformer_blocks:  # published files repeat one
        block.norm1.emb.load_state_dict(embedders[0])
    theirs.save_pretrained(tmp_path / "transformer")
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=1000)
    scheduler.save_pretrained(tmp_path / "scheduler")
    model = zoo.load(str(tmp_path)).eval()
    x, label = torch.randn(2, 4, 8, 8), torch.tensor([3, 10])
    t = torch.tensor([0.3, 0.3], dtype=torch.float64)
    want = theirs(x, timestep=torch.tensor([299, 299]), class_labels=label).sample
    found = model.predict(x, t, model.condition.drop(label.clamp(max=9), label[:, None] == 10))
    torch.testing.assert_close(found, want[:, :4], rtol=0, atol=1e-4)


def test_positions_are_of_columns_and_then_of_rows():
    places = torch.tensor([[0, 0], [0, 3], [2, 0]])
    e = image_positions(places, 8)
    assert torch.equal(e[0, :4], e[2, :4]) and torch.equal(e[0, 4:], e[1, 4:])
    assert float(e[1, 0]) == pytest.approx(0.14112, abs=1e-4)  # sin 3


@pytest.mark.parametrize("more", [{}, {"label_tokens": 2, "rotary": True, "label_layer": 1}])
def test_a_fresh_dit_gives_zero_trains_and_takes_rectangles(more):
    torch.manual_seed(0)
    network = TINY | {"heads": 4 if not more else 2} | more
    model = zoo.create("flow_matching", shape=(3, 4, 8), classes=5, network=network)
    x = torch.randn(2, 3, 4, 8)
    assert not model.predict(x, torch.full((2,), 0.5), torch.tensor([0, 1])).any()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    out = model.predict(x, torch.full((2,), 0.5), torch.tensor([0, 1]))
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_checkpoints_of_activations_change_no_gradient():
    gradients = []
    for saves in (False, True):
        torch.manual_seed(0)
        network = TINY | {"checkpoint": saves}
        model = zoo.create("flow_matching", shape=(3, 4, 4), network=network).train()
        for i, p in enumerate(model.parameters()):
            torch.nn.init.normal_(p, std=0.2, generator=torch.Generator().manual_seed(i))
        x = torch.ones(2, 3, 4, 4)
        model.predict(x, torch.full((2,), 0.5)).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (3, 5, 4)}, "patch = 2 does not divide"),
        ({"shape": (6,)}, "patch = 2 does not divide"),
        ({"network": TINY | {"label_tokens": 2}}, "this model has no classes"),
        ({"network": TINY | {"heads": 3}}, "must be a multiple of 3"),
        ({"network": TINY | {"label_tokens": 1, "label_layer": 2}}, "the last is 1"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        zoo.create("flow_matching", **({"shape": (3, 4, 4), "network": TINY} | options))
