"""transformer_ar: any integers, any condition, both heads, and networks of others."""

from itertools import product

import pytest
import torch
from torch import nn

import zoo_core as zoo
from zoo_autoregressive import TransformerAR, TransformerARConfig
from zoo_core import Classes, Group, Image, Tokens, Vector
from zoo_core.errors import ConfigError
from zoo_core.plugin import TransformerConfig
from zoo_core.spaces import as_condition

OPTIONS = [
    {"patch": 2},
    {"patch": 2, "order": "random"},
    {"patch": 2, "neighbours": True},
    {"head": "copy_mixture", "mixtures": 7},
]
TINY = TransformerConfig(hidden=16, layers=1, heads=2)
CONDITIONS = {
    "tokens": (as_condition(Tokens(3, 4)), torch.tensor([[0, 1, 2], [3, 1, 2]])),
    "vector": (Vector(2), torch.tensor([[0.0, 1.0], [1.0, 1.0]])),
    "image": (Image((1, 2, 2)), torch.stack((torch.zeros(1, 2, 2), torch.ones(1, 2, 2)))),
    "group": (
        as_condition(Group(kind=Classes(3), place=Vector(2, optional=True))),
        {"kind": [0, 2]},
    ),
}


def build(**options):
    torch.manual_seed(0)
    model = TransformerAR(TransformerARConfig(network=TINY, units=12, **options)).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.4)
    return model


def total(model, cond=None):
    """The sum of the probabilities of all events, for every condition."""
    values = product(range(model.event.levels), repeat=model.event.dims)
    x = torch.tensor(list(values)).view(-1, *model.event.shape)
    each = [None] if cond is None else list(cond)
    return [
        model.double().log_prob(x, None if c is None else c.expand(len(x), *c.shape)).exp().sum()
        for c in each
    ]


@pytest.mark.parametrize("name", CONDITIONS)
def test_any_condition_changes_the_distribution_and_keeps_it_normalized(name, tmp_path):
    condition, given = CONDITIONS[name]
    model = build(shape=(4,), levels=3, condition=condition)
    cond = condition.check(given, 2)
    assert all(abs(float(t.detach()) - 1) < 1e-9 for t in total(model, cond))
    x = model.sample(2, seed=0, cond=given)
    one, other = (model.log_prob(x, cond[i].expand(2, *cond.shape[1:])) for i in (0, 1))
    assert not torch.allclose(one, other)
    again = zoo.load(str(model.float().save(tmp_path / "m")))
    assert again.condition == condition
    assert torch.equal(again.sample(2, seed=0, cond=given), model.sample(2, seed=0, cond=given))


@pytest.mark.parametrize("order", ["raster", "random"])
@pytest.mark.parametrize(
    "event",
    [
        {"shape": (5,), "levels": 3},
        {"shape": (4,), "levels": 4, "tokens": True},
        {"shape": (3, 1, 2), "levels": 2},
        {"shape": (3, 1, 2), "levels": 3, "head": "logistic_mixture"},
        {"shape": (4,), "levels": 4, "head": "logistic_mixture"},
        {"shape": (2, 2, 2), "levels": 2, "patch": 2},
        {"shape": (1, 2, 4), "levels": 2, "patch": 2},
        {"shape": (1, 3, 3), "levels": 2, "neighbours": True},
        {"shape": (3, 1, 2), "levels": 3, "head": "copy_mixture"},
    ],
    ids=str,
)
def test_vectors_tokens_and_images_are_normalized(event, order):
    order = order if event.keys() <= {"shape", "levels", "tokens", "patch"} else "raster"
    assert abs(float(total(build(order=order, **event))[0]) - 1) < 1e-9


def test_sequences_are_scored_in_nats_per_token():
    scores = (model := build(shape=(4,), levels=5, tokens=True)).log_likelihood(
        model.sample(4, seed=0)
    )
    assert scores.event == Tokens(4, 5)


