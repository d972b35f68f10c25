"""EDM's checkpoints: the outputs of its reference, each preconditioning, pickles end to end."""

import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from anchors import golden
from foreign_pickles import persistent_module, write_pickle

import zoo_core as zoo
from zoo_core.building import build, convert
from zoo_core.catalog.registry import current
from zoo_core.errors import IntegrityError
from zoo_core.nn.song_unet import SongUNet, SongUNetConfig
from zoo_core.weights import third_party
from zoo_core.weights.assign import undrawn
from zoo_core.weights.third_party import Foreign
from zoo_diffusion.preconditioning import PRECONDITIONINGS, loss_weight, vp_sigma

FORMS = {
    "ddpmpp": {"embedding_type": "positional", "encoder_type": "standard"},
    "ncsnpp": {
        "embedding_type": "fourier",
        "encoder_type": "residual",
        "channel_mult_noise": 2,
        "resample_filter": [1, 3, 3, 1],
    },
}
ARGUMENTS = {"img_resolution": 8, "img_channels": 1, "label_dim": 3, "model_type": "SongUNet"}
ARGUMENTS |= {"model_channels": 8, "channel_mult": [1, 2, 2], "num_blocks": 1}
ARGUMENTS |= {"attn_resolutions": [4], "augment_dim": 2}


def read(config, state, kind="EDMPrecond", **options):
    module = {"class": kind, "positional": [], "arguments": config}
    return convert(Foreign({"w.pkl": {"": module}}, {"": state}), "edm", options)


@pytest.mark.parametrize("form", FORMS)
def test_outputs_are_those_of_the_reference(form):
    config, state, data = golden(f"edm_{form}")
    model = read(config, state)
    sigma, label = data["in.sigma"].view(-1, 1, 1, 1), data["in.y_onehot"].argmax(1)
    with torch.no_grad():
        found = model.denoise_at(data["in.x"], sigma, label)
    torch.testing.assert_close(found, data["out.D"], rtol=0, atol=1e-5)


def theirs(model, config):
    """A model's tensors under EDM's names, which carry the height of each resolution."""
    layers = {"norm1": "norm0", "conv1": "conv0", "norm2": "norm1", "conv2": "conv1"}
    layers |= {"time_emb_proj": "affine", "conv_shortcut": "skip"}
    plain = {"time_proj.weight": "map_noise.freqs", "augment.weight": "map_augment.weight"}
    heads = {"linear_1": "map_layer0", "linear_2": "map_layer1"}
    depth, top = len(config["channel_mult"]), config["img_resolution"]
    found, state = {}, dict(model.network.state_dict())
    if (table := state.pop("class_embedding.weight", None)) is not None:
        found["map_label.weight"] = (table[:-1] - table[-1]).T / (len(table) - 1) ** 0.5
        found["map_label.bias"] = table[-1]
    for name, tensor in state.items():
        first, *path, what = name.split(".")
        side = "dec" if first in ("up_blocks", "mid_block") else "enc"
        level = int(path[0]) if first == "down_blocks" else depth - 1
        level -= int(path[0]) if first == "up_blocks" else 0
        start = f"{side}.{top >> level}x{top >> level}"
        if name in plain:
            found[plain[name]] = tensor
        elif first == "time_embedding":
            found[f"{heads[path[0]]}.{what}"] = tensor
        elif first == "conv_in":
            found[f"enc.{top}x{top}_conv.{what}"] = tensor
        elif first in ("conv_norm_out", "conv_out"):
            kind = "aux_norm" if "norm" in first else "aux_conv"
            found[f"dec.{top}x{top}_{kind}.{what}"] = tensor
        elif "residual" in path:
            found[f"{start}_aux_residual.{what}"] = tensor
            found[f"{start}_aux_residual.resample_filter"] = torch.ones(1)
        else:
            place = path if first == "mid_block" else path[1:]
            kind = "in" if first == "mid_block" else "block"
            block = f"{kind}{place[1]}" if place[0] == "blocks" else place[0]
            part, layer = place[place.index("resnet" if "resnet" in place else "attention") :][:2]
            end = f"{start}_{block}"
            if part == "resnet":
                found[f"{end}.{layers[layer]}.{what}"] = tensor
            elif layer in ("to_q", "to_k", "to_v"):
                key = f"{end}.qkv.{what}"
                stack = found.setdefault(key, tensor.new_zeros(3 * len(tensor), *tensor.shape[1:]))
                stack["qkv".index(layer[-1]) :: 3] = tensor
            else:
                layer = {"group_norm": "norm2", "to_out": "proj"}[layer]
                found[f"{end}.{layer}.{what}"] = tensor
    convolutions = ("qkv.weight", "proj.weight")
    return {
        f"model.{n}": t[..., None, None] if n.endswith(convolutions) else t
        for n, t in found.items()
    }


