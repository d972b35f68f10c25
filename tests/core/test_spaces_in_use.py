"""Spaces in the drivers: several labels, tokens and tables are drawn, scored, saved and named."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import zoo_core as zoo
from zoo_core import Classes, Condition, DataError, Event, Group, Tokens, UsageError
from zoo_core.data.batches import check_fit, cond_to_model, to_model
from zoo_core.data.dataset import Dataset, Split
from zoo_core.evaluation.baselines import strongest_baseline
from zoo_core.nn.inputs import condition_features
from zoo_core.spaces import as_condition

LABELS = Group(group=Classes(3), style=Classes(2, names=("noto", "twemoji"), optional=True))


@dataclass(frozen=True)
class _Config:
    pass


class Table(zoo.GenerativeModel):
    """p(x | condition) = prod_i Categorical(x_i; W features), of any integers."""

    def __init__(self, event: Event, condition: Condition | Event | None = None) -> None:
        super().__init__(_Config(), event, condition)
        shape = (max(1, self.condition.features), event.dims, event.levels)
        self.table = torch.nn.Parameter(
            torch.linspace(-2, 2, shape[0] * shape[1] * shape[2]).sin().view(shape)
        )

    def _log_p(self, n, cond):
        ones = torch.ones(n, 1, dtype=self.dtype)
        features = condition_features(self.condition, cond, self.dtype, like=ones)
        w = torch.einsum("bf,fdk->bdk", ones if features is None else features, self.table)
        return w.log_softmax(-1).view(n, *self.event.shape, -1)

    def log_prob(self, x, cond=None):
        return self._log_p(len(x), cond).gather(-1, x.unsqueeze(-1)).flatten(1).sum(1)

    def sample_rows(self, rng, cond=None):
        return rng.categorical(self._log_p(len(rng), cond), stream="x")


def test_several_labels_are_given_by_name_and_travel_with_their_rows():
    model = Table(Event((2,), levels=3), LABELS)
    cond = {"group": [0, 1, 2, 0], "style": ["noto", "twemoji", "noto", "noto"]}
    x = model.sample(4, cond=cond)
    assert torch.equal(model.sample(4, cond=cond, batch_size=1), x)
    whole = model.log_likelihood(x, cond=cond, method="exact").nats
    packed = model.condition.check(cond, 4)
    each = [
        model.log_likelihood(x[i : i + 1], cond=packed[i : i + 1], method="exact").nats
        for i in range(4)
    ]
    torch.testing.assert_close(torch.cat(each), whole)
    without = model.log_likelihood(x, cond={"group": 0}, method="exact").nats
    assert not torch.equal(
        without, model.log_likelihood(x, cond={"group": 0, "style": 0}, method="exact").nats
    )


def test_numbers_of_classes_stay_exact_in_a_model_of_few_bits():
    mixed = Group(pose=zoo.Vector(1), token=Classes(60_000))
    model = Table(Event((1,), levels=2), mixed).bfloat16()
    cond = model.condition.check({"pose": [[0.5]], "token": [59_999]}, 1)
    assert model.condition.split(cond_to_model(cond, model))["token"].tolist() == [59_999]
    lone = Table(Event((1,), levels=2), zoo.Vector(2)).bfloat16()
    assert cond_to_model(torch.zeros(1, 2), lone).dtype == torch.bfloat16
    assert to_model(torch.zeros(1, 2), lone).dtype == torch.bfloat16


def test_tokens_are_scored_in_nats_of_tokens_and_never_in_bits_per_dim():
    model = Table(Tokens(4, 8))
    mean = model.log_likelihood(model.sample(16), method="exact").mean()
    record = mean.record()
    assert (
        record["nats_per_token"] == pytest.approx(-mean.nats / 4)
        and record["events"] == "4 tokens 0..7"
    )
    assert (
        "bits_per_dim" not in record and "nats/token = " in str(mean) and "bits" not in str(mean)
    )
    with pytest.raises(UsageError, match="no bits/dim"):
        _ = mean.bits_per_dim
    with pytest.raises(UsageError, match="no bits/dim"):
        model.log_likelihood(model.sample(2), method="exact").bits_per_dim()
    pixels = Table(Event((4,), levels=8))
    assert (
        pixels.log_likelihood(pixels.sample(2), method="exact").mean().record()["bits_per_dim"] > 0
    )


def _data(condition, y):
    x = torch.arange(12).view(6, 2) % 3
    return Dataset(
        "d", Event((2,), levels=3), condition, {"train": Split(x.to(torch.uint8), y)}, "", ""
    )


Y = as_condition(LABELS).check({"group": [0, 1, 2, 0, 1, 2], "style": [0, 1, 0, 1, 0, 1]}, 6)


def test_models_and_data_fit_part_by_part():
    data = _data(LABELS, Y)
    assert data.condition.kind == "group"
    check_fit(Table(data.event, LABELS), data)
    for other in (
        Group(group=Classes(4), style=Classes(2)),
        Group(style=Classes(2), group=Classes(3)),
        Group(group=Classes(3), style=Classes(2, names=("a", "b"))),
        Classes(3),
    ):
        with pytest.raises(DataError, match="the model needs"):
            check_fit(Table(data.event, other), data)
    with pytest.raises(DataError, match="the model is for 2 tokens"):
        check_fit(Table(Tokens(2, 3)), data)
    with pytest.raises(DataError, match=r"cond\['group'\] has values from 0 to 3"):
        _data(LABELS, torch.tensor([[3, 0]] * 5 + [[0, 0]]))


def test_baselines_are_told_the_combination_of_labels():
    data = _data(LABELS, Y)
    null = strongest_baseline(data, conditional=True)
    x, y = data.split("train").rows()
    assert null.log_prob(x, y).mean() > strongest_baseline(data).log_prob(x, None).mean() + 1
    assert torch.equal(null.log_prob(x[:2], y[:2]), null.log_prob(x, y)[:2])


def test_events_are_drawn_and_scored_where_the_model_is_unless_another_device_is_named(
    monkeypatch,
):
    model = Table(Event((2,), levels=3))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: pytest.fail("moved to the CPU"))
    x = model.sample(3)
    assert x.device == model.device
    assert model.log_likelihood(x, method="exact").to("meta").nats.device.type == "meta"
    assert model.sample(3, device="meta").device.type == "meta"
    assert [b.device.type for b in model.sample_batches(3, batch_size=2, device="meta")] == [
        "meta"
    ] * 2
    assert Event((2,)).check_shape(torch.zeros(3, 2, device="meta")).device.type == "meta"
    assert Event((2,)).check(torch.zeros(3, 2), device="meta").device.type == "meta"


class _NewBytes(TorchDispatchMode):
    """The size of each tensor that an operation returns in memory of its own."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {a.untyped_storage()._cdata for a in args if isinstance(a, torch.Tensor)}
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.untyped_storage()._cdata not in given:
            self.sizes.append(out.untyped_storage().nbytes())
        return out


