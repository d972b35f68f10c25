"""Laws of compression: what comes back, what it costs, and what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.compression import api, bits_back, chain, conditionals, stack
from zoo_core.compression.codecs import mosaic, sizes
from zoo_core.compression.grid import Grid
from zoo_core.compression.report import report, verified
from zoo_core.errors import IntegrityError, NoCapabilityError, UsageError

constriction = pytest.importorskip("constriction")


def archs(*capabilities):
    specs = [e.spec for e in current().models]
    return sorted(s.arch for s in specs if {*capabilities} <= {*s.capabilities})


def tiny(arch):
    (spec,) = [e.spec for e in current().models if e.spec.arch == arch]
    return zoo.create(arch, **dict(spec.tiny))


def events(model, n, seed=0):
    levels = model.event.levels or 2
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(levels, (n, *model.event.shape), generator=draw)


@pytest.fixture(scope="module")
def digits():
    return zoo.load_dataset("digits").split("test").batch(torch.arange(360))[0]


@pytest.mark.parametrize("arch", archs("Conditionals"))
def test_models_with_conditionals_return_every_event(arch):
    model = tiny(arch)
    x = events(model, 20)
    data = zoo.compress(model, x, block=8)
    assert torch.equal(zoo.decompress(data, model), x)
    assert torch.equal(zoo.decompress(data, model, blocks=[2]), x[16:])


@pytest.mark.parametrize("arch", archs("Encoder", "Decoder"))
def test_models_with_latents_return_every_event_and_the_initial_bits(arch):
    model = tiny(arch)
    if not model.event.discrete:
        pytest.skip("its default events are reals")
    x = events(model, 12)
    assert torch.equal(zoo.decompress(zoo.compress(model, x, block=8), model), x)


def test_a_file_costs_what_exact_conditionals_say(digits):
    model = zoo.load("made.digits")
    data = zoo.compress(model, digits, name="made.digits")
    found = report(data, model, digits)
    assert found.mean.kind.name == "exact"
    assert found.header_bytes <= 256
    assert 0.999 < found.ratio <= 1.005
    verified(data, model, digits)
    assert torch.equal(zoo.decompress(data), digits.long())  # by the name in the file


def test_bits_back_costs_about_the_elbo(digits):
    model, x = zoo.load("vae.digits"), digits[:60]
    data = zoo.compress(model, x, name="vae.digits")
    found = report(data, model, x)
    assert 0 < found.initial_bits <= 64 * 32
    assert found.ratio == pytest.approx(1, abs=0.02)  # 60 draws of z on either side
    verified(data, model, x)


@pytest.mark.parametrize("classes", [None, 3])
def test_a_chain_returns_every_event_and_the_initial_bits(classes, monkeypatch):
    monkeypatch.setattr(chain, "STEPS", 20)
    model = zoo.create("vdm", shape=(2,), levels=17, classes=classes)
    x, cond = events(model, 19), None if classes is None else torch.arange(19) % 3
    data = zoo.compress(model, x, cond=cond, block=10)  # groups of 8 and 2 lanes
    assert torch.equal(zoo.decompress(data, model), x)
    assert torch.equal(zoo.decompress(data, model, blocks=[1]), x[10:])


def test_a_mean_near_a_boundary_between_cells_is_seen_by_the_encoder_of_a_chain():
    grid = Grid(0)
    coder = chain._Coder(stack.Stack(stack.initial_words(50), grid), grid)
    boundary = (5.5 - grid.offset) / 64
    coder.pop(torch.tensor([boundary + 1e-6], dtype=torch.float64), 2.0, 1.0)
    assert not grid.ambiguous
    coder.pop(torch.tensor([boundary + 1e-11], dtype=torch.float64), 2.0, 1.0)
    assert grid.ambiguous


@pytest.mark.slow
def test_a_chain_costs_at_most_five_percent_more_than_its_bound(digits):
    model, x = zoo.load("vdm.digits"), digits[:64]
    found = report(data := zoo.compress(model, x), model, x)
    verified(data, model, x)
    overhead = 12 + 8 + 8  # the block's index, what its code begins with, the state of the coder
    coded = found.payload_bytes - found.initial_bits / 8 - overhead
    assert coded / found.ideal_bytes <= 1.05


def test_conditions_are_stored_in_the_file():
    model = zoo.create("made", shape=(1, 3, 3), levels=4, classes=3, hidden=8)
    x, cond = events(model, 10), torch.arange(10) % 3
    data = zoo.compress(model, x, cond=cond, block=4)
    decoded, labels = api.decompress_with_cond(data, model)
    assert torch.equal(decoded, x) and torch.equal(labels, cond)


def test_other_weights_are_refused():
    model, x = tiny("made"), events(tiny("made"), 5)
    data = zoo.compress(model, x)
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    with pytest.raises(IntegrityError, match="other|with the weights"):
        zoo.decompress(data, model)


def test_a_machine_with_other_probabilities_gets_an_error_and_no_events(monkeypatch):
    model = zoo.create("made", shape=(1, 8, 8), levels=17, hidden=32)
    data = zoo.compress(model, events(model, 20))
    wrong = conditionals.decode

    def disturbed(model, payload, n, cond, grid):
        grid.offset += 0.4
        return wrong(model, payload, n, cond, grid)

    monkeypatch.setattr(conditionals, "decode", disturbed)
    with pytest.raises(IntegrityError, match="other probabilities"):
        zoo.decompress(data, model)


@pytest.mark.parametrize(
    "arch, reason",
    [("realnvp", "local bits-back"), ("ddpm", "coding_times"), ("dcgan", "probability")],
)
def test_what_cannot_be_coded_says_why(arch, reason):
    with pytest.raises(NoCapabilityError, match=reason):
        api.codec_of(tiny(arch))


def test_a_file_is_not_trusted_with_paths_and_addresses():
    for name in ("", "./model", "/etc/model", "~/model", "hf://org/model"):
        data = zoo.compress(tiny("made"), events(tiny("made"), 2), name=name)
        with pytest.raises(UsageError, match="no registered name"):
            zoo.decompress(data)


def weights(model, x):
    """Integer weights of every value of events x, in the order of coding."""
    grid, found = Grid(0), []
    with torch.no_grad():
        for _, logits in conditionals._steps(model, x, None):
            found.append(grid.weights(logits.double()))
    return np.stack(found)


def parted(of, model, x, batch):
    """What `of` finds of events x, of so many at a time."""
    return np.concatenate([of(model, part) for part in x.split(batch)], axis=1)


def test_probabilities_do_not_depend_on_the_batch_and_in_float32_they_do(digits):
    """Negative control: what grids and float64 are for."""
    x = digits[:35].long()
    model = zoo.load("gated_pixelcnn.digits").eval()
    exact = api.in_float64(model)
    assert (parted(weights, exact, x, 7) == weights(exact, x)).all()

    def bits(model, x):
        with torch.no_grad():
            return torch.stack([logits for _, logits in conditionals._steps(model, x, None)])

    assert (parted(bits, model, x, 7) != bits(model, x).numpy()).any()


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["made", "pixelcnn_pp", "multiscale_pixelcnn"])
@pytest.mark.parametrize("batch", [1, 7, 32])
def test_probabilities_are_those_of_every_batch_size(arch, batch, digits):
    model, x = api.in_float64(zoo.load(f"{arch}.digits")).eval(), digits[:40].long()
    assert (parted(weights, model, x, batch) == weights(model, x)).all()


def test_the_encoder_sees_values_near_a_boundary_and_takes_another_grid():
    grid = Grid(0)
    boundary = (1 - grid.offset) / 16
    grid.weights(torch.tensor([[0.0, -boundary]], dtype=torch.float64))
    assert grid.ambiguous
    other = Grid(1)
    other.weights(torch.tensor([[0.0, -boundary]], dtype=torch.float64))
    assert not other.ambiguous


def test_rounding_to_the_grid_costs_little():
    logits = 3 * torch.randn(5000, 5, generator=torch.Generator().manual_seed(0)).double()
    w = torch.from_numpy(Grid(3).weights(logits)) + 1e-9
    p, q = logits.softmax(-1), w / w.sum(-1, keepdim=True)
    assert (p * (p / q).log()).sum(-1).mean() < 3e-4


def test_weights_are_those_of_this_table_for_ever():
    """Files of earlier versions are read by it."""
    w = Grid(0).weights(torch.tensor([[0.0, -1.0, -2.5, -9.0, -40.0]], dtype=torch.float64))
    assert w.tolist() == [[4194304.0, 1542998.0, 344289.0, 518.0, 0.0]]


def test_weights_are_in_c_order_whatever_the_layout_of_logits():
    """constriction reads the rows of other layouts wrongly, and decodes them all the same."""
    logits = torch.randn(5, 9, dtype=torch.float64).T
    assert Grid(0).weights(logits).flags.c_contiguous


def test_an_initial_count_that_is_wrong_is_an_error_of_the_block():
    model, x = tiny("vae"), events(tiny("vae"), 3)
    with torch.no_grad():
        exact = api.in_float64(model).eval()
        code = bits_back.encode(exact, x, None, Grid(0))
        count = int.from_bytes(code[:4], "little")
        with pytest.raises((ValueError, AssertionError)):
            bits_back.decode(exact, (count - 1).to_bytes(4, "little") + code[4:], 3, None, Grid(0))


def test_a_mosaic_holds_every_image_once():
    x = torch.arange(7 * 2 * 3).view(7, 1, 2, 3)
    picture = mosaic(x)
    assert picture.shape == (1, 6, 9)
    assert torch.equal(picture[0, 2:4, 3:6], x[4, 0])
    assert picture.sum() == x.sum()


def test_codecs_are_measured_on_single_files_and_on_one_of_all(digits):
    found = {s.name: s for s in sizes(digits[:30], zoo.load_dataset("digits").event)}
    assert {"PNG", "WebP", "bz2 -9"} <= found.keys()
    assert all(s.missing or s.together < s.single for s in found.values())
    assert sizes(torch.zeros(3, 2), zoo.Event((2,))) == []


MATRIX = [
    {},
    {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
    {"ZOO_KERNELS": "reference"},
    {"ZOO_VECTOR_UNIT": "baseline"},
    {"ATEN_CPU_CAPABILITY": "default"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "MKL_CBWR": "COMPATIBLE"},
]
NAMES = ("made.digits", "gated_pixelcnn.digits", "pixelcnn_pp.digits", "vae.digits", "hvae.digits")
DECODE = """
import json, sys, zoo_core as zoo
from pathlib import Path
x = {p: zoo.decompress(Path(p).read_bytes()).sum().item() for p in sys.argv[1:]}
print(json.dumps(x))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory, digits):
    """Files of 40 images by five models, written on this machine."""
    folder = tmp_path_factory.mktemp("files")
    for name in NAMES:
        (folder / name).write_bytes(zoo.compress(name, digits[:40], block=20))
    return [str(folder / name) for name in NAMES]


@pytest.mark.slow
@pytest.mark.parametrize("variables", MATRIX, ids=str)
def test_files_are_decoded_on_every_other_machine(variables, files, digits):
    """A decoder that gets other probabilities fails by the checksum of a block's events."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ, **variables}
    done = subprocess.run(
        [sys.executable, "-c", DECODE, *files], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {*json.loads(done.stdout).values()} == {int(digits[:40].sum())}