KINDS = {"VPPrecond": "vp", "VEPrecond": "ve"}


@pytest.mark.parametrize(("form", "kind"), list(zip(FORMS, KINDS, strict=True)))
def test_a_pickle_of_a_whole_module_becomes_the_model_that_is_in_it(tmp_path, form, kind):
    config = ARGUMENTS | FORMS[form]
    model = zoo.create(
        "edm",
        shape=(1, 8, 8),
        levels=256,
        classes=3,
        preconditioning=KINDS[kind],
        time_scale=1.0,
        network={
            "type": "song_unet",
            "width": 8,
            "multipliers": (1, 2, 2),
            "blocks": 1,
            "attention": (4,),
            "augment": 2,
            "embedding": config["embedding_type"],
            "encoder": config["encoder_type"],
            "noise_multiplier": config.get("channel_mult_noise", 1),
            "filter": "fir" if "resample_filter" in config else "box",
        },
    )
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    module = persistent_module(theirs(model, config), kind, config)
    write_pickle(tmp_path / "w.pkl", {"ema": module, "loss_fn": None})
    found = convert(third_party.read(tmp_path / "w.pkl"), "edm", {})
    assert found.config.preconditioning == model.config.preconditioning
    assert found.config.network == model.config.network
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.03, 20.0]).view(2, 1, 1, 1)
    for label in (torch.tensor([0, 2]), None):
        with torch.no_grad():
            want, have = (m.eval().denoise_at(x, sigma, label) for m in (model, found))
        torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-5)


def test_sampling_of_a_converted_model_gives_events():
    model = zoo.create(
        "edm",
        shape=(3, 8, 8),
        levels=256,
        preconditioning="vp",
        time_scale=1.0,
        network={"type": "song_unet", "width": 8, "multipliers": (1, 1), "blocks": 1},
    )
    assert model.sample(2, steps=3).shape == (2, 3, 8, 8)


def test_coefficients_are_those_of_the_table():
    sigma = torch.tensor([0.002, 0.5, 80.0], dtype=torch.float64)
    c_skip, c_out, c_in, c_noise = PRECONDITIONINGS["vp"](sigma, 0.5)
    assert torch.equal(c_skip, torch.ones_like(sigma)) and torch.equal(c_out, -sigma)
    torch.testing.assert_close(c_in, 1 / (sigma.square() + 1).sqrt())
    back = torch.tensor([vp_sigma(float(t)) for t in c_noise / 999], dtype=torch.float64)
    torch.testing.assert_close(back, sigma)
    c_skip, c_out, c_in, c_noise = PRECONDITIONINGS["ve"](sigma, 0.5)
    assert torch.equal(c_out, sigma) and torch.equal(c_in, c_skip)
    torch.testing.assert_close(c_noise.exp(), sigma / 2)
    for kind, coefficients in PRECONDITIONINGS.items():
        torch.testing.assert_close(
            loss_weight(kind, sigma, 0.5), coefficients(sigma, 0.5).c_out ** -2
        )


