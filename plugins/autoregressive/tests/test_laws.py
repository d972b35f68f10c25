"""The laws of autoregressive models: normalization, causal order, and exact caches."""

from fractions import Fraction
from functools import partial
from itertools import product

import pytest
import torch

from zoo_autoregressive.depthwise_pixelcnn import DepthwisePixelCNN, DepthwisePixelCNNConfig
from zoo_autoregressive.diagonal_bilstm import DiagonalBiLSTM, PixelRNNConfig
from zoo_autoregressive.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig
from zoo_autoregressive.image_model import coordinate_channels
from zoo_autoregressive.jacobi import BlockDecoding, Jacobi
from zoo_autoregressive.made import MADE, MADEConfig
from zoo_autoregressive.multiscale_pixelcnn import MultiscalePixelCNN, MultiscalePixelCNNConfig
from zoo_autoregressive.pixelcnn import PixelCNN, PixelCNNConfig
from zoo_autoregressive.pixelcnn_pp import PixelCNNPP, PixelCNNPPConfig
from zoo_autoregressive.pixelsnail import PixelSNAIL, PixelSNAILConfig
from zoo_autoregressive.row_lstm import RowLSTM
from zoo_autoregressive.samplers import Sequential
from zoo_autoregressive.sampling_options import SamplingOptions, draw
from zoo_autoregressive.sequence_model import SequenceModel
from zoo_autoregressive.transformer_ar import TransformerAR, TransformerARConfig
from zoo_core import Inpainting, Rng
from zoo_core.errors import ZooWarning
from zoo_core.plugin import TransformerConfig
from zoo_kernels import backend, backends


def transformer(network=(), dropout=0.0, **event):
    network = TransformerConfig(
        **{"hidden": 16, "layers": 2, "heads": 2, "dropout": dropout, **dict(network)}
    )
    return TransformerAR(TransformerARConfig(units=12, network=network, **event))


MODELS = {
    "made": lambda **event: MADE(MADEConfig(hidden=24, layers=3, **event)),
    "made_residual": lambda **event: MADE(MADEConfig(hidden=24, residual=True, **event)),
    "made_random": lambda **event: MADE(
        MADEConfig(hidden=24, order="random", order_seed=1, **event)
    ),
    "made_indirect": lambda **event: MADE(MADEConfig(hidden=400, direct=False, **event)),
    "gated_pixelcnn": lambda **event: GatedPixelCNN(
        GatedPixelCNNConfig(hidden=12, layers=3, kernel_size=5, head=24, **event)
    ),
    "gated_pixelcnn_coordinates": lambda **event: GatedPixelCNN(
        GatedPixelCNNConfig(hidden=12, layers=3, kernel_size=5, head=24, coordinates=True, **event)
    ),
    "pixelcnn": lambda **event: PixelCNN(
        PixelCNNConfig(hidden=12, layers=2, kernel_size=5, head=24, **event)
    ),
    "pixelcnn_pp": lambda shape, **event: PixelCNNPP(
        PixelCNNPPConfig(
            (1 if shape[0] == 2 else shape[0], *shape[1:]),  # the head takes 1 or 3 channels
            **{
                "hidden": 6,
                "blocks": (1, 1),
                "kernel_size": 5,
                "mixtures": 3,
                "dropout": 0.0,
                **event,
            },
        )
    ),
    "depthwise_pixelcnn": lambda **event: DepthwisePixelCNN(
        DepthwisePixelCNNConfig(hidden=6, layers=2, kernel_size=3, mixtures=13, **event)
    ),
    "row_lstm": lambda **event: RowLSTM(
        PixelRNNConfig(**{"hidden": 6, "layers": 2, "kernel_size": 5, "head": 24, **event})
    ),
    "diagonal_bilstm": lambda **event: DiagonalBiLSTM(
        PixelRNNConfig(**{"hidden": 6, "layers": 2, "kernel_size": 3, "head": 24, **event})
    ),
    "multiscale_pixelcnn": lambda **event: MultiscalePixelCNN(
        MultiscalePixelCNNConfig(hidden=(6, 8), blocks=(1, 1), kernel_size=5, head=24, **event)
    ),
    "pixelsnail": lambda **event: PixelSNAIL(
        PixelSNAILConfig(
            **{
                "hidden": 8,
                "blocks": 2,
                "convolutions": 1,
                "keys": 3,
                "values": 4,
                "heads": 2,
                "head": 24,
                "dropout": 0.0,
                **event,
            }
        )
    ),
    "transformer_ar": transformer,
    "transformer_ar_neighbours": lambda **event: transformer(neighbours=True, **event),
    "transformer_ar_random": lambda **event: transformer(
        {"rotary": 2, "norm": "rms", "activation": "swiglu", "prefix": True},
        order="random",
        order_seed=1,
        **event,
    ),
}
EVENTS = {
    "binary": {"shape": (1, 3, 3), "levels": 2},
    "three_levels": {"shape": (1, 2, 2), "levels": 3},
    "rgb": {"shape": (3, 3, 2), "levels": 4},
    "wide": {"shape": (2, 3, 5), "levels": 5},
}


