"""What the kernels set out to reach on one CPU thread; report.py adds what was measured. The goals
of a model stand in its family's file, benchmarks/models/<family>.py."""

from dataclasses import dataclass

__all__ = ["GOALS", "Goal"]

SPLINE, SAMPLER = "64x1536 K=8", "64ch 1+8 layers 28x28"


@dataclass(frozen=True)
class Goal:
    """At least `times` the speed of `peer`, as shipped and at its best; `best` sets another number
    for the latter, 0 for none. `memory`: at most 1 / times of its saved bytes; `compiled`: the
    peer is meant by torch.compile only."""

    op: str
    case: str
    peer: str
    times: float
    memory: bool = False
    compiled: bool = False
    best: float | None = None


def _spline(name: str) -> tuple[Goal, ...]:
    both = f"{SPLINE} forward+backward"
    return (
        Goal(f"spline_{name}", SPLINE, "nflows", 17),
        Goal(f"spline_{name}", SPLINE, "zuko", 15),
        Goal(f"spline_{name}", SPLINE, "reference", 6, compiled=True),
        Goal(f"spline_{name}", both, "nflows", 13),
        Goal(f"spline_{name}", both, "reference", 5, compiled=True),
        Goal(f"spline_{name}", both, "nflows", 3, memory=True),
    )


GOALS = (
    Goal("pixelcnn_sample", f"{SAMPLER} B=1", "reference", 8),
    Goal("pixelcnn_sample", f"{SAMPLER} B=2", "reference", 8),
    Goal("pixelcnn_sample", f"{SAMPLER} B=16", "reference", 3),
    Goal("pixelcnn_sample", f"{SAMPLER} B=1", "full_forward_loop", 1000),
    Goal("pixelcnn_sample", f"{SAMPLER} B=2", "full_forward_loop", 1000),
    Goal("pixelcnn_sample", f"{SAMPLER} B=16", "full_forward_loop", 1000),
    *_spline("forward"),
    *_spline("inverse"),
    Goal("coupling_forward", "glow 64x12x32x32", "normflows", 5),
    Goal("coupling_inverse", "glow 64x12x32x32", "normflows", 5),
    Goal("denoise_step", "ddim 64x3x64x64", "diffusers", 4),
    Goal("denoise_step", "ddim_guided 64x3x64x64", "diffusers", 5),
    Goal("denoise_step", "ddpm 64x3x64x64", "diffusers", 2),
    Goal("masked_conv", "3x3B 16x64x28x28", "dense", 1),
    Goal("masked_conv", "5x5B 16x64x28x28", "dense", 1.35),
    Goal("masked_conv", "7x7A 16x64x28x28", "dense", 1.7),
)
