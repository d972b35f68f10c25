"""The cached sampler against the network it claims to sample from, written as convolutions."""

import pytest
import torch
import torch.nn.functional as F

import zoo_kernels
from zoo_kernels import _dispatch, _extension, pixelcnn_sampler
from zoo_kernels.pixelcnn_sampler import _cases, pack, reference, sample

BACKENDS = ["reference"] + ["cpp"] * _extension.load()[0]
BACKENDS = ["triton"] if _dispatch.interpreted() else BACKENDS
B, H, W, C, L = 4, 5, 6, 16, 3
if _dispatch.interpreted():
    pytestmark = pytest.mark.slow  # the laws cover the fast tier
    H, W, L = 3, 4, 2


@pytest.fixture(params=BACKENDS)
def backend(request):
    with zoo_kernels.backend(request.param):
        yield request.param


def gate(x):
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


def network(layers, head, x):
    """The full forward pass: x (B, C_in, H, W) -> logits (B, P, H, W)."""
    height, width = x.shape[2:]
    v = h = x
    skips = 0
    for i, n in enumerate(layers):
        k, rows, taps = n.v_row[0].shape[-1], n.v_col[0].shape[2], n.h_row[0].shape[-1]
        a = F.conv2d(v, *n.v_row, padding=(0, k // 2))
        g = F.conv2d(F.pad(a, (0, 0, rows, 0)), *n.v_col)[:, :, :height]
        pad = taps if i == 0 else taps - 1
        across = F.conv2d(F.pad(h, (pad, 0, 0, 0)), *n.h_row)[..., :width]
        out = gate(F.conv2d(g, *n.link) + across)
        residual = F.conv2d(out, *n.residual)
        h = residual if i == 0 else residual + h
        skips = skips + F.conv2d(out, *n.skip)
        v = gate(g + F.conv2d(v, *n.v_here))
    hidden = F.conv2d(skips.relu(), *head[0])
    return F.conv2d(hidden.relu(), *head[1])


def model(head="binary", outputs=1, inputs=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layers = _cases.random_layers(generator, L, C, inputs)
    convs = [
        (torch.randn(o, i, 1, 1, generator=generator) * 0.4, torch.randn(o, generator=generator))
        for o, i in [(12, C), (outputs, 12)]
    ]
    return layers, convs


def draw_pixel_by_pixel(layers, head, u, table, kind, levels, shape):
    """The loop that caching replaces: a full forward pass for each pixel."""
    x = torch.zeros(len(u), *shape, dtype=torch.int64)
    for r in range(shape[1]):
        for c in range(shape[2]):
            inputs = table[x].movedim(-1, 2).flatten(1, 2)
            logits = network(layers, head, inputs)[:, :, r, c]
            x[:, :, r, c] = reference.draw(logits, u[:, r, c], kind, levels, shape[0])
    return x


@pytest.mark.parametrize(
    ("kind", "levels", "outputs", "shape", "n"),
    [
        ("binary", 2, 1, (1, H, W), 1),
        ("softmax", 7, 7, (1, H, 2), 1),
        ("mixture", 256, 12, (1, 2, W), 2),
        ("mixture", 32, 30, (3, 3, 3), 4),
    ],
)
def test_pixels_equal_the_full_forward_loop(backend, kind, levels, outputs, shape, n):
    layers, head = model(kind, outputs, inputs=shape[0])
    u = torch.rand(B, *shape[1:], n, generator=torch.Generator().manual_seed(1))
    table = torch.linspace(-1, 1, levels)[:, None]
    drawn = sample(pack(layers, head), uniforms=u, table=table, shape=shape, head=kind,
                   levels=levels)  # fmt: skip
    wanted = draw_pixel_by_pixel(layers, head, u, table, kind, levels, shape)
    assert torch.equal(drawn, wanted) and drawn.unique().numel() > 1


def arguments(**changes):
    layers, head = model()
    good = {
        "weights": pack(layers, head), "uniforms": torch.rand(B, H, W, 1),
        "table": torch.tensor([[-1.0], [1.0]]), "shape": (1, H, W), "head": "binary", "levels": 2,
    }  # fmt: skip
    return good | changes


@pytest.mark.skipif("cpp" not in BACKENDS, reason="no C++ kernel runs here")
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 17])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_groups_of_images_do_not_change_a_pixel(threads, batch):
    generator = torch.Generator().manual_seed(4)
    args = _cases.random_arguments(
        generator, batch=batch, shape=(1, H, W), layers=L, channels=C, hidden=12, head="binary",
        known=0.2, conditional=True,
    )  # fmt: skip
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        drawn = {}
        for name in ("reference", "cpp"):
            with zoo_kernels.backend(name):
                drawn[name] = pixelcnn_sampler.OPS[0](*args)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(drawn["cpp"], drawn["reference"]) and drawn["cpp"].unique().numel() > 1


def test_fixed_pixels_stay_and_the_others_follow_from_them(backend):
    args = arguments()
    free = sample(**args)
    assert torch.equal(sample(**args, fixed=free), free)
    fixed = torch.full((B, 1, H, W), -1)
    fixed[:, :, :2] = 1 - free[:, :, :2]
    completed = sample(**args, fixed=fixed)
    assert torch.equal(completed[:, :, :2], fixed[:, :, :2])
    assert set(completed.unique().tolist()) <= {0, 1}
    again = sample(**args, fixed=torch.where(fixed < 0, fixed, fixed))
    assert torch.equal(again, completed)


def test_a_condition_of_zero_is_none_and_another_changes_only_its_row(backend):
    args = arguments()
    zero = torch.zeros(B, L, 2, 2 * C)
    free = sample(**args)
    assert torch.equal(sample(**args, cond=zero), free)
    zero[1] = 3.0
    changed = (sample(**args, cond=zero) != free).flatten(1).any(1)
    assert changed.tolist() == [False, True, False, False]


def test_constants_enter_as_further_input_channels(backend):
    layers, head = model(inputs=3)
    extra = torch.randn(2, H, W, generator=torch.Generator().manual_seed(2))
    u = torch.rand(B, H, W, 1, generator=torch.Generator().manual_seed(3))
    table = torch.tensor([[-1.0], [1.0]])
    args = {"uniforms": u, "table": table, "shape": (1, H, W), "head": "binary", "levels": 2}
    drawn = sample(pack(layers, head), **args, extra=extra)
    full = torch.cat([table[drawn[:, 0]].movedim(-1, 1), extra.expand(B, -1, -1, -1)], 1)
    p = network(layers, head, full).sigmoid()
    assert torch.equal(drawn, (u.movedim(-1, 1) < p).long())


def test_extreme_uniforms_and_weights_give_levels():
    layers, head = model("mixture", 12)
    weights = [w * 100 for w in pack(layers, head)]
    u = torch.zeros(B, H, W, 2)
    u[0], u[1], u[2] = 1 - 2.0**-24, 0.5, float("nan")
    args = {"table": torch.linspace(-1, 1, 256)[:, None], "shape": (1, H, W)}
    for name in BACKENDS:
        with zoo_kernels.backend(name):
            x = sample(weights, uniforms=u, head="mixture", levels=256, **args)
        assert x.min() >= 0 and x.max() <= 255


def test_frequencies_are_those_of_the_logits():
    """One pixel, head bias only: the counts follow softmax(bias) within 5 standard errors."""
    layers, head = model("softmax", 5)
    weights = [torch.zeros_like(w) for w in pack(layers, head)]
    weights[-1] = torch.tensor([0.0, 1.0, -1.0, 0.5, -3.0])
    n = 40_000
    u = zoo_kernels.rng.uniform(0, torch.arange(n), 1, stream=0, step=0).view(n, 1, 1, 1)
    x = sample(weights, uniforms=u, table=torch.zeros(5, 1), shape=(1, 1, 1), head="softmax",
               levels=5)  # fmt: skip
    p = weights[-1].softmax(0)
    counts = x.flatten().bincount(minlength=5) / n
    assert ((counts - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()


def test_a_mixture_of_one_component_is_a_discretized_logistic():
    layers, head = model("mixture", 3)
    weights = [torch.zeros_like(w) for w in pack(layers, head)]
    weights[-1] = torch.tensor([0.0, 0.3, -1.5])
    n, levels = 40_000, 9
    u = zoo_kernels.rng.uniform(1, torch.arange(n), 2, stream=0, step=0).view(n, 1, 1, 2)
    x = sample(weights, uniforms=u, table=torch.zeros(levels, 1), shape=(1, 1, 1), head="mixture",
               levels=levels)  # fmt: skip
    edges = torch.linspace(-1, 1, levels)[:-1] + 1 / (levels - 1)
    cdf = ((edges - 0.3) / torch.tensor(-1.5).exp()).sigmoid()
    p = torch.cat([torch.zeros(1), cdf, torch.ones(1)]).diff()
    counts = x.flatten().bincount(minlength=levels) / n
    assert ((counts - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()


BAD = {
    "head": ["gaussian"],
    "shape": [(2, H, W), (1, H), (1, 0, W)],
    "levels": [1, 3],
    "weights": [[], [torch.zeros(3)] * 12],
    "uniforms": [torch.rand(B, H, W), torch.rand(B, H, W, 2), torch.rand(B, H, W, 1).double()],
    "table": [torch.zeros(3, 1), torch.zeros(2, 2)],
    "fixed": [
        torch.zeros(B, 1, H, W),
        torch.full((B, 1, H, W), 2),
        torch.zeros(1, 1, H, W).long(),
    ],
    "cond": [torch.zeros(B, L, 2, C), torch.zeros(1, L, 2, 2 * C)],
    "extra": [torch.zeros(2, W, H), torch.zeros(1, H, W)],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD.items() for v in vs])
def test_a_wrong_argument_is_named(name, value):
    named = "weights" if name in ("table", "extra") else name
    with pytest.raises(ValueError, match=rf"({name}|{named}).* must be"):
        sample(**arguments(**{name: value}))