@pytest.fixture(params=MODELS)
def make(request):
    def build(event, **changes):
        torch.manual_seed(0)
        model = MODELS[request.param](**EVENTS[event], **changes).double().eval()
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.5)  # far from the small fresh values
        return model

    return build


def images(model, n, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.event.levels, (n, *model.event.shape), generator=generator)


def every_image(model):
    values = product(range(model.event.levels), repeat=model.event.dims)
    return torch.tensor(list(values)).view(-1, *model.event.shape)


@pytest.mark.parametrize("event", ["binary", "three_levels"])
def test_probabilities_of_all_images_sum_to_one(make, event):
    model = make(event).float()
    total = model.log_prob(every_image(model)).detach().double().exp().sum()
    assert abs(float(total) - 1) < 1e-5


def test_probabilities_sum_to_one_for_each_class(make):
    model = make("three_levels", classes=3)
    x = every_image(model)
    totals = [model.log_prob(x, torch.full((len(x),), c)).exp().sum() for c in range(3)]
    assert torch.allclose(torch.stack(totals), torch.ones(3, dtype=torch.float64), atol=1e-9)


def test_channels_normalize_together():
    for build in MODELS.values():
        model = build(shape=(3, 1, 2), levels=2).double()
        total = model.log_prob(every_image(model)).detach().exp().sum()
        assert abs(float(total) - 1) < 1e-9


def influences(model, x):
    """Whether the logits at place i depend on the value at place j of some image, (D, D) bool."""
    if isinstance(model, SequenceModel):  # tokens have no derivative: each is changed in turn
        return _changes(model, x)
    x = x.double().requires_grad_()
    logits, weights = model.logits(x).flatten(1, 3), torch.rand(model.event.levels).double()
    rows = []
    for place in range(model.event.dims):
        value = (logits[:, place].log_softmax(-1) * weights).sum()
        grad = torch.autograd.grad(value, x, retain_graph=True, allow_unused=True)[0]
        rows.append((torch.zeros_like(x) if grad is None else grad).flatten(1).any(0))
    return torch.stack(rows)


@torch.no_grad()
def _changes(model, x):
    before, columns = model.logits(x).flatten(1, 3), []
    for place in range(model.event.dims):
        changed = x.clone()
        values = changed.view(len(x), -1)
        values[:, place] = (values[:, place] + 1) % model.event.levels
        columns.append((model.logits(changed).flatten(1, 3) != before).any(-1).any(0))
    return torch.stack(columns, 1)


@pytest.mark.parametrize("event", EVENTS)
def test_no_conditional_sees_itself_or_what_comes_later(make, event):
    model = make(event)
    order, D, K = model.order(), model.event.dims, model.event.levels
    assert model.logits(images(model, 2)).flatten(1, 3).shape == (2, D, K)
    seen = influences(model, images(model, 2))[order][:, order]  # in the order of generation
    assert not seen.triu().any()


def neighbours(shape, position):
    """The channel before, the pixel to the left and the pixel above, if inside the image."""
    C, H, W = shape
    c, r, w = position // (H * W), position // W % H, position % W
    positions = {(c - 1, r, w), (c, r, w - 1), (c, r - 1, w)}
    return [(a * H + b) * W + d for a, b, d in positions if min(a, b, d) >= 0]


@pytest.mark.parametrize("event", EVENTS)
def test_every_conditional_sees_its_neighbours(make, event):
    model = make(event)
    rank, seen = model.order().argsort(), influences(model, images(model, 8))
    for position in range(model.event.dims):
        for place in neighbours(model.event.shape, position):
            if rank[place] > rank[position]:
                continue  # in a random order
            assert seen[position, place], (position, place)


