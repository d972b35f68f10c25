"""A VAE of a table's rows: p(x|z) is normalized, bounds are bounds, weights keep the columns."""

import pytest
import torch

import zoo_core as zoo
from zoo_core.data.dataset import Dataset, Split
from zoo_core.spaces import Classes, Condition, Event, Group
from zoo_core.training import TrainConfig, train

COLUMNS = (("size", 0), ("weight", 0), ("kind", 3), ("age", 0))
MIXED = Group(size=Event(()), weight=Event(()), kind=Classes(3), age=Event(()))


def model(**options):
    torch.manual_seed(0)
    return zoo.create("vae", **{"columns": COLUMNS, "latent": 2, "hidden": (16,), **options})


def rows(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(3, (n, 1), generator=generator)
    x = torch.randn(n, 3, generator=generator) * 0.3 + kind - 1
    return torch.cat([x[:, :2], kind.float(), x[:, 2:]], 1)


def test_the_event_has_a_part_for_each_column():
    assert model().event == MIXED
    assert model(columns=(("a", 0), ("b", 0))).event == Event((2,))
    assert model(columns=(("a", 2), ("b", 3))).event.discrete


def test_the_decoder_is_normalized_over_numbers_and_categories():
    small = model(columns=(("kind", 3), ("size", 0)))
    z = torch.randn(1, 2, generator=torch.Generator().manual_seed(1))
    line = torch.linspace(-20, 20, 4001)
    total = 0.0
    for k in range(3):
        x = torch.stack([torch.full_like(line, float(k)), line], 1)
        p = small.decode(z.expand(len(line), -1))
        total += float(p.log_prob(x).exp().sum()) * 0.01
    assert total == pytest.approx(1, abs=1e-3)


def test_rows_are_drawn_as_events_and_bounds_tighten():
    m = model()
    x = m.sample(64)
    MIXED.check(x)
    assert torch.equal(m.sample(64, batch_size=10), x)
    elbo = m.log_likelihood(x, method="elbo", samples=64).nats.mean()
    iwae = m.log_likelihood(x, method="iwae", k=64).nats.mean()
    assert float(iwae) > float(elbo) - 0.02


def test_a_trained_vae_of_a_table_is_saved_with_its_columns(tmp_path):
    splits = {"train": Split(rows(600)), "valid": Split(rows(200, 1))}
    data = Dataset("rows", MIXED, Condition(), splits, "none", "made up")
    m = model()
    before = float(m.log_likelihood(splits["valid"].x).nats.mean())
    train(m, data, TrainConfig(steps=150, batch_size=64, lr=5e-3))
    after = float(m.log_likelihood(splits["valid"].x).nats.mean())
    assert after > before + 0.5
    m.save(tmp_path / "m")
    again = zoo.load(str(tmp_path / "m"))
    assert again.event == MIXED
    x = splits["valid"].x
    assert torch.equal(again.log_likelihood(x).nats, m.log_likelihood(x).nats)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"columns": (("a", 0), ("a", 2))}, "each has a name of its own"),
        ({"channels": (4,)}, "the rows of a table have none"),
    ],
)
def test_columns_that_make_no_sense_are_refused(options, says):
    with pytest.raises(zoo.ConfigError, match=says):
        model(**options)
