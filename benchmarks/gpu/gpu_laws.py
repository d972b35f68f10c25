"""The laws of zoo_kernels.testing with arguments on the device, opcheck, and the noise's bits."""

from typing import Any

import torch
from timing import move

import zoo_kernels
from zoo_kernels import testing
from zoo_kernels._examples import Case
from zoo_kernels._spec import OpSpec

LAWS = (
    testing.values_match_the_float64_reference,
    testing.two_runs_give_equal_bits,
    testing.strides_do_not_matter,
    testing.a_row_does_not_depend_on_its_batch,
    testing.nan_stays_in_its_row,
    testing.gradients_match_the_float64_reference,
    testing.opcheck_passes,
)
PIXELS = "pixelcnn_sample"  # TF32 products: gpu_sampler.py says what may differ there
ON_CPU = ("rng_bits", "rng_uniform", "rng_normal", "denoise_step")


def on(device: str, case: Case) -> Case:
    return Case(case.name, lambda g, dtype: move(case.make(g, dtype), device), case.rows)


def keeps(law: Any, spec: OpSpec, case: Case, dtype: torch.dtype) -> dict[str, Any]:
    with zoo_kernels.backend("triton"):
        law(spec, case, dtype)
    return {"ok": True}


def bits_of_the_cpu(spec: OpSpec, device: str) -> dict[str, Any]:
    """How many elements have the bits of the reference on the CPU: all, for noise."""
    equal = total = 0
    for case in spec.cases:
        args = testing.arguments(case, torch.float32)
        expected = testing.call(spec.reference, spec, args)
        with zoo_kernels.backend("triton"):
            got = testing.run(spec, move(args, device))
        for a, b in zip(got, expected, strict=True):
            equal += int((a.cpu() == b).sum())
            total += b.numel()
    if spec.name.startswith("rng") and equal < total:
        raise AssertionError(f"{total - equal} of {total} elements have other bits than the CPU's")
    return {"equal": equal, "of": total}


def run(results: Any) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    specs = {n: s for n, s in zoo_kernels.ops().items() if s.triton and n != PIXELS}
    for name, spec in specs.items():
        cases = spec.cases[:1] if results.tiny else spec.cases
        laws = LAWS[:1] if results.tiny else LAWS
        for case in cases:
            for dtype in spec.tolerances:
                args = testing.arguments(case, dtype)
                if not spec.triton.verify(*args)[0]:
                    continue
                for law in laws:
                    key = f"{name} {case.name} {str(dtype)[6:]} {law.__name__}"
                    moved = on(results.device, case)
                    results.each(key, lambda l=law, s=spec, c=moved, d=dtype: keeps(l, s, c, d))
    for name in ON_CPU:
        results.each(
            f"{name} bits of the CPU", lambda s=specs[name]: bits_of_the_cpu(s, results.device)
        )