def test_98_megabytes_of_images_are_scored_without_a_copy_of_all_of_them():
    model = Table(Event((3, 32, 32), levels=256))
    x = torch.zeros(32_000, 3, 32, 32, dtype=torch.uint8)
    model.log_prob = lambda x, cond=None: -x.flatten(1).float().sum(1)
    with _NewBytes() as new:
        model.log_likelihood(x, method="exact")
    assert 1e6 < max(new.sizes) < x.nbytes / 2


def _npz(path, **arrays):
    x = np.random.default_rng(0).integers(0, 2, (20, 1, 4, 4)).astype(bool)
    np.savez(path, x=x, **arrays)
    return zoo.load_dataset(str(path))


def test_files_may_hold_several_labels_and_the_names_of_classes(tmp_path):
    n = np.arange(20)
    data = _npz(tmp_path / "a.npz", y_group=n % 3, y_style=n % 2, names_style=["noto", "twemoji"])
    assert str(data.condition) == "group: a class 0..2; style: a class 0..1 (noto, twemoji)"
    assert data.split("test").y.tolist() == [[i % 3, i % 2] for i in range(20)]
    lone = _npz(tmp_path / "b.npz", y=n % 2, names=["a", "b", "c"])
    assert lone.condition == Classes(3) and lone.condition.names == ("a", "b", "c")
    with pytest.raises(DataError, match="one label and several by name"):
        _npz(tmp_path / "c.npz", y=n % 2, y_style=n % 2)
    with pytest.raises(DataError, match="names_style has dtype .* at least 2: a name for each"):
        _npz(tmp_path / "d.npz", y_style=n % 2, names_style=["noto"])
    with pytest.raises(DataError, match=r"labels of 'style' have dtype float64"):
        _npz(tmp_path / "e.npz", y_style=n / 2)
    with pytest.raises(DataError, match="which mean nothing here"):
        _npz(tmp_path / "f.npz", y_style=n % 2, names_stile=["a", "b"])


def test_files_of_splits_and_of_tokens(tmp_path):
    x, y = np.arange(12).reshape(4, 3), np.array([0, 1, 1, 0])
    splits = {"train": x, "test": x, "y_train_a": y, "y_train_b": y, "y_test_a": y, "y_test_b": y}
    np.savez(tmp_path / "s.npz", **splits)
    data = zoo.load_dataset(str(tmp_path / "s.npz"), tokens=True)
    assert data.event == Tokens(3, 12) and data.split("train").y.shape == (4, 2)
    del splits["y_test_b"]
    np.savez(tmp_path / "t.npz", **splits)
    with pytest.raises(DataError, match="labels for some splits only"):
        zoo.load_dataset(str(tmp_path / "t.npz"))
    np.savez(tmp_path / "u.npz", x=x[:, :, None])
    with pytest.raises(DataError, match="tokens are sequences"):
        zoo.load_dataset(str(tmp_path / "u.npz"), tokens=True)