def uncached(model, rng, cond=None, **options):
    """Sampling by a full pass per value: what the cache must reproduce."""
    change = SamplingOptions(**options)
    x = torch.zeros((len(rng), *model.event.shape), dtype=torch.long)
    u = rng.uniform((model.event.dims,), stream="value")
    for i, position in enumerate(model.order().tolist()):
        logits = model.logits(x, cond).flatten(1, 3)[:, position]
        x.view(len(rng), -1)[:, position] = draw(change(logits), u[:, i])
    return x


@pytest.mark.parametrize("event", EVENTS)
def test_cached_conditionals_equal_those_of_the_full_pass(make, event):
    model = make(event, classes=3)
    x, cond = images(model, 5), torch.tensor([0, 1, 2, 1, 0])
    full = model.logits(x, cond).flatten(1, 3)
    cache = model.init_cache(5, cond)
    known = torch.zeros_like(x)
    for i, position in enumerate(model.order().tolist()):
        logits, cache = model.decode_step(known, i, cache)
        assert torch.allclose(logits, full[:, position], rtol=1e-10, atol=1e-10), i
        known.view(5, -1)[:, position] = x.view(5, -1)[:, position]


ROW_WISE = ("pixelcnn", "pixelcnn_pp", "pixelsnail", "row_lstm", "multiscale_pixelcnn")


@pytest.mark.parametrize("make", ROW_WISE, indirect=True)
@pytest.mark.parametrize("event", ["rgb", "wide"])
def test_a_block_may_be_evaluated_again_while_its_values_change(make, event):
    model = make(event, classes=3)
    assert isinstance(model, BlockDecoding) and len(model.order_blocks()) == 3
    x, other, cond = images(model, 5), images(model, 5, seed=2), torch.tensor([0, 1, 2, 1, 0])
    full = model.logits(x, cond).flatten(1, 3)[:, model.order()]
    cache = model.init_cache(5, cond)
    for block in model.order_blocks():
        at = model.order()[block.start : block.stop]
        guess = x.clone()
        guess.view(5, -1)[:, at] = other.view(5, -1)[:, at]
        for values in (guess, x, x):
            logits, cache = model.decode_block(values, block, cache)
        expected = full[:, block.start : block.stop]
        assert torch.allclose(logits, expected, rtol=1e-10, atol=1e-10), block


def assert_samples_are_equal(model, cond=None, **options):
    """Cached, fused where the kernel can, and Jacobi's samples are those of full passes."""
    rng = Rng(3, 16)
    with torch.no_grad():
        reference = uncached(model, rng, cond, **options)
        assert torch.equal(Sequential(**options)(model, rng, cond), reference)
        steps = Sequential(**options)(model, rng, cond, trace=lambda i, x: None)
        assert torch.equal(steps, reference)
        assert torch.equal(Jacobi(**options)(model, rng, cond), reference)


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("event", EVENTS)
def test_samples_equal_those_of_a_full_pass_per_value(make, event, classes):
    model = make(event, classes=classes).float()
    cond = None if classes is None else torch.arange(16) % classes
    assert_samples_are_equal(model, cond, temperature=1.5)


def test_truncated_samples_equal_those_of_a_full_pass_per_value(make):
    assert_samples_are_equal(make("wide").float(), temperature=1.5, top_k=3, top_p=0.8)


def test_samples_follow_the_distribution_and_score_its_entropy(make):
    model = make("three_levels")
    n = 15_000
    with torch.no_grad():
        x = Sequential()(model, Rng(0, n), None)
        p = model.log_prob(every_image(model)).exp()
        nats = model.log_prob(x)
    entropy = -torch.xlogy(p, p).sum()
    assert abs(nats.mean() + entropy) < 4 * nats.std() / n**0.5
    code = (x.flatten(1) * torch.tensor([27, 9, 3, 1])).sum(1)
    frequencies = torch.bincount(code, minlength=81) / n
    total_variation = float((frequencies - p).abs().sum()) / 2
    assert total_variation < 0.05  # sampling error is 0.03


