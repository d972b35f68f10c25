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
# docs/kernels.md states these: noise and the steps made of it, equal on every unit; multiply-add
# chains, equal wherever they are fused. Sums over a row go by lanes, so their bits differ.
EVERYWHERE = ("rng_bits", "rng_uniform", "rng_normal", "denoise_step", "denoise_limit")
WHERE_FUSED = (
    "masked_conv", "masked_conv_backward", "spline_backward", "coupling_backward",
    "mixture_backward", "pixelcnn_sample",
)  # fmt: skip


def calls(spec):
    for case in spec.cases:
        for dtype in spec.tolerances:
            if spec.cpp.verify(*testing.arguments(case, dtype))[0]:
                yield case, dtype


@pytest.mark.parametrize("unit", NARROWER)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_narrower_unit_keeps_the_law(spec, law, unit):
    with _extension.vector_unit(unit), zoo_kernels.backend("cpp"):
        for case, dtype in calls(spec):
            law(spec, case, dtype)


def outputs(spec, unit):
    with _extension.vector_unit(unit), zoo_kernels.backend("cpp"):
        made = [testing.run(spec, testing.arguments(*call)) for call in calls(spec)]
    return [out.nan_to_num(-77.0) for outs in made for out in outs]


@pytest.mark.parametrize(
    ("name", "unit"),
    [(n, u) for n in EVERYWHERE for u in NARROWER] + [(n, "avx2") for n in WHERE_FUSED],
)
def test_bits_do_not_depend_on_the_unit(name, unit):
    if unit == "avx2" and _extension.unit() == "baseline":
        pytest.skip("this machine has no AVX2")
    wide, narrow = outputs(SPECS[name], _extension.unit()), outputs(SPECS[name], unit)
    assert wide and all(torch.equal(a, b) for a, b in zip(wide, narrow, strict=True))


def test_a_cap_lasts_as_long_as_its_block():
    before = _extension.unit()
    with _extension.vector_unit("baseline") as unit:
        assert unit == _extension.unit() == "baseline"
        with _extension.vector_unit("avx512") as wider:
            assert wider == before
    assert _extension.unit() == before
    with pytest.raises(ValueError, match="'sse'; possible are baseline, avx2, avx512"):
        with _extension.vector_unit("sse"):
            pass


def test_the_environment_caps_the_unit():
    code = "from zoo_kernels import _extension; print(_extension.unit())"
    child = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"ZOO_VECTOR_UNIT": "baseline"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert child.stdout.strip() == "baseline"
