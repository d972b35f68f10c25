"""The table of compiled Triton variants is the present sources' and within budget."""

import json
import runpy
from pathlib import Path

import pytest

from zoo_kernels import _dispatch

pytestmark = pytest.mark.skipif(_dispatch.interpreted(), reason="nothing is compiled here")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def aot():
    return runpy.run_path(str(BENCHMARKS / "aot.py"))


def test_every_variant_is_in_the_table_and_within_budget(aot):
    table = json.loads((BENCHMARKS / "aot_table.json").read_text())
    for name, variant in aot["variants"]():
        for arch in aot["ARCHS"]:
            row = table.get(f"{name} sm_{arch}")
            assert row, f"{name} sm_{arch} is not in the table: python benchmarks/aot.py"
            assert row["source"] == aot["source_hash"](variant), (
                f"{name} has changed since it was compiled: python benchmarks/aot.py"
            )
            assert not aot["breaches"](variant, row), (name, arch, row)


@pytest.mark.slow
def test_a_variant_still_compiles_to_what_the_table_says(aot):
    pytest.importorskip("triton")
    table = json.loads((BENCHMARKS / "aot_table.json").read_text())
    name, variant = next((n, v) for n, v in aot["variants"]() if v.deterministic)
    row = aot["resources"](aot["compile_variant"](variant, 90))
    assert row == {k: v for k, v in table[f"{name} sm_90"].items() if k != "source"}


def test_the_samplers_variants_are_those_it_launches():
    pytest.importorskip("triton")
    from zoo_kernels.pixelcnn_sampler import OPS, _triton

    for variant in OPS[0].variants:
        c = variant.constexprs
        assert c["BM"] == _triton.tile_rows(c["P"], c["COND"])
        assert c["BT"] == _triton.BT and c["P"] == _triton.head_width(c["P"])