@pytest.mark.parametrize(
    ("sampler", "trace"),
    [(Sequential(), None), (Sequential(), lambda i, x: None), (Jacobi(), None)],
    ids=["at_once", "steps", "jacobi"],
)
def test_inpainting_keeps_known_values_and_conditions_on_them(make, sampler, trace):
    model = make("binary")
    values, mask = images(model, 6), torch.zeros(6, 1, 3, 3, dtype=torch.bool)
    order = model.order()
    mask.flatten(1)[:, order[:6]] = True
    sample = partial(sampler, model, Rng(0, 6), None, trace=trace)
    with torch.no_grad():
        x = sample(fixed=Inpainting(values, mask))
        again = sample(fixed=Inpainting(x, torch.ones_like(mask)))
        logits = model.logits(x).flatten(1, 3)
    assert torch.equal(x[mask], values[mask]) and torch.equal(again, x)
    u = Rng(0, 6).uniform((9,), stream="value")
    for i in range(6, 9):
        drawn = draw(logits[:, order[i]], u[:, i])
        assert torch.equal(drawn, x.flatten(1)[:, order[i]])


def test_inpainting_warns_once_of_known_values_that_come_later_in_the_order(make, recwarn):
    model = make("binary").float()
    values, place = images(model, 4), model.order().tolist()

    def complete(*known):
        recwarn.clear()
        mask = torch.zeros(1, 3, 3, dtype=torch.bool)
        mask.flatten()[[place[i] for i in known]] = True
        x = model.sample(4, sampler=Sequential(), fixed=(values, mask), batch_size=1)
        return x, [w for w in recwarn if issubclass(w.category, ZooWarning)]

    for known in ((), range(1), range(5), range(9)):
        assert complete(*known)[1] == []
    free = model.sample(4, sampler=Sequential())
    for known, early in (((8,), 8), ((0, 4), 3), (range(4, 9), 4)):
        x, (warning,) = complete(*known)
        assert warning.filename == __file__
        assert f"up to {early} unknown values" in str(warning.message)
        if 0 not in known:  # nothing known before the first known one: drawn as if nothing were
            first = place[: min(known)]
            assert torch.equal(x.flatten(1)[:, first], free.flatten(1)[:, first])


def test_row_of_samples_does_not_depend_on_how_many(make):
    model = make("rgb").float()
    many = model.sample(9, seed=5, sampler=Sequential(), batch_size=4)
    assert torch.equal(many[:2], model.sample(2, seed=5, sampler=Sequential()))


def test_a_random_order_is_fixed_by_its_seed():
    orders = [
        MADE(MADEConfig((1, 4, 4), hidden=8, order="random", order_seed=s)).order()
        for s in (0, 0, 1)
    ]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    assert torch.equal(orders[0].sort()[0], torch.arange(16))


def test_class_changes_every_conditional_but_not_the_order(make):
    model = make("binary", classes=2)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.3)  # lest a mixture of logistics be sure of what it says
    x = images(model, 3)
    zero, one = (model.logits(x, torch.full((3,), c)).log_softmax(-1) for c in (0, 1))
    assert torch.all((zero - one).abs().amax(-1) > 1e-6)


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("event", ["binary", "rgb", "wide"])  # two rows are too few for some
def test_log_prob_has_finite_gradients_for_every_parameter(make, event, classes):
    model = make(event, classes=classes).train()
    x = images(model, 8)
    cond = None if classes is None else torch.arange(8) % classes
    (-model.log_prob(x, cond).mean()).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.any(), name


def test_dropout_acts_in_training_only(make):
    model = make("binary", dropout=0.5)
    x = images(model, 4)
    assert torch.equal(model.log_prob(x), model.log_prob(x))
    model.train()
    assert not torch.equal(model.log_prob(x), model.log_prob(x))


@pytest.mark.parametrize("levels", [2, 5])
def test_every_backend_draws_the_same_images(levels):
    torch.manual_seed(0)
    config = GatedPixelCNNConfig((1, 5, 6), levels=levels, classes=3, hidden=16, layers=3, head=8)
    model = GatedPixelCNN(config).eval()
    rng, cond = Rng(7, 32), torch.arange(32) % 3
    with torch.no_grad():
        steps = Sequential()(model, rng, cond, trace=lambda i, x: None)
        for serves in backends():
            if serves.op == "pixelcnn_sample" and serves.supported:
                with backend(serves.backend):
                    assert torch.equal(Sequential()(model, rng, cond), steps), serves.backend


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (28, 28), (5, 32)])
def test_coordinates_are_the_exact_ones_rounded_once(height, width):
    def exact(n):
        return [float(Fraction(2 * i, n - 1) - 1) for i in range(n)] if n > 1 else [-1.0]

    rows, columns = coordinate_channels(height, width)[1:]
    assert torch.equal(rows[:, 0], torch.tensor(exact(height)))
    assert torch.equal(columns[0], torch.tensor(exact(width)))
