"""U-Nets under the names of guided-diffusion: the outputs of a reference, and every form."""

import pytest
import torch
from anchors import golden

import zoo_core as zoo
from zoo_core.building import convert
from zoo_core.errors import IntegrityError
from zoo_core.nn.networks import build_network
from zoo_core.weights.third_party import Foreign
from zoo_diffusion.converters.guided import guided_unet


def test_outputs_are_those_of_torchcfm():
    config, state, data = golden("torchcfm_unet")
    options, tensors = guided_unet(state, head=config["num_head_channels"])
    net = build_network(options, "denoiser", shape=(3, 16, 16), inputs=3, num_labels=0)
    net.load_state_dict(tensors)
    with torch.no_grad():
        found = net.eval()(data["in.x"], data["in.t"])
    torch.testing.assert_close(found, data["out.v"], rtol=0, atol=1e-5)


NET = {"type": "unet", "channels": (32, 64, 64), "down": ("plain", "attention", "attention")}
NET |= {"layers": 2, "eps": 1e-5, "middle_groups": 32, "time_flip": True, "time_shift": 0.0}
RESNET = NET | {"down": ("resnet", "attention", "attention"), "scale_shift": True}
RESNET |= {"downsample": "resnet", "upsample": "resnet", "time_features": 16}
FORMS = {
    "plain": (NET | {"head": 16}, {"head": 16}),
    "resnet": (RESNET | {"heads": 4}, {"heads": 4, "new_attention_order": True}),
}
LAYERS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
    "group_norm": "norm",
    "to_out.0": "proj_out",
}


def places(net):
    """The modules of a U-Net and their places in guided-diffusion's, block after block."""
    yield from ((net.conv_in, "input_blocks.0.0"), (net.conv_norm_out, "out.0"))
    yield from ((net.conv_out, "out.2"), (net.class_embedding, "label_emb"))
    yield from ((net.time_embedding.linear_1, "time_embed.0"),)
    yield from ((net.time_embedding.linear_2, "time_embed.2"),)
    n = 1
    for block in net.down_blocks:
        for i, resnet in enumerate(block.resnets):
            yield resnet, f"input_blocks.{n}.0"
            if block.attends:
                yield block.attentions[i], f"input_blocks.{n}.1"
            n += 1
        if not block.last:
            yield resampler(block.downsamplers[0], f"input_blocks.{n}.0", "op")
            n += 1
    first, second = net.mid_block.resnets
    yield from ((first, "middle_block.0"), (second, "middle_block.2"))
    yield net.mid_block.attentions[0], "middle_block.1"
    n = 0
    for block in net.up_blocks:
        for i, resnet in enumerate(block.resnets):
            yield resnet, f"output_blocks.{n}.0"
            if block.attends:
                yield block.attentions[i], f"output_blocks.{n}.1"
            if i + 1 == len(block.resnets) and not block.last:
                place = f"output_blocks.{n}.{1 + block.attends}"
                yield resampler(block.upsamplers[0], place, "conv")
            n += 1


def resampler(module, place, name):
    convolution = getattr(module, "conv", None)
    return (module, place) if convolution is None else (convolution, f"{place}.{name}")


def theirs(model, *, head=None, heads=None, new_attention_order=False):
    """The network's tensors under the names of guided-diffusion."""
    found = {}
    for module, place in places(model.network):
        own = {} if module is None else module.state_dict()
        for name, tensor in own.items():
            layer, _, what = name.rpartition(".")
            if layer == "to_q":
                qkv = [own[f"to_{part}.{what}"] for part in "qkv"]
                per = len(tensor) if new_attention_order else head or len(tensor) // heads
                rows = torch.stack([t.unflatten(0, (-1, per)) for t in qkv], 1).flatten(0, 2)
                found[f"{place}.qkv.{what}"] = rows[..., None] if what == "weight" else rows
            elif layer not in ("to_k", "to_v"):
                full = ".".join(filter(None, (place, LAYERS.get(layer, layer), what)))
                found[full] = tensor[..., None] if name == "to_out.0.weight" else tensor
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_network_written_under_their_names_comes_back(form):
    network, options = FORMS[form]
    model = zoo.create("ddpm", shape=(3, 8, 8), classes=4, optional=False, network=network)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    tensors = theirs(model, **options)
    state = {f"ema.module.{k}": v for k, v in tensors.items()}
    state |= {f"model.{k}": v + 1 for k, v in tensors.items()}
    found = convert(Foreign({}, {"": state}), "guided_diffusion", options | {"size": 8})
    assert found.config.variance == "small" and found.config.classes == 4
    x, t, label = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 1.0]), torch.tensor([3, 0])
    with torch.no_grad():
        want, have = (m.eval().predict(x, t, label) for m in (model, found))
    torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-5)


def test_twice_the_outputs_are_a_learned_variance():
    network, options = FORMS["plain"]
    model = zoo.create("ddpm", shape=(3, 8, 8), variance="learned", network=network)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    state = theirs(model, **options)
    found = convert(Foreign({}, {"": state}), "guided_diffusion", options | {"size": 8})
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 1.0])
    with torch.no_grad():
        want, have = (m.eval().denoise_and_weigh(x, t) for m in (model, found))
    for a, b in zip(have, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    state["out.2.weight"], state["out.2.bias"] = torch.ones(4, 32, 3, 3), torch.ones(4)
    with pytest.raises(IntegrityError, match="3 channels has 4 outputs"):
        convert(Foreign({}, {"": state}), "guided_diffusion", options | {"size": 8})


def test_what_names_do_not_say_is_asked_for():
    model = zoo.create("ddpm", shape=(3, 8, 8), network=NET | {"head": 16})
    state = theirs(model, head=16)
    with pytest.raises(IntegrityError, match="does not say how channels divide") as caught:
        convert(Foreign({}, {"": state}), "guided_diffusion", {"size": 8})
    assert "num_head_channels" in caught.value.hint
    with pytest.raises(IntegrityError, match="1 tensors do not map"):
        guided_unet(state | {"input_blocks.1.0.extra.weight": torch.ones(1)}, head=16)