def test_augmentation_labels_enter_as_a_linear_map_and_none_are_zeros():
    net = SongUNet(SongUNetConfig(width=8, multipliers=(1,), blocks=1, augment=3), (1, 4, 4), 1)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x, time, labels = torch.randn(2, 1, 4, 4), torch.tensor([0.1, 0.4]), torch.randn(2, 3)
    with torch.no_grad():
        none, zeros = net.eval()(x, time), net(x, time, None, torch.zeros(2, 3))
        some = net(x, time, None, labels)
        e = net.time_proj(time) + labels @ net.augment.weight.T
        net.time_proj.forward = lambda _: e
        moved = net(x, time)
    assert torch.equal(none, zeros) and not torch.allclose(none, some)
    torch.testing.assert_close(some, moved)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"decoder_type": "skip"}, "decoder_type = 'skip' has no counterpart"),
        ({"resample_filter": [1, 2, 1]}, r"resample_filter = \(1, 2, 1\)"),
        ({"model_type": "DhariwalUNet"}, "model_type = 'DhariwalUNet'"),
        ({"new": 1}, "new = 1 has no counterpart"),
    ],
)
def test_arguments_that_are_not_understood_are_refused(change, text):
    state = {"model.map_layer0.weight": torch.ones(1)}
    with pytest.raises(IntegrityError, match=text):
        read(ARGUMENTS | change, state)
    with pytest.raises(IntegrityError, match="this converter reads EDMPrecond"):
        read(ARGUMENTS, state, kind="iDDPMPrecond")
    with pytest.raises(IntegrityError, match="nothing says what"):
        convert(Foreign({}, {"": state}), "edm", {})


def test_range_of_sigma_is_that_of_the_preconditioning():
    assert math.isclose(vp_sigma(1e-5), 0.0010005, rel_tol=1e-4)
    assert math.isclose(vp_sigma(1.0), 152.167, rel_tol=1e-5)


def on_meta(name):
    card = zoo.info(name).tag.hub
    with torch.device("meta"), undrawn():
        return build(zoo.info(name).spec, dict(card.config)), card


def under_their_names(model):
    """Shapes of a model's tensors under EDM's names, in which heights and numbers are left out."""
    depth, side = len(model.config.network.multipliers), model.event.shape[-1]
    tensors = theirs(model, {"channel_mult": [1] * depth, "img_resolution": side})
    found = Counter()
    for name, tensor in tensors.items():
        if not name.endswith("resample_filter"):
            pattern = re.sub(r"(block|in)\d+", r"\1#", re.sub(r"\d+x\d+_", "RxR_", name))
            found[pattern, "x".join(map(str, tensor.shape))] += 1
    return found


def listed(path):
    """The rows of a table, `name: shape (count) | shape (count)`."""
    found = Counter()
    for line in path.read_text().splitlines()[1:]:
        name, shapes = line.split(": ")
        for shape in shapes.split(" | "):
            shape, _, count = shape.partition(" ")
            found[name, shape] += int(count.strip("()") or 1)
    return found


def test_the_published_config_has_the_names_and_shapes_of_the_reference():
    model, _ = on_meta("edm.cifar10_vp")
    want = listed(Path(__file__).with_name("edm_cifar10.txt"))
    assert under_their_names(model) == want
    ve, _ = on_meta("edm.cifar10_ve")
    names = {name for name, _ in under_their_names(ve)} - {name for name, _ in want}
    more = {"map_noise.freqs", "enc.RxR_aux_residual.weight", "enc.RxR_aux_residual.bias"}
    assert names == {f"model.{name}" for name in more}


@pytest.mark.parametrize(
    "name", [r.name for r in current().list_models("edm.*") if r.tag and r.tag.hub]
)
def test_a_card_is_of_the_size_that_it_states_and_needs_a_hash_to_be_fetched(name):
    model, card = on_meta(name)
    assert sum(value.numel() for value in model.state_dict().values()) == card.params
    with (
        pytest.warns(zoo.ZooWarning, match="CC-BY-NC-SA-4.0, non-commercial"),
        pytest.raises(IntegrityError, match="states no size and SHA-256"),
    ):
        zoo.load(name)
