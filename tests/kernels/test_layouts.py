"""What several backends say in an order of their own, they say in the same one."""

import re

import pytest

import zoo_kernels
from zoo_kernels import build
from zoo_kernels.coupling import reference as coupling
from zoo_kernels.denoise import reference as denoise
from zoo_kernels.masked_conv import reference as masked_conv
from zoo_kernels.mixture_logistics import reference as mixture
from zoo_kernels.mlp_sampler import reference as mlp_sampler
from zoo_kernels.pixelcnn_sampler import _cpp as pixelcnn_cpp
from zoo_kernels.pixelcnn_sampler import reference as pixelcnn_sampler

MIXTURE = ("MEAN", "LOG_SCALE", "COEFFICIENT")
ARGUMENTS = {
    "denoise_step": denoise.StepArguments,
    "denoise_dynamic_threshold": denoise.ThresholdArguments,
    "masked_conv": masked_conv.ConvArguments,
    "masked_conv_backward": masked_conv.ConvBackwardArguments,
    "mlp_sample": mlp_sampler.MlpArguments,
    "pixelcnn_sample": pixelcnn_sampler.SampleArguments,
}


def enum(file, name):
    """{enumerator: value} of a C++ enum, which may give its last one a value."""
    source = (build.SOURCES / file).read_text()
    body = re.search(rf"enum {name} {{([^}}]*)}}", source)[1]
    values, following = {}, 0
    for entry in re.split(r",\s*", body.strip()):
        key, _, value = entry.partition(" = ")
        values[key] = int(value) if value else following
        following = values[key] + 1
    return values


@pytest.mark.parametrize("name", ARGUMENTS)
def test_named_arguments_are_in_the_order_of_the_schema(name):
    names = list(ARGUMENTS[name]._fields)
    assert names == [a.name for a in zoo_kernels.ops()[name].op._schema.arguments]
    values = list(range(len(names)))
    assert list(ARGUMENTS[name](*values)) == values


def test_the_columns_of_a_solvers_table_have_one_order_in_all_backends():
    wanted = {name: i for i, name in enumerate(denoise.COLUMN_NAMES)}
    wanted["COLUMNS"] = denoise.COLUMNS
    assert enum("denoise.h", "Column") == wanted
    assert {name: getattr(denoise, name) for name in wanted} == wanted
    triton = pytest.importorskip("zoo_kernels.denoise._triton")
    assert {name: getattr(triton, name).value for name in wanted} == wanted


def test_the_parameters_of_a_mixture_have_one_order_in_all_backends():
    wanted = {name: i for i, name in enumerate(MIXTURE)}
    assert enum("mixture.h", "Parameter") == wanted
    assert {name: getattr(mixture, name) for name in wanted} == wanted
    pytest.importorskip("triton")
    from zoo_kernels.mixture_logistics import _triton as of_pixels
    from zoo_kernels.pixelcnn_sampler import _triton as of_sampler

    for module in (of_pixels, of_sampler):
        assert {name: getattr(module, name).value for name in wanted} == wanted


def test_the_scales_of_a_coupling_have_one_order_in_all_backends():
    scales = {name.upper(): i for i, name in enumerate(coupling.SCALES)}
    assert enum("coupling.cpp", "ScaleKind") == scales
    triton = pytest.importorskip("zoo_kernels.coupling._triton")
    for name in ("SIGMOID", "TANH"):
        assert getattr(triton, name).value == scales[name]


def test_the_samplers_plan_and_heads_have_one_order_in_python_and_cpp():
    heads = {name.upper(): i for i, name in enumerate(pixelcnn_cpp.HEADS)}
    assert enum("pixelcnn_sampler.cpp", "Head") == heads
    plan = {name.upper(): i for i, name in enumerate((*pixelcnn_cpp.PLAN, "plan_entries"))}
    assert enum("pixelcnn_sampler.cpp", "PlanEntry") == plan


def test_the_isa_targets_have_one_numbering_in_python_and_cpp():
    targets = {name.upper(): n for name, n in zoo_kernels._extension.ISA_TARGETS.items()}
    assert enum("zoo.h", "IsaTarget") == targets
