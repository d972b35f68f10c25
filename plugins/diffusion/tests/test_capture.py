"""A sampling loop never makes the host wait for the device: so a CUDA graph can hold it whole.

On the `meta` device nothing can be read back: every `item()`, `cpu()`, `nonzero()` or branch on a
value raises. What is copied to the device, which a graph cannot hold either, is watched for.
"""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import zoo_core as zoo
from zoo_diffusion.samplers import (
    DDIM,
    Ancestral,
    DPMpp2M,
    DPMpp3M,
    DPMppSDE,
    EulerAncestral,
    Heun,
    UniPC,
)
from zoo_diffusion.samplers.loop import GuidanceAndClipping, Outputs, sample_prior, trajectory

MLP = {"type": "mlp", "hidden": 16, "layers": 1}
UNET = {"type": "unet", "channels": [8, 8], "down": ["plain", "attention"], "layers": 1}
NCSN = {
    "type": "unet",
    "channels": [32, 32],
    "down": ["skip", "attention_skip"],
    "layers": 1,
    "time": "fourier",
    "groups": None,
}
IMAGES = {"shape": (1, 8, 8), "levels": 5}
MODELS = {
    "ddpm": ("ddpm", {"network": MLP, "classes": 3}),
    "ddpm unet": ("ddpm", IMAGES | {"network": UNET | {"groups": 4}}),
    "vp_sde": ("vp_sde", {"network": MLP, "prediction": "score"}),
    "ve_sde ncsnpp": ("ve_sde", IMAGES | {"network": NCSN}),
    "edm": ("edm", {"network": MLP, "fourier": (0, 1)}),
    "vdm": ("vdm", {"network": MLP, "schedule": "learned"}),
    "vdm linear": ("vdm", {"network": MLP, "schedule": "linear"}),
}
SAMPLERS = {
    "ancestral": Ancestral(steps=3),
    "ddim": DDIM(steps=3),
    "ddim noise": DDIM(steps=3, eta=1.0),
    "heun": Heun(steps=2),
    "heun churn": Heun(steps=2, churn=2.0, churn_min=0.0, churn_max=1e9),
    "dpmpp_2m": DPMpp2M(steps=3),
    "dpmpp_3m": DPMpp3M(steps=4),
    "dpmpp_sde": DPMppSDE(steps=3),
    "euler_ancestral": EulerAncestral(steps=3),
    "unipc": UniPC(steps=4),
}
MAKERS = (torch.tensor, torch.as_tensor, torch.from_numpy, torch.asarray)


class NothingMade(TorchFunctionMode):
    """Refuses tensors made of the host's numbers, which are copied to the device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in MAKERS:
            raise AssertionError(f"{func.__name__}{args} is copied to the device")
        return func(*args, **(kwargs or {}))


class NothingCrosses(TorchDispatchMode):
    """Refuses ops with tensors of several devices, and copies from one to another."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        flat = [*args, *(kwargs or {}).values(), *(out if isinstance(out, tuple) else (out,))]
        places = {t.device.type for t in flat if isinstance(t, torch.Tensor)}
        if places - {"meta"}:
            raise AssertionError(f"{func} has tensors on {', '.join(sorted(places))}")
        return out


def on_meta(name, sampler, n=3):
    """The loop's arguments on the meta device; the table is made where numbers can be read."""
    arch, options = MODELS[name]
    torch.manual_seed(0)
    model = zoo.create(arch, **options).eval()
    meta = torch.device("meta")
    table = sampler.table(model).to(meta)
    cond = torch.zeros(n, dtype=torch.long, device=meta) if model.condition.classes else None
    return deepcopy(model).to(meta), zoo.Rng(0, n).to(meta), cond, table


def drawn(model, rng, cond, table, options):
    """The arguments of `trajectory` for a draw from the prior."""
    x = sample_prior(model, rng, table.std)
    return Outputs(model, rng, cond, options), x, table, rng


def whole(*arguments):
    return [*trajectory(*drawn(*arguments))][-1]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", MODELS)
def test_no_step_waits_for_the_device(name, sampler):
    model, rng, cond, table = on_meta(name, SAMPLERS[sampler])
    options = GuidanceAndClipping(guidance_scale=1.0 if cond is None else 2.0)
    with torch.no_grad(), NothingMade(), NothingCrosses():
        states = list(trajectory(*drawn(model, rng, cond, table, options)))
    assert len(states) == len(table.coefficients) and states[-1].shape == (3, *model.event.shape)


@pytest.mark.parametrize("option", [{"dynamic_thresholding_ratio": 0.9}, {"clip_denoised": False}])
def test_bounds_of_x_0_do_not_wait_either(option):
    arguments, options = on_meta("ddpm unet", DDIM(steps=3)), GuidanceAndClipping(**option)
    with torch.no_grad(), NothingMade(), NothingCrosses():
        list(trajectory(*drawn(*arguments, options)))


def test_the_watch_sees_what_it_is_for():
    x = torch.zeros(2, device="meta")
    for waits in (lambda: x[0].item(), lambda: x.cpu(), lambda: x.nonzero(), lambda: x[x > 0]):
        with pytest.raises((RuntimeError, NotImplementedError)):
            waits()
    with NothingMade(), pytest.raises(AssertionError, match="is copied"):
        torch.tensor([1.0], device="meta")
    with NothingCrosses(), pytest.raises(AssertionError, match="cpu"):
        torch.zeros(2).to("meta")


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_cuda_graph_holds_the_whole_loop(name):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    arch, options = MODELS[name]
    torch.manual_seed(0)
    model = zoo.create(arch, **options).eval().to("cuda")
    rng, cond = zoo.Rng(0, 3).to("cuda"), None
    if model.condition.classes:
        cond = torch.zeros(3, dtype=torch.long, device="cuda")
    for sampler in SAMPLERS.values():
        table = sampler.table(model).to(torch.device("cuda"))
        loop = partial(whole, model, rng, cond, table, GuidanceAndClipping())
        with torch.no_grad():
            expected, captured = called_and_replayed(loop)
        assert torch.allclose(captured, expected, rtol=1e-4, atol=1e-4), sampler


def called_and_replayed(call):
    """What a call gives, and what the replay of a graph of it gives."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # kernels are compiled before the capture
        expected = call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call()
    graph.replay()
    torch.cuda.synchronize()
    return expected, captured
