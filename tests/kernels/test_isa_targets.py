"""AVX2 and baseline code of the C++ kernels keeps the laws, and some bits, of AVX-512."""

import os
import subprocess
import sys

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _extension, testing

pytestmark = pytest.mark.skipif(
    _dispatch.interpreted() or not _extension.load()[0], reason="no C++ kernel runs here"
)
SPECS = {name: spec for name, spec in zoo_kernels.ops().items() if spec.cpp}
NARROWER = ["avx2", "baseline"]
LAWS = (
    testing.values_match_the_float64_reference,
    testing.gradients_match_the_float64_reference,
    testing.a_row_does_not_depend_on_its_batch,
)
# The guide to kernels states these: noise and the steps made of it, equal on every target;
# multiply-add chains, equal wherever they are fused. Sums over a row go by lanes, so their bits
# differ.
EVERYWHERE = ("rng_bits", "rng_uniform", "rng_normal", "denoise_step", "denoise_dynamic_threshold")
WHERE_FUSED = (
    "masked_conv", "masked_conv_backward", "spline_backward", "coupling_backward",
    "mixture_backward", "pixelcnn_sample",
)  # fmt: skip


def calls(spec):
    for case in spec.cases:
        for dtype in spec.tolerances:
            if spec.cpp.verify(*testing.arguments(case, dtype))[0]:
                yield case, dtype


@pytest.mark.parametrize("target", NARROWER)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_narrower_target_keeps_the_law(spec, law, target):
    with _extension.cap_isa_target(target), zoo_kernels.backend("cpp"):
        for case, dtype in calls(spec):
            law(spec, case, dtype)


def outputs(spec, target):
    with _extension.cap_isa_target(target), zoo_kernels.backend("cpp"):
        made = [testing.run(spec, testing.arguments(*call)) for call in calls(spec)]
    return [out.nan_to_num(-77.0) for outs in made for out in outs]


@pytest.mark.parametrize(
    ("name", "target"),
    [(n, u) for n in EVERYWHERE for u in NARROWER] + [(n, "avx2") for n in WHERE_FUSED],
)
def test_bits_do_not_depend_on_the_target(name, target):
    if target == "avx2" and _extension.isa_target() == "baseline":
        pytest.skip("this machine has no AVX2")
    wide, narrow = outputs(SPECS[name], _extension.isa_target()), outputs(SPECS[name], target)
    assert wide and all(torch.equal(a, b) for a, b in zip(wide, narrow, strict=True))


def test_a_cap_lasts_as_long_as_its_block():
    before = _extension.isa_target()
    with _extension.cap_isa_target("baseline") as target:
        assert target == _extension.isa_target() == "baseline"
        with _extension.cap_isa_target("avx512") as wider:
            assert wider == before
    assert _extension.isa_target() == before
    with pytest.raises(ValueError, match="'sse'; possible are baseline, avx2, avx512"):
        with _extension.cap_isa_target("sse"):
            pass


@pytest.mark.parametrize("variable", ["ZOO_ISA_TARGET", "ZOO_VECTOR_UNIT"])
def test_the_environment_caps_the_target(variable):
    """The second is the name in version 0.1, which warns."""
    code = "from zoo_kernels import _extension; print(_extension.isa_target())"
    child = subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        env=os.environ | {variable: "baseline"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == "baseline"
    assert ("is now ZOO_ISA_TARGET" in child.stderr) == (variable == "ZOO_VECTOR_UNIT")