@pytest.mark.parametrize("tokens", [False, True])
def test_it_learns_a_table_and_a_sequence(tokens):
    """Columns x, x + 1 and x + 2 mod 4: 1.39 nats, the entropy of the first."""
    first = torch.randint(4, (256, 1), generator=torch.Generator().manual_seed(0))
    rows = (first + torch.arange(3)) % 4
    model = build(shape=(3,), levels=4, tokens=tokens)
    model.network._init_weights()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        (-model.log_prob(rows).mean()).backward()
        optimizer.step()
    assert -float(model.log_prob(rows).mean()) < 1.5
    x = model.sample(64, seed=0)
    assert float(((x - x[:, :1]) % 4 == torch.arange(3)).all(1).float().mean()) > 0.95


def test_a_recipes_table_of_a_condition_is_read():
    table = {"kind": "group", "parts": {"style": {"kind": "classes", "classes": 3}}}
    model = zoo.create(
        "transformer_ar", shape=[4], condition=table, network={"type": "transformer"}
    )
    assert model.condition == as_condition(Group(style=Classes(3)))
    with pytest.raises(ConfigError, match="condition"):
        zoo.create("transformer_ar", condition={"kind": "tokens"})
    with pytest.raises(ConfigError, match="both given"):
        TransformerARConfig(classes=3, condition=Vector(2))


def test_a_patch_that_does_not_divide_the_image_is_refused():
    for shape in ((1, 4, 6), (4,)):
        with pytest.raises(ConfigError, match="patches divide"):
            TransformerARConfig(shape, patch=4)
    for options in ({"shape": (4,)}, {"order": "random"}):
        for raster_only in ({"neighbours": True}, {"head": "copy_mixture"}):
            with pytest.raises(ConfigError, match="of images in raster order"):
                TransformerARConfig(**raster_only, **options)


def test_a_mixture_of_logistics_is_refused_for_what_has_no_scale():
    for event in ({"shape": (4,), "tokens": True}, {"shape": (2, 4, 4)}):
        with pytest.raises(ConfigError, match="values on a scale"):
            TransformerARConfig(head="logistic_mixture", levels=8, **event)


class Averages(nn.Module):
    """A sequence network of a stranger: the running mean of embeddings, kept in its cache."""

    def __init__(self, vocabulary, outputs):
        super().__init__()
        self.table, self.out = nn.Embedding(vocabulary, 8), nn.Linear(8, outputs)

    def forward(self, tokens, cond=None, cache=None):
        h = self.table(tokens)
        if cache is not None:
            cache.append(h)
            h = torch.cat(cache, 1)
        counts = torch.arange(1, h.shape[1] + 1).view(1, -1, 1)
        return self.out(h.cumsum(1) / counts)[:, -tokens.shape[1] :]

    def init_cache(self, batch, cond=None):
        return []


def test_a_strangers_network_is_scored_and_sampled():
    model = TransformerAR(TransformerARConfig((6,), levels=3, network=Averages(4, 3))).eval()
    assert abs(float(total(model)[0]) - 1) < 1e-9
    x, cache = model.sample(3, seed=0), model.init_cache(3)
    steps = [model.decode_step(x, i, cache)[0] for i in range(6)]
    assert torch.allclose(torch.stack(steps, 1), model.logits(x))


def test_a_network_without_a_cache_is_refused():
    with pytest.raises(ConfigError, match="has no method init_cache"):
        TransformerAR(TransformerARConfig((6,), levels=3, network=nn.Embedding(4, 3)))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values_are_decoded_in_turn_as_the_full_pass_scores_them(options):
    model = build(shape=(3, 4, 6), levels=3, **options).double()
    x = torch.randint(3, (3, 3, 4, 6), generator=torch.Generator().manual_seed(0))
    full, known = model.logits(x).flatten(1, 3), torch.zeros_like(x)
    cache = model.init_cache(3)
    for i, place in enumerate(model.order().tolist()):
        logits, cache = model.decode_step(known, i, cache)
        assert torch.allclose(logits, full[:, place], atol=1e-10)
        known.view(3, -1)[:, place] = x.view(3, -1)[:, place]
    assert torch.equal(model.order().sort()[0], torch.arange(72))
