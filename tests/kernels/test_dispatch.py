"""Backends: forcing, reasons, the hint, poison, imports, derivatives of a small op."""

import os
import platform
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import zoo_kernels
from zoo_kernels import _dispatch, _extension, build, rng, testing
from zoo_kernels._alloc import alloc, poison
from zoo_kernels._examples import Case, Cost, Examples
from zoo_kernels._spec import Derivative, Impl, OpSpec

ROWS = torch.arange(3)
NO_TRITON = pytest.mark.skipif(_dispatch.interpreted(), reason="the interpreter serves triton")


def square_grad(grad, x):
    return 2 * grad * x


def square(x):
    return x * x


def small_case():
    def make(generator, dtype):
        return (torch.randn(5, generator=generator, dtype=torch.float64).to(dtype),)

    return Case("5", make)


def small_op(name, **options):
    """x^2 with a `cpp` stand-in that counts its calls and refuses float64."""
    calls = []

    def fast(x):
        calls.append(1)
        out = alloc(x.shape, like=x)
        return torch.mul(x, x, out=out)

    backward = OpSpec(
        name=f"test_{name}_backward", schema="(Tensor grad, Tensor x) -> Tensor",
        reference=square_grad, fake=lambda grad, x: torch.empty_like(x), tolerances={},
        examples=lambda: Examples((), lambda *a: Cost(0, 0)),
    )  # fmt: skip
    spec = OpSpec(
        name=f"test_{name}", schema="(Tensor x) -> Tensor", reference=square,
        fake=torch.empty_like, tolerances={torch.float32: (1e-6, 1e-6)},
        examples=lambda: Examples((small_case(),), lambda x: Cost(8 * x.numel(), x.numel())),
        cpp=Impl(fast, lambda x: (x.dtype == torch.float32, f"x is {x.dtype}, not float32")),
        derivative=Derivative(
            lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
            lambda ctx, grad: backward(grad, ctx.saved_tensors[0]),
        ), **options,
    )  # fmt: skip
    return spec, calls


@pytest.fixture
def with_library(monkeypatch):
    """The extension counts as loaded, whether it is or not."""
    monkeypatch.setattr(_extension, "available", lambda op="": (True, ""))


@pytest.fixture
def without_library(monkeypatch):
    monkeypatch.setattr(_extension, "available", lambda op="": (False, "C++ kernels are missing"))
    monkeypatch.setattr(_dispatch, "_hinted", False)
    monkeypatch.setattr(_dispatch, "_slow_seconds", 0.0)


def test_unforced_the_fast_backend_serves_where_it_can(with_library):
    spec, calls = small_op("unforced")
    spec(torch.ones(3)), spec(torch.ones(3).double())
    assert len(calls) == 1


def test_a_forced_backend_that_cannot_serve_says_why(with_library):
    spec, _ = small_op("forced")
    with zoo_kernels.backend("cpp"), pytest.raises(zoo_kernels.BackendError, match="float64"):
        spec(torch.ones(3).double())


@NO_TRITON
def test_a_forced_backend_that_is_missing_says_why():
    with (
        zoo_kernels.backend("triton"),
        pytest.raises(zoo_kernels.BackendError, match="TRITON_INTERPRET=1"),
    ):
        rng.bits(0, ROWS, 4, stream=0, step=0)


def test_forcing_works_inside_a_compiled_graph(with_library):
    spec, calls = small_op("compiled")
    compiled = torch.compile(lambda x: spec(x) + 1, fullgraph=True, backend="aot_eager")
    x = torch.ones(3)
    with zoo_kernels.backend("cpp"):
        compiled(x)
    with zoo_kernels.backend("reference"):
        compiled(x)
    assert len(calls) == 1


def test_the_dispatcher_is_skipped_where_it_would_do_nothing_more(with_library, monkeypatch):
    """The same result either way, and the op wherever a gradient, a mode or a profiler asks."""
    spec, _ = small_op("dispatched")
    seen = []
    monkeypatch.setattr(_dispatch, "run", record(seen, _dispatch.run))

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, f, types, args=(), kwargs=None):
            seen.append(str(f))
            return f(*args, **(kwargs or {}))

    x = torch.ones(3)
    assert torch.equal(spec(x), spec.op(x)) and seen == ["run", "run"]
    with Mode():
        spec(x)
    assert "test_dispatched" in seen[2]
    with torch.profiler.profile() as profile:
        spec(x)
    assert any("test_dispatched" in event.key for event in profile.key_averages())
    x.requires_grad_()
    assert torch.equal(torch.autograd.grad(spec(x).sum(), x)[0], torch.full((3,), 2.0))
    with torch.no_grad():
        assert not spec(x).requires_grad


