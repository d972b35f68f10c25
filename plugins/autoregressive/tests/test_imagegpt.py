"""ImageGPT: the reference's logits, the palette, and what a checkpoint must hold."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import zoo_core as zoo
from zoo_autoregressive import ImageGPT, ImageGPTConfig
from zoo_autoregressive.convert import FromImageGPT
from zoo_core.errors import IntegrityError
from zoo_core.plugin import Condition, Foreign, Transformer, TransformerConfig
from zoo_core.weights.detect_format import detect_converter

TINY = TransformerConfig(hidden=8, layers=1, heads=2, norm="rms", activation="quick_gelu")
REFERENCE = {"vocab_size": 17, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}
PALETTE = torch.rand(16, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
_COUNTERPARTS = (
    ("network.embedding", "transformer.wte"),
    ("network.positions", "transformer.wpe"),
    ("network.blocks", "transformer.h"),
    ("network.norm", "transformer.ln_f"),
    ("network.head", "lm_head"),
    ("norm_", "ln_"),
    ("qkv", "attn.c_attn"),
    ("out", "attn.c_proj"),
    ("feedforward.up", "mlp.c_fc"),
    ("feedforward.down", "mlp.c_proj"),
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ImageGPT(ImageGPTConfig(size=4, colours=16, network=TINY)).eval()


def checkpoint(model):
    """The model's tensors as transformers writes them, with the mask of old files."""
    found = {"transformer.h.0.attn.bias": torch.ones(1, 1, 16, 16, dtype=torch.bool)}
    for name, tensor in model.network.state_dict().items():
        name = f"network.{name}"
        for ours, theirs in _COUNTERPARTS:
            name = name.replace(ours, theirs)
        transposed = ".c_" in name and name.endswith(".weight")
        found[name] = (tensor.T if transposed else tensor).contiguous()
    return found


def configs(**changes):
    clusters = {"clusters": PALETTE.tolist(), "do_normalize": True}
    return {"config.json": {**REFERENCE, **changes}, "preprocessor_config.json": clusters}


def test_logits_are_those_of_transformers():
    shared = os.environ.get("ZOO_SHARED")
    path = Path(shared or ".") / "anchors" / "golden" / "imagegpt.safetensors"
    if not shared or not path.exists():
        print("\nZOO_SHARED has no anchors: ImageGPT was not compared with transformers.")
        pytest.skip("no golden tensors in ZOO_SHARED")
    with safe_open(path, "pt") as f:
        config = json.loads(f.metadata()["config"])
        golden = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    tensors = {k.removeprefix("sd."): v for k, v in golden.items() if k.startswith("sd.")}
    converted = FromImageGPT()(Foreign({**configs(), "config.json": config}, {"": tensors}))
    model = zoo.create("imagegpt", **converted.options).eval()
    model.load_state_dict(converted.tensors)
    tokens = golden["in.tokens"]
    with torch.no_grad():
        logits, cache = model.logits(tokens), model.init_cache(len(tokens))
        steps = [model.decode_step(tokens, i, cache)[0] for i in range(16)]
    assert torch.allclose(logits, golden["out.logits"], atol=1e-4)
    assert torch.allclose(torch.stack(steps, 1), golden["out.logits"], atol=1e-4)


def test_a_checkpoint_of_transformers_loads_with_its_palette(model, tmp_path):
    folder = tmp_path / "imagegpt"
    folder.mkdir()
    save_file(checkpoint(model), folder / "model.safetensors")
    for name, values in configs(architectures=["ImageGPTForCausalImageModeling"]).items():
        (folder / name).write_text(json.dumps(values))
    assert detect_converter(folder) == "transformers_imagegpt"
    loaded, x = zoo.load(str(folder)), torch.arange(16)[None]
    assert torch.equal(loaded.logits(x), model.logits(x))
    assert torch.allclose(loaded.palette, PALETTE)


def test_its_numbers_are_nats_of_the_palette_and_never_bits_of_rgb(model):
    x = model.sample(3, seed=0)
    scores = model.log_likelihood(x)
    assert scores.kind.name == "exact" and str(scores.event) == "16 tokens 0..15"
    with pytest.raises(zoo.ZooError):
        scores.bits_per_dim()


def test_pictures_have_the_palettes_colours_and_give_the_events_back(model):
    model.palette.copy_(PALETTE)
    x = torch.randint(16, (3, 16), generator=torch.Generator().manual_seed(1))
    pictures = model.to_rgb(x)
    assert pictures.shape == (3, 3, 4, 4) and pictures.dtype == torch.uint8
    first = ((PALETTE[x[0, 5]] + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(pictures[0, :, 1, 1], first)
    assert torch.equal(model.from_rgb(pictures), x)


def test_weights_are_saved_with_the_palette(model, tmp_path):
    model.palette.copy_(PALETTE)
    again = zoo.load(str(model.save(tmp_path / "m")))
    assert torch.equal(again.palette, PALETTE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "relu"}, "activation_function = 'relu' has no counterpart"),
        ({"n_positions": 15}, "no square"),
        ({"scale_attn_weights": False}, "scale_attn_weights = False"),
        ({"rope_theta": 1.0}, "rope_theta = 1.0"),
        ({"vocab_size": 18}, "expected 17 colours"),
    ],
)
def test_a_checkpoint_that_would_give_another_model_is_refused(model, changes, message):
    with pytest.raises(IntegrityError, match=message):
        FromImageGPT()(Foreign(configs(**changes), {"": checkpoint(model)}))


def test_a_checkpoint_without_its_palette_is_refused(model):
    only = {"config.json": REFERENCE}
    with pytest.raises(IntegrityError, match="lacks preprocessor_config.json"):
        FromImageGPT()(Foreign(only, {"": checkpoint(model)}))


def test_the_default_is_the_small_model_of_77_million_parameters():
    config, sizes = ImageGPTConfig(), {"vocabulary": 513, "length": 1024, "outputs": 512}
    assert replace(TINY, hidden=512, layers=24, heads=8) == config.network
    with torch.device("meta"):
        network = Transformer(config.network, condition=Condition(), **sizes)
    assert sum(p.numel() for p in network.parameters()) == 76_682_240
