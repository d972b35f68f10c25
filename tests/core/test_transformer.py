"""The laws of the transformer: masks, caches, positions and conditions."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from zoo_core import Classes, Condition, Group, Image, Tokens, Vector
from zoo_core.errors import ConfigError
from zoo_core.nn.attention import Blocks, rotary_angles, rotate
from zoo_core.nn.transformer import Transformer, TransformerConfig
from zoo_core.spaces import as_condition

L, K = 6, 5
TINY = TransformerConfig(hidden=16, layers=2, heads=2)
CONFIGS = {
    "gpt2": TINY,
    "imagegpt": replace(TINY, norm="rms", activation="quick_gelu"),
    "llama": replace(
        TINY, positions="none", rotary=1, norm="rms", activation="swiglu", bias=False
    ),
    "rotary_2d": replace(TINY, rotary=2, feedforward=24),
    "sinusoidal": replace(TINY, positions="sinusoidal", tied=True),
    "prefix": replace(TINY, prefix=True),
}
CONDITIONS = {
    "none": Condition(),
    "class": Classes(3),
    "tokens": as_condition(Tokens(4, 7)),
    "group": as_condition(
        Group(
            style=Classes(3, optional=True),
            at=Vector(2, optional=True),
            seen=Image((2, 2, 3)),
            text=Tokens(2, 4, optional=True),
        )
    ),
}
GRID = torch.stack((torch.arange(L) // 3, torch.arange(L) % 3), 1)


def build(name="gpt2", condition="none", **sizes):
    torch.manual_seed(0)
    sizes = {"vocabulary": K + 1, "length": L, "outputs": K, "places": GRID, **sizes}
    net = Transformer(CONFIGS[name], condition=CONDITIONS[condition], **sizes).double().eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return net


def tokens(batch, seed=1):
    return torch.randint(K + 1, (batch, L), generator=torch.Generator().manual_seed(seed))


def conditions(name, batch):
    generator = torch.Generator().manual_seed(2)
    if name == "none":
        return None
    if name == "class":
        return torch.randint(3, (batch,), generator=generator)
    if name == "tokens":
        return torch.randint(7, (batch, 4), generator=generator)
    given = {
        "style": torch.randint(3, (batch,), generator=generator),
        "seen": torch.randn(batch, 2, 2, 3, generator=generator),
    }
    return CONDITIONS[name].check(given, batch)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", CONFIGS)
def test_cached_steps_give_the_outputs_of_the_full_pass(name, condition):
    net, x, cond = build(name, condition), tokens(3), conditions(condition, 3)
    full = net(x, cond)
    cache = net.init_cache(3, cond)
    steps = torch.cat([net(x[:, i : i + 1], cache=cache) for i in range(L)], 1)
    assert torch.allclose(steps, full, rtol=1e-10, atol=1e-10)
    cache = net.init_cache(3, cond)
    parts = torch.cat([net(x[:, :2], cache=cache), net(x[:, 2:], cache=cache)], 1)
    assert torch.allclose(parts, full, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_output_depends_on_its_token_and_those_before(name):
    net, x = build(name, "class"), tokens(1)
    first = net(x, torch.tensor([1]))
    for i in range(L):
        changed = x.clone()
        changed[:, i] = (x[:, i] + 1) % K
        differs = (net(changed, torch.tensor([1])) - first).abs().amax(-1)[0] > 0
        assert not differs[:i].any() and differs[i:].all(), i


def test_tokens_of_a_block_see_one_another_and_none_of_later_blocks():
    net, x = build(blocks=[1, 2, 3]), tokens(1)
    first, block = net(x), torch.tensor([0, 1, 1, 2, 2, 2])
    for i in range(L):
        changed = x.clone()
        changed[:, i] = (x[:, i] + 1) % K
        differs = (net(changed) - first).abs().amax(-1)[0] > 0
        assert torch.equal(differs, block >= block[i]), i
    cache = net.init_cache(1)
    parts = [net(x[:, a:b], cache=cache) for a, b in ((0, 1), (1, 3), (3, 6))]
    assert torch.allclose(torch.cat(parts, 1), first, rtol=1e-10, atol=1e-10)


def test_only_with_a_prefix_do_the_conditions_tokens_see_those_after_them():
    first, last = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 1, 2, 4]])
    for name, seen in (("gpt2", False), ("prefix", True)):
        net = build(name, "tokens")
        keys = [net.init_cache(1, cond).keys[1][:, :, 0] for cond in (first, last)]
        assert torch.equal(*keys) != seen


@pytest.mark.parametrize("condition", ["class", "tokens", "group"])
def test_every_part_of_a_condition_changes_every_output(condition):
    net, x, cond = build("gpt2", condition), tokens(1), conditions(condition, 1)
    first = net(x, cond)
    for column in range(cond.numel()):
        changed = cond.clone().view(1, -1)
        changed[:, column] = (changed[:, column] + 1) % 2
        out = net(x, changed.view_as(cond))
        assert ((out - first).abs().amax(-1) > 0).all(), column


def test_an_absent_condition_is_the_null_one():
    space = Classes(3, optional=True)
    net = Transformer(TINY, vocabulary=K, length=L, outputs=K, condition=space).eval()
    x = tokens(2) % K
    assert torch.equal(net(x), net(x, space.null(2)))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_does_not_depend_on_its_batch(name):
    """In float64 to 1e-12, whatever the kernel of attention does with a batch; the sampler's
    inverse CDF then gives the same integers."""
    net, x = build(name, "class"), tokens(9)
    many = net(x, torch.arange(9) % 3)
    for b in (0, 4, 8):
        one = net(x[b : b + 1], torch.tensor([b % 3]))
        assert torch.allclose(one[0], many[b], rtol=1e-12, atol=1e-12)


def test_rotary_scores_depend_on_the_difference_of_places():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=generator, dtype=torch.float64)

    def score(a, b):
        turned = [rotate(x, rotary_angles(torch.tensor([p]), 8)) for x, p in ((q, a), (k, b))]
        return (turned[0] * turned[1]).sum()

    assert torch.isclose(score((5, 2), (1, 4)), score((9, 0), (5, 2)))
    assert not torch.isclose(score((5, 2), (1, 4)), score((5, 3), (1, 4)))
    assert not torch.isclose(score((5, 2), (1, 4)), score((6, 2), (1, 4)))


def test_the_attention_is_a_softmax_over_what_the_mask_shows():
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, L, 4, generator=generator, dtype=torch.float64)
    for blocks in ([1] * L, [3, 1, 1, 1], [2, 4]):
        order = Blocks(blocks)
        hidden = ~order.mask(L, L, q.device)
        scores = (q @ k.transpose(2, 3) / 2).masked_fill(hidden, -torch.inf)
        assert torch.allclose(order.of(L, L, q.device)(q, k, v), scores.softmax(-1) @ v)


def test_the_norm_without_a_mean_divides_by_the_root_mean_square():
    norm, x = build("imagegpt").norm, torch.randn(3, 16, dtype=torch.float64)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight
    assert torch.allclose(norm(x), expected)


def test_checkpointing_changes_no_gradient():
    grads = []
    for kept in (False, True):
        net = build()
        net.config = replace(TINY, checkpoint=kept, dropout=0.0)
        net.train()
        F.cross_entropy(net(tokens(2)).flatten(0, 1), (tokens(2) % K).flatten()).backward()
        grads.append([p.grad for p in net.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(*grads, strict=True))


def test_tied_outputs_are_scores_of_the_embedding():
    net = build("sinusoidal")
    assert net.head is None and net(tokens(1)).shape == (1, L, K)
    with pytest.raises(ConfigError, match="tied = true gives 6 outputs"):
        build("sinusoidal", outputs=9)


def test_what_does_not_divide_or_stand_on_a_grid_is_refused():
    with pytest.raises(ConfigError, match="must be a multiple of 8"):
        replace(TINY, hidden=12, rotary=2)
    with pytest.raises(ConfigError, match="no places"):
        build("rotary_2d", places=None)
