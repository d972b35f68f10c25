"""Philox and the deterministic normals: known answers, stored hashes, moments, bad input."""

import hashlib

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _extension, rng

BACKENDS = ["reference"]
BACKENDS += ["triton"] if _dispatch.interpreted() else []
BACKENDS += ["cpp"] if _extension.load()[0] else []

# Random123 1.14 kat_vectors, philox4x32 10: counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]  # fmt: skip
# sha256 of 131,072 normals, uniforms and bits: the same on every backend, machine and version.
HASHES = {
    "bits": "562cfeb331ca5e64b63ada08bbdcc461228c9a846e6fb119ad272cf73c247586",
    "uniform": "08e54e57018f7255721e8d6214f3cb85572a926adb5efcc48d87c4f2b9d45795",
    "normal": "6c4f85620fa9dd20bf2631ce9db16302e20d8af9aa1721938d40a3ae70e8a008",
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    with zoo_kernels.backend(request.param):
        yield request.param


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(backend, counter, key, answer):
    block, step, stream, row = counter
    seed = key[0] + (key[1] << 32)
    got = rng.bits(seed, torch.tensor([row]), 4, stream=stream, step=step, offset=4 * block)
    assert got.tolist() == [list(answer)]


@pytest.mark.parametrize("name", HASHES)
def test_bits_equal_the_stored_hash(backend, name):
    rows = torch.arange(2**32 - 8, 2**32)
    drawn = getattr(rng, name)(-5, rows, 16_384, stream=7, step=3)
    assert hashlib.sha256(drawn.numpy().tobytes()).hexdigest() == HASHES[name]


def test_uniforms_are_the_upper_bits(backend):
    rows = torch.arange(3)
    w = rng.bits(1, rows, 50, stream=2, step=3)
    assert torch.equal(rng.uniform(1, rows, 50, stream=2, step=3), (w >> 8).float() * 2.0**-24)


def test_offset_continues_a_row(backend):
    rows = torch.tensor([4, 9])
    whole = rng.normal(3, rows, 300, stream=1, step=0)
    parts = [rng.normal(3, rows, n, stream=1, step=0, offset=o) for n, o in [(128, 0), (172, 128)]]
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_seed_is_taken_modulo_two_to_the_64():
    rows = torch.arange(2)
    a, b = (rng.bits(seed, rows, 8, stream=0, step=0) for seed in (-1, 2**64 - 1))
    assert torch.equal(a, b)


def test_every_name_changes_the_draw():
    base = {"seed": 1, "rows": torch.tensor([1]), "numel": 8, "stream": 1, "step": 1}
    changes = [{"seed": 2}, {"seed": 1 + 2**32}, {"rows": torch.tensor([2])}, {"stream": 2},
               {"step": 2}, {"offset": 8}]  # fmt: skip
    drawn = [tuple(rng.bits(**(base | c))[0].tolist()) for c in [{}, *changes]]
    assert len(set(drawn)) == len(drawn)


def test_normals_have_normal_moments_and_tails():
    z = rng.normal(11, torch.arange(64), 32_768, stream=0, step=0).double()
    n = z.numel()  # 2.1 million
    assert abs(z.mean()) < 5 / n**0.5
    assert abs(z.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((z**3).mean()) < 5 * (15 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 5 * (96 / n) ** 0.5
    for level in (1.0, 2.0, 3.0, 4.0):
        p = torch.special.erfc(torch.tensor(level / 2**0.5, dtype=torch.float64))
        assert abs((z.abs() > level).double().mean() - p) < 5 * (p / n) ** 0.5
    assert abs((z[:, ::2] * z[:, 1::2]).mean()) < 5 / (n / 2) ** 0.5


def test_the_polynomials_are_within_half_a_millionth():
    k = torch.arange(1, 2**24 + 1, 7)
    log = rng.reference.log_unit(k.float() * 2.0**-24)
    exact = (k.double() * 2.0**-24).log()
    assert (log <= 0).all() and (log - exact).abs().max() < 5e-7
    cos, sin = rng.reference.cos_sin(k - 1)
    angle = (k - 1).double() * (2 * torch.pi / 2**24)
    assert (cos - angle.cos()).abs().max() < 1e-7 and (sin - angle.sin()).abs().max() < 1e-7


ROWS = torch.arange(2)
BAD = {
    "seed": [1.5, 2**64, -(2**63) - 1, None],
    "rows": [[0, 1], ROWS.float(), ROWS[None], torch.tensor([-1]), torch.tensor([2**32])],
    "numel": [-1, 2**34 + 1],
    "stream": [-1, 2**32],
    "step": [-1, 2**32],
    "offset": [-4, 2],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD.items() for v in vs])
@pytest.mark.parametrize("draw", [rng.bits, rng.uniform, rng.normal])
def test_a_wrong_argument_is_named(draw, name, value):
    good = {"seed": 0, "rows": ROWS, "numel": 4, "stream": 0, "step": 0}
    with pytest.raises(ValueError, match=f"^{name} must"):
        draw(**(good | {name: value}))
