"""Fifty DDIM steps of a 32x32 U-Net: our sampler against diffusers' pipeline, the weights shared.

The network is google/ddpm-cifar10-32's, with fresh parameters that diffusers draws; ours are
converted from them, so that both do the same work. Contestants: the pipeline as shipped and with
its network compiled (CUDA graphs), ours as shipped and with its network compiled. Needs diffusers
and density-zoo-diffusion; the row says which is missing.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NETWORK = {
    "sample_size": 32, "block_out_channels": (128, 256, 256, 256), "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
}  # fmt: skip
SMALL = {
    "sample_size": 8, "block_out_channels": (32, 32), "layers_per_block": 1,
    "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2,
    "norm_num_groups": 8, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
}  # fmt: skip
FAR = 1e-2
"""Denoised events further apart than this, of values in [-1, 1], are not timed."""


def pipeline(network: dict[str, Any], device: str) -> Any:
    import diffusers

    torch.manual_seed(0)
    diffusers.utils.logging.set_verbosity_error()
    unet = diffusers.UNet2DModel(**network).to(device).eval()
    made = diffusers.DDIMPipeline(unet, diffusers.DDIMScheduler(clip_sample=True))
    made.set_progress_bar_config(disable=True)
    return made


def converted(theirs: Any) -> Any:
    """Our model of the pipeline's parameters."""
    import diffusers

    from zoo_core.building import convert
    from zoo_core.weights import third_party

    with tempfile.TemporaryDirectory() as folder:
        theirs.unet.save_pretrained(folder)
        diffusers.DDPMScheduler(variance_type="fixed_large").save_config(folder)
        model = convert(third_party.read(Path(folder)), "diffusers_ddpm", {})
    return model.to(theirs.unet.device)


def networks_agree(theirs: Any, model: Any) -> float:
    """Largest difference of the two predictions of the noise on the same input."""
    size = theirs.unet.config.sample_size
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    x = x.to(theirs.unet.device)
    step = torch.full((2,), 500, device=x.device)
    with torch.no_grad():
        wanted: Tensor = theirs.unet(x, step).sample
        return float((wanted - model.predict(x, (step + 1) / model.timesteps)).abs().max())


def milliseconds(f: Callable[[], Any], device: str, times: int) -> float:
    """The least of some calls, each waited for."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        f()
        if device == "cuda":
            torch.cuda.synchronize()
        took.append((time.perf_counter() - start) * 1e3)
    return min(took)


def row(batch: int, results: Any) -> dict[str, Any]:
    device, steps = results.device, 2 if results.tiny else 50
    try:
        theirs = pipeline(SMALL if results.tiny else NETWORK, device)
        model = converted(theirs)
    except ImportError as error:
        return {"left_out": f"{error}"[:200]}
    apart = networks_agree(theirs, model)
    if not apart <= FAR:
        raise AssertionError(f"the two networks are {apart} apart: not timed")
    ours = partial(model.sample, batch, sampler="ddim", steps=steps, clipped_epsilon=False)
    plain = partial(theirs, batch_size=batch, num_inference_steps=steps, output_type="np")
    times = 1 if results.tiny else 5
    made: dict[str, Any] = {"distance": apart, "steps": steps, "ms": {}, "left_out": {}}
    made["ms"]["ours"] = milliseconds(ours, device, 1 + times)
    made["ms"]["diffusers"] = milliseconds(plain, device, 1 + times)
    if not results.tiny:
        theirs.unet = torch.compile(theirs.unet, mode="reduce-overhead", fullgraph=True)
        model.network = torch.compile(model.network, mode="reduce-overhead")
        for name, f in (("diffusers compiled", plain), ("ours compiled", ours)):
            try:
                made["ms"][name] = milliseconds(f, device, 3 + times)
            except Exception as error:
                made["left_out"][name] = f"{type(error).__name__}: {error}"[:200]
    fastest = made["ms"]["ours"]
    return made | {"ratio": {name: ms / fastest for name, ms in made["ms"].items()}}


def run(results: Any) -> None:
    for batch in (1,) if results.tiny else (1, 16, 64, 256):
        results.each(f"DDIM B={batch}", lambda b=batch: row(b, results))
