"""Networks under the names of score_sde, with their moving averages, come back."""

import pytest
import torch

import zoo_core as zoo
from zoo_core.building import convert
from zoo_core.errors import IntegrityError
from zoo_core.weights.third_party import Foreign

DDPMPP = {"type": "song_unet", "width": 8, "multipliers": (1, 2, 2), "blocks": 2}
DDPMPP |= {"attention": (4,)}
NCSNPP = DDPMPP | {"encoder": "residual", "filter": "fir"}
FORMS = {
    "ve": NCSNPP | {"embedding": "fourier", "noise_multiplier": 2},
    "vp": DDPMPP,
    "vp_ncsnpp": NCSNPP,
}
RESNET = {
    "norm1": "GroupNorm_0",
    "conv1": "Conv_0",
    "time_emb_proj": "Dense_0",
    "norm2": "GroupNorm_1",
    "conv2": "Conv_1",
    "conv_shortcut": "Conv_2",
}
ATTENTION = {
    "group_norm": "GroupNorm_0",
    "to_q": "NIN_0",
    "to_k": "NIN_1",
    "to_v": "NIN_2",
    "to_out.0": "NIN_3",
}


def model(form):
    made = zoo.create(
        "edm",
        shape=(3, 8, 8),
        levels=256,
        preconditioning=form[:2],
        time_scale=1.0,
        network=FORMS[form],
    )
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return made.eval()


def modules(net):
    """The modules in the order in which score_sde lists them."""
    if list(net.time_proj.buffers()):
        yield net.time_proj
    yield from (net.time_embedding.linear_1, net.time_embedding.linear_2, net.conv_in)
    blocks = []
    for down in net.down_blocks:
        blocks += [part for part in (down.down, down.residual) if part is not None]
        blocks += down.blocks
    blocks += net.mid_block.blocks
    for up in net.up_blocks:
        blocks += ([] if up.up is None else [up.up]) + list(up.blocks)
    for block in blocks:
        yield getattr(block, "resnet", block)
        if getattr(block, "attention", None) is not None:
            yield block.attention
    yield from (net.conv_norm_out, net.conv_out)


def theirs(net):
    """The parameters by name, in the order of the original's parameters."""
    found = {}
    for i, module in enumerate(modules(net)):
        own, kind = module.state_dict(), type(module).__name__
        if kind == "RandomFourierFeatures":
            found[f"all_modules.{i}.W"] = own["weight"]
            continue
        known = {"ResnetBlock": RESNET, "Attention": ATTENTION}.get(kind, {})
        for layer in known or ["conv" if kind == "Residual" else ""]:
            for what in ("weight", "bias"):
                tensor = own.get(f"{layer}.{what}".lstrip("."))
                if tensor is None:
                    continue
                name = known.get(layer, "Conv2d_0" if layer else "")
                if name.startswith("NIN"):
                    tensor, what = (tensor.T, "W") if what == "weight" else (tensor, "b")  # noqa: PLW2901
                found[".".join(filter(None, (f"all_modules.{i}", name, what)))] = tensor
    return found


def checkpoint(network, averaged):
    """The whole of a training: the network, an optimizer, averages without names."""
    held = {f"model.module.{k}": v for k, v in network.items()}
    held |= {"model.module.sigmas": torch.ones(5)}
    shadows = [v for k, v in averaged.items() if not k.endswith(".W") or "NIN" in k]
    held |= {f"ema.shadow_params.{i}": tensor for i, tensor in enumerate(shadows)}
    return Foreign({}, {"": held | {"optimizer.state.0.exp_avg": torch.ones(2)}})


@pytest.mark.parametrize("form", FORMS)
def test_a_training_gives_the_model_of_its_moving_average(form):
    want = model(form)
    averaged = theirs(want.network)
    network = {k: v if k == "all_modules.0.W" else v + 1 for k, v in averaged.items()}
    whole, options = checkpoint(network, averaged), {"sde": form[:2], "size": 8}
    found = convert(whole, "score_sde", options)
    assert found.config.network == want.config.network
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor([0.05, 20.0]).view(2, 1, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(
            found.denoise_at(x, sigma), want.denoise_at(x, sigma), rtol=1e-4, atol=1e-4
        )
    raw = convert(whole, "score_sde", options | {"weights": "model"})
    assert torch.equal(raw.network.conv_in.bias, want.network.conv_in.bias + 1)


def test_what_does_not_fit_is_refused():
    network = theirs(model("vp").network)
    options = {"sde": "vp", "size": 8}
    with pytest.raises(IntegrityError, match="has 1 tensors and the network"):
        convert(checkpoint(network, {"x": torch.ones(1)}), "score_sde", options)
    turned = dict(reversed(network.items()))
    with pytest.raises(IntegrityError, match="tensor 0 of its moving average is"):
        convert(checkpoint(network, turned), "score_sde", options)
    with pytest.raises(IntegrityError, match="extra is of no module"):
        convert(checkpoint(network | {"extra": torch.ones(1)}, network), "score_sde", options)
    last = f"all_modules.{1 + max(int(n.split('.')[1]) for n in network)}"
    longer = network | {f"{last}.weight": torch.ones(1)}
    with pytest.raises(IntegrityError, match="of this form"):
        convert(checkpoint(longer, longer), "score_sde", options)