def record(seen, f):
    def recorded(*args):
        seen.append("run")
        return f(*args)

    return recorded


def test_an_unknown_backend_is_refused_with_the_possible_ones():
    with (
        pytest.raises(ValueError, match="'cuda'.*reference, cpp, triton"),
        zoo_kernels.backend("cuda"),
    ):
        pass


def test_the_environment_forces_and_refuses():
    code = (
        "import torch; from zoo_kernels.rng import bits;"
        "bits(0, torch.arange(1), 1, stream=0, step=0)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    for name, message in {"triton": "was forced but cannot run", "fast": "possible are"}.items():
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment | {"ZOO_KERNELS": name},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert child.returncode == 1 and message in child.stderr


def test_the_table_gives_every_op_a_reason_or_service():
    rows = zoo_kernels.backends()
    assert {r.op for r in rows} == set(zoo_kernels.ops())
    assert all(r.supported or r.reason for r in rows)
    assert all(r.supported for r in rows if r.backend == "reference")


def test_the_hint_is_logged_once_and_only_when_slow(without_library, monkeypatch, caplog):
    spec, _ = small_op("hint")
    spec(torch.ones(3))
    assert not caplog.messages
    monkeypatch.setattr(_dispatch, "_HINT_AFTER_SECONDS", 0.0)
    spec(torch.ones(3)), spec(torch.ones(3))
    assert len(caplog.messages) == 1 and "zoo doctor --fix" in caplog.messages[0]


def test_no_hint_where_the_reference_was_asked_for(without_library, monkeypatch, caplog):
    monkeypatch.setattr(_dispatch, "_HINT_AFTER_SECONDS", 0.0)
    spec, _ = small_op("asked")
    with zoo_kernels.backend("reference"):
        spec(torch.ones(3))
    assert not caplog.messages


def test_everything_works_without_the_library(without_library):
    z = rng.normal(0, ROWS, 8, stream=0, step=0)
    row = next(r for r in zoo_kernels.backends() if (r.op, r.backend) == ("rng_normal", "cpp"))
    assert z.shape == (3, 8) and not row.supported and "missing" in row.reason


def test_poison_shows_an_output_that_is_not_written():
    with poison():
        assert alloc((2,), like=torch.ones(1)).isnan().all()
        assert (alloc((2,), like=ROWS) == torch.iinfo(torch.int64).min).all()
    spec, _ = small_op("lazy", row_bitwise=True)
    object.__setattr__(spec, "impls", {"reference": Impl(lambda x: alloc(x.shape, like=x))})
    with zoo_kernels.backend("reference"), pytest.raises(AssertionError, match="NaN"):
        testing.values_match_the_float64_reference(spec, spec.cases[0], torch.float32)


@pytest.mark.parametrize("law", [*testing.LAWS, *testing.OP_LAWS], ids=lambda law: law.__name__)
def test_a_right_op_keeps_the_laws(with_library, law):
    spec, _ = small_op(f"law_{law.__name__}")
    law(spec, spec.cases[0], torch.float32)


def test_forward_mode_takes_the_reference(with_library):
    spec, calls = small_op("jvp")
    x, t = torch.tensor([3.0]), torch.tensor([1.0])
    assert torch.func.jvp(spec, (x,), (t,))[1] == 6
    with torch.autograd.forward_ad.dual_level():
        out = spec(torch.autograd.forward_ad.make_dual(x, t))
        assert torch.autograd.forward_ad.unpack_dual(out).tangent == 6
    assert torch.func.hessian(lambda x: spec(x).sum())(x) == 2
    assert torch.func.vmap(spec)(x) == 9
    assert not calls


def test_forward_mode_with_a_forced_kernel_raises(with_library):
    spec, _ = small_op("jvp_forced")
    x = torch.tensor([3.0])
    with zoo_kernels.backend("cpp"), pytest.raises(zoo_kernels.BackendError, match="forward mode"):
        torch.func.jvp(spec, (x,), (x,))


def test_forward_mode_inside_compile_is_never_a_silent_zero(with_library):
    spec, _ = small_op("jvp_compiled")
    x = torch.tensor([3.0])
    compiled = torch.compile(lambda x: torch.func.jvp(spec, (x,), (x,))[1], backend="aot_eager")
    assert compiled(x) == 18


def test_double_backward_raises_in_the_ops_name(with_library):
    spec, _ = small_op("twice")
    x = torch.tensor([3.0], requires_grad=True)
    (first,) = torch.autograd.grad(spec(x), x, create_graph=True)
    assert first == 6
    with pytest.raises(NotImplementedError, match="zoo::test_twice_backward has no derivative"):
        torch.autograd.grad(first, x)


def test_importing_the_package_imports_neither_triton_nor_an_op():
    code = (
        "import sys, torch; before = set(sys.modules); import zoo_kernels;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "assert new <= {'zoo_kernels'} | set(sys.stdlib_module_names), new;"
        "zoo_kernels.ops(); zoo_kernels.backends();"
        "assert 'triton' in before or not [m for m in sys.modules if m.endswith('._triton')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_calling_an_op_imports_no_sample_arguments():
    code = (
        "import sys, torch, zoo_kernels; zoo_kernels.ops();"
        "zoo_kernels.rng.normal(0, torch.arange(3), 8, stream=0, step=0);"
        "found = [m for m in sys.modules if 'zoo_kernels.' in m and m.endswith('._cases')];"
        "assert not found, found;"
        "assert zoo_kernels.ops()['rng_normal'].cases"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_names_of_version_0_1_still_work_with_a_warning():
    with pytest.warns(DeprecationWarning, match="zoo_kernels.BackendStatus"):
        assert zoo_kernels.Serves is zoo_kernels.BackendStatus
    row = zoo_kernels.backends()[0]
    with pytest.warns(DeprecationWarning, match="BackendStatus.supported"):
        assert row.serves == row.supported


def test_an_unknown_op_is_named_with_the_possible_ones():
    with pytest.raises(AttributeError, match="'rgn'.*rng"):
        zoo_kernels.rgn  # noqa: B018


@NO_TRITON
def test_the_cache_is_keyed_by_the_sources(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ZOO_CACHE", raising=False)
    assert build.cache_directory() == tmp_path / "density-zoo" / "kernels" / build.source_hash()


def test_a_library_of_other_sources_is_refused(tmp_path):
    stale = tmp_path / build.LIBRARY
    stale.write_bytes(b"zoo-kernels-sources:0000")
    ok, reason = _extension._usable(stale)
    assert not ok and "other sources" in reason


@pytest.mark.parametrize(
    ("needs", "tag"),
    [
        (("GLIBC_2.2.5", "GLIBC_2.27", "GLIBCXX_3.4.21"), "manylinux_2_27"),
        (("GLIBC_2.14",), "manylinux_2_17"),
        (("GLIBC_2.34",), "manylinux_2_34"),
        (("GLIBC_2.27", "GLIBCXX_3.4.29"), None),
        ((), None),
    ],
)
def test_a_wheel_is_tagged_by_the_oldest_system_that_loads_its_library(tmp_path, needs, tag):
    library = tmp_path / build.LIBRARY
    library.write_bytes(b"\0".join([b"", *map(str.encode, needs), b""]))
    assert build.wheel_platform(library) == (tag and f"{tag}_{platform.machine()}")


def test_building_without_a_compiler_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.BuildError, match="no-such-compiler"):
        build.build_extension(tmp_path)


@pytest.mark.slow
@NO_TRITON
def test_doctor_fix_compiles_into_the_cache_and_the_loader_finds_it(tmp_path):
    """In a copy of the package without a library, as a pure wheel installs it."""
    import shutil

    package = tmp_path / "site" / "zoo_kernels"
    shutil.copytree(build.SOURCES.parent, package, ignore=shutil.ignore_patterns("*.so"))
    code = (
        "from zoo_kernels import _extension, build; assert not _extension.load()[0];"
        "path = build.build_extension(); _extension.reset(); assert _extension.load()[0], path"
    )
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }  # fmt: skip
    subprocess.run([sys.executable, "-S", "-c", _WITH_SITE + code], env=environment, check=True)


_WITH_SITE = f"import sys; sys.path += {[p for p in sys.path if p.endswith('site-packages')]!r};"


def test_gradients_are_equal_whether_or_not_a_profiler_watches():
    """Unwatched, a node of autograd calls the backend; watched, the dispatcher does."""
    from zoo_kernels import coupling

    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    params = torch.randn(5, 2, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def gradients():
        y, ladj = coupling.forward(x, params, scale="tanh")
        named = y.grad_fn.name()
        return named, torch.autograd.grad(y.square().sum() + ladj.sum(), (x, params))

    name, found = gradients()
    with torch.profiler.profile():
        op, want = gradients()
    assert name != op and all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
