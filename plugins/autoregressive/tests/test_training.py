"""Training brings every architecture closer to a known truth, which it cannot pass."""

import pytest
import torch

import zoo_core as zoo

SMALL = {
    "made": {"hidden": 128},
    "row_lstm": {"hidden": 8, "layers": 2, "kernel": 5},
    "diagonal_bilstm": {"hidden": 8, "layers": 1, "kernel": 5},
    "pixelcnn": {"hidden": 12, "layers": 3, "kernel": 5},
    "gated_pixelcnn": {"hidden": 12, "layers": 3, "kernel": 5},
    "multiscale_pixelcnn": {"hidden": (12, 16), "blocks": (1, 1), "kernel": 5},
    "pixelcnn_pp": {"hidden": 8, "blocks": (1, 1), "kernel": 5, "mixtures": 2, "dropout": 0.0},
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


def excess(model, data, x):
    """The mean of log p(x) - log q(x), an estimate of KL(p, q) >= 0, and its standard error."""
    nats = data.truth(x) - model.log_likelihood(x).nats
    return float(nats.mean()), float(nats.std()) / len(x) ** 0.5
