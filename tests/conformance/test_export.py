"""Functions of models under torch.compile, and as programs of torch.export and ONNX."""

import jaxtyping
import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.modes import evaluating
from zoo_core.testing.subjects import ModelSubject
from zoo_core.workflows.export import any_batch, example_inputs, function_of, write_program

CALLED = {"Density", "Denoiser", "Generator"}
SUBJECTS = {
    e.spec.arch: ModelSubject(e.spec, e.plugin, current())
    for e in current().models
    if CALLED & set(e.spec.capabilities)
}
RECURRENT = {"diagonal_bilstm"}
"""Its loops are over positions that it counts from values."""
QUICK = {"made", "realnvp"}
"""The others are slow."""


@pytest.fixture(autouse=True)
def shapes_unchecked():
    """Tracers would follow the checks of shapes (tests/shapes.py) into the checker."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def archs(*without):
    names = sorted(SUBJECTS.keys() - set(*without))
    return [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in names]


def subject_of(arch, batch):
    """A tiny model, and inputs of its function: real events, and a draw where reals go in."""
    subject = SUBJECTS[arch]
    model = subject.model().eval()
    x, *rest = example_inputs(model, batch)
    if function_of(model) == "log_prob":
        x = subject.events(batch).to(x.dtype)
    else:
        x = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return model, (x, *rest)


def value(model, inputs):
    with evaluating(model):
        return model(*inputs)


@pytest.mark.parametrize("arch", archs(RECURRENT))
def test_a_function_compiles_without_a_graph_break_and_keeps_its_values(arch):
    model, inputs = subject_of(arch, 3)
    torch._dynamo.reset()
    function = torch.compile(getattr(model, function_of(model)), fullgraph=True, backend="eager")
    with evaluating(model):
        found = function(*inputs)
    torch.testing.assert_close(found, value(model, inputs))


@pytest.mark.parametrize("arch", archs(RECURRENT))
def test_a_program_is_plain_torch_and_gives_the_same_numbers(arch):
    model, inputs = subject_of(arch, 2)
    program = zoo.export(model)
    ops = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert not [op for op in ops if op.startswith("zoo")]
    torch.testing.assert_close(program.module()(*inputs), value(model, inputs))
    if any_batch(program):
        _, others = subject_of(arch, 5)
        torch.testing.assert_close(program.module()(*others), value(model, others))


@pytest.mark.slow
@pytest.mark.parametrize("arch", archs(RECURRENT))
def test_a_program_in_onnx_gives_the_same_numbers(arch, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model, inputs = subject_of(arch, 2)
    write_program(model, tmp_path / "m.onnx")
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"))
    given = [t.numpy() for t in inputs if t is not None]
    names = [node.name for node in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, given, strict=True)))
    torch.testing.assert_close(torch.as_tensor(found), value(model, inputs), rtol=1e-4, atol=1e-5)


def test_a_written_program_is_loaded_without_the_zoo(tmp_path):
    model, inputs = subject_of("realnvp", 4)
    write_program(model, tmp_path / "m.pt2")
    program = torch.export.load(tmp_path / "m.pt2")
    torch.testing.assert_close(program.module()(*inputs), value(model, inputs))


def test_a_model_without_a_function_and_one_that_cannot_be_traced_say_so():
    entry = next(e for e in current().models if e.spec.arch == "vae")
    with pytest.raises(zoo.NoCapabilityError, match="has none of log_prob, denoise, generate"):
        zoo.export(ModelSubject(entry.spec, entry.plugin, current()).model())
    model, _ = subject_of("diagonal_bilstm", 2)
    with pytest.raises(zoo.NoCapabilityError, match=r"cannot be traced by torch.export"):
        zoo.export(model)
