"""Training brings every architecture closer to a known true log p, which it cannot exceed."""

import pytest
import torch

import zoo_core as zoo

SMALL = {
    "made": {"hidden": 128},
    "row_lstm": {"hidden": 8, "layers": 2, "kernel_size": 5},
    "diagonal_bilstm": {"hidden": 8, "layers": 1, "kernel_size": 5},
    "pixelcnn": {"hidden": 12, "layers": 3, "kernel_size": 5},
    "gated_pixelcnn": {"hidden": 12, "layers": 3, "kernel_size": 5},
    "multiscale_pixelcnn": {"hidden": (12, 16), "blocks": (1, 1), "kernel_size": 5},
    "pixelcnn_pp": {
        "hidden": 8,
        "blocks": (1, 1),
        "kernel_size": 5,
        "mixtures": 2,
        "dropout": 0.0,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("arch", SMALL)
def test_true_log_p_of_ising_is_approached_from_below(arch):
    data = zoo.load_dataset("ising")
    x = data.split("test").x[:1000]
    torch.manual_seed(0)
    model = zoo.create(arch, shape=(1, 8, 8), levels=2, **SMALL[arch])
    before, _ = excess(model, data, x)
    config = zoo.TrainConfig(steps=250, batch_size=32, lr=5e-3, schedule="cosine", warmup=20)
    zoo.train(model, data, config, progress=False)
    after, error = excess(model, data, x)
    assert -3 * error < after < 0.2 * before


COLOUR = {
    "pixelcnn_pp": {"hidden": 12, "blocks": (1, 1), "mixtures": 4, "dropout": 0.0},
    "gated_pixelcnn": {"hidden": 12, "layers": 3, "kernel_size": 5, "head": 48},
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("arch", COLOUR)
def test_colour_photographs_are_learnt_sampled_and_scored(arch, size):
    data = zoo.load_dataset("photos", size=size)
    x = data.split("valid").x[:24].long()
    torch.manual_seed(0)
    model = zoo.create(arch, shape=(3, size, size), levels=256, **COLOUR[arch])
    before = model.log_likelihood(x).mean()
    config = zoo.TrainConfig(steps=160, batch_size=4096 // size**2, lr=8e-3, schedule="cosine")
    zoo.train(model, data, config, progress=False)
    after = model.log_likelihood(x).mean()
    assert after.bits_per_dim < min(before.bits_per_dim, independent(data, x)) - 0.5
    mask = torch.ones(3, size, size, dtype=torch.bool)
    mask[:, -1, -4:] = False  # four pixels of three channels are drawn
    completed = model.sample(2, fixed=(x[:2], mask))
    assert torch.equal(completed[:, mask], x[:2][:, mask])
    assert torch.isfinite(model.log_likelihood(completed).nats).all()


def independent(data, x):
    """Bits per value of x under the histogram of the training values."""
    counts = torch.bincount(data.split("train").x.flatten().long(), minlength=256) + 1.0
    return float(-(counts / counts.sum()).log2()[x].mean())


def excess(model, data, x):
    """The mean of log p(x) - log q(x), an estimate of KL(p, q) >= 0, and its standard error."""
    nats = data.truth(x) - model.log_likelihood(x).nats
    return float(nats.mean()), float(nats.std()) / len(x) ** 0.5


@pytest.mark.parametrize("arch", ["pixelcnn_pp", "multiscale_pixelcnn"])
def test_blocks_that_are_computed_again_give_the_same_gradients(arch, monkeypatch):
    torch.manual_seed(0)
    model = zoo.create(arch, shape=(3, 8, 8), levels=4, **SMALL[arch] | {"dropout": 0.2}).train()
    x = torch.randint(4, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    found = []
    for large in (1 << 30, 0):
        monkeypatch.setattr("zoo_autoregressive.backbone._LARGE", large)
        torch.manual_seed(1)
        model.zero_grad()
        model.log_prob(x).sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    kept, again = found
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))
