"""The importance-weighted bound and a training step of a VAE beside pythae's, on equal networks.

Both have 784-500-500-50 and back, with the same weights, on binary images. pythae scores image by
image, a hundred draws at a time; IWAE-5000 is fifty of the rows with k = 100, for either. At its
best its encoder and decoder are compiled. Bounds are compared within their Monte Carlo error.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import zoo_core as zoo
from zoo_core.likelihoods.iwae import IWAE

from . import Bench, Build, Call, Goal, device

PACKAGES = ("pythae",)

_IMAGES, _K, _BATCH = 64, 100, 100
_WITHIN = 0.02
"""Of the bound: what different draws differ by."""


@cache
def _fresh() -> Any:
    torch.manual_seed(0)
    return zoo.create("vae")


def _model() -> Any:
    return _fresh().to(device())


def _images(n: int) -> Tensor:
    x = torch.randint(2, (n, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    return x.to(device())


def _stack(mlp: Any) -> nn.Sequential:
    """The same layers and weights as a plain network."""
    first, *others = deepcopy(mlp.layers)
    parts = [part for layer in others for part in (nn.SiLU(), layer)]
    return nn.Sequential(nn.Flatten(), first, *parts)


def _peer(*, best: bool) -> Any:
    """pythae's VAE around the same networks."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    def plain(net: nn.Module) -> Callable[[Tensor], Tensor]:
        return torch.compile(net, dynamic=False) if best else net

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = _stack(_model().encoder.dense)
            self.call = plain(self.net)

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_std = self.call(2 * x - 1).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=2 * log_std)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = _stack(_model().decoder.dense)
            self.call = plain(self.net)

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.call(z).sigmoid().view(-1, 1, 28, 28))

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=50, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(), decoder=Decoder()).to(device())


def _score() -> Call:
    model, x = _model(), _images(_IMAGES)
    return lambda: model.log_likelihood(x, method=IWAE(k=_K)).nats.mean()


def _score_peer(*, best: bool) -> Build:
    def build() -> Call:
        model, x = _peer(best=best).eval(), _images(_IMAGES).float()

        def call() -> Tensor:
            with torch.no_grad():
                return torch.tensor(model.get_nll(x, n_samples=_K, batch_size=_K))

        return call

    return build


def _trained(model: Any, loss: Callable[[int], Tensor]) -> Call:
    """One more step of Adam at each call; gives the loss before it."""
    optimizer, steps = torch.optim.Adam(model.parameters(), 1e-4), iter(range(1 << 30))

    def call() -> Tensor:
        total = loss(next(steps))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return total.detach()

    return call


def _train() -> Call:
    model = deepcopy(_model()).train()
    (player,) = model.players().values()
    batch, rng = (_images(_BATCH), None), zoo.Rng(0, _BATCH).to(device())
    return _trained(model, lambda step: player.loss(batch, rng, step).total)


def _train_peer(*, best: bool) -> Build:
    def build() -> Call:
        model, x = _peer(best=best).train(), _images(_BATCH).float()
        return _trained(model, lambda step: model({"data": x}).loss)

    return build


_IWAE, _STEP = f"iwae {_IMAGES}x784 k={_K}", f"train step {_BATCH}x784"


def _contest(ours: Build, peer: Callable[..., Build]) -> dict[str, Build]:
    return {"ours": ours, "pythae": peer(best=False), "pythae compiled": peer(best=True)}


BENCHES = (
    Bench(_IWAE, _contest(_score, _score_peer), equal={"pythae": _WITHIN}),
    Bench(_STEP, _contest(_train, _train_peer), equal={"pythae": _WITHIN}),
)
GOALS = (Goal("vae", _IWAE, "pythae", 2, best=1), Goal("vae", _STEP, "pythae", 1))
