"""Every op, on every backend that runs here, keeps the laws of zoo_kernels.testing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _extension
from zoo_kernels.testing import LAWS, OP_LAWS, arguments

SPECS = zoo_kernels.ops()


def backends_here() -> list[str]:
    return ["triton"] if _dispatch.interpreted() else ["reference", "cpp"]


def supported(spec, case, dtype, backend) -> bool:
    args = arguments(case, dtype)
    return _dispatch.supports(backend, spec.impls, _dispatch.device_of(args), args)[0]


def calls():
    for spec in SPECS.values():
        for backend in backends_here():
            for case in spec.cases:
                for dtype in spec.tolerances:
                    if supported(spec, case, dtype, backend):
                        name = f"{spec.name}-{backend}-{case.name}-{str(dtype)[6:]}"
                        yield pytest.param(spec, backend, case, dtype, id=name)


def first_calls():
    seen = set()
    for param in calls():
        spec, backend, *_ = param.values
        if (spec.name, backend) not in seen:
            seen.add((spec.name, backend))
            yield param


def laws_of_calls():
    """All laws of all calls; the interpreter is slow, so past an op's first case it runs the other
    laws in the slow tier only."""
    first = {param.id for param in first_calls()}
    for param in calls():
        for law in LAWS:
            later = param.id not in first and law is not LAWS[0]
            marks = [pytest.mark.slow] if later and _dispatch.interpreted() else []
            yield pytest.param(law, *param.values, id=f"{law.__name__}-{param.id}", marks=marks)


@pytest.mark.parametrize(("law", "spec", "backend", "case", "dtype"), list(laws_of_calls()))
def test_law(law, spec, backend, case, dtype):
    with zoo_kernels.backend(backend):
        law(spec, case, dtype)


@pytest.mark.parametrize("law", OP_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(("spec", "backend", "case", "dtype"), list(first_calls()))
def test_op_law(law, spec, backend, case, dtype):
    with zoo_kernels.backend(backend):
        law(spec, case, dtype)


def test_the_compiled_kernels_are_here():
    ok, reason = _extension.load()
    if not ok:
        pytest.skip(f"no C++ kernel was tested: {reason}")
    assert {name for name, spec in SPECS.items() if spec.cpp} <= {
        row.op for row in zoo_kernels.backends() if row.backend == "cpp" and row.supported
    }


@pytest.mark.skipif(_dispatch.interpreted(), reason="this is the interpreting process")
@pytest.mark.parametrize("tier", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_triton_kernels_keep_the_laws_under_the_interpreter(tier):
    """One child process: TRITON_INTERPRET is read when a kernel is decorated."""
    pytest.importorskip("triton")
    folder = Path(__file__).parent
    files = [str(p) for p in sorted(folder.glob("test_*.py")) if p.stem != "test_dispatch"]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", tier, *files],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stdout[-6000:] + child.stderr[-2000:]
    assert " passed" in child.stdout


def test_every_op_states_its_dtypes_and_cases():
    for spec in SPECS.values():
        assert spec.cases and spec.tolerances, spec.name
        assert all(isinstance(dtype, torch.dtype) for dtype in spec.tolerances)
