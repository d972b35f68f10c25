"""Variational autoencoder (Kingma & Welling, 2014; Rezende, Mohamed & Wierstra, 2014).

https://arxiv.org/abs/1312.6114. A decoder generates an event x from normal latents z, and an
encoder approximates the posterior of z given x:

    p(z) = N(0, I),  p(x|z) = prod_i p(x_i | f(z)),  q(z|x) = N(mu(x), diag sigma(x)^2)   (eq. 9)
    log p(x) >= E_q[log p(x|z)] - KL(q(z|x) || p(z))                                      (eq. 3)

The bounds (ELBO, IWAE) and their losses are the core's (`zoo_core.likelihoods`);
`ELBOLoss(beta=4)` trains a beta-VAE (Higgins et al., 2017). With `channels` the networks are
convolutional; with `columns` they are those of a table's rows (`zoo_vae.tables`).

Shapes: B batch, C channels, H height, W width, Z latents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from torch import Tensor

from zoo_core.plugin import (
    ClassCounts,
    Condition,
    ConfigError,
    Distribution,
    Event,
    GenerativeModel,
    Group,
    Normal,
    Range,
    Rng,
    condition_features,
)
from zoo_vae.networks import (
    DecoderLikelihood,
    ImageDecoder,
    ImageEncoder,
    clamp_log_std,
    to_float32,
)
from zoo_vae.tables import ColumnSizes, RowDecoder, RowEncoder, columns_of, row_event

__all__ = ["VAE", "VAEConfig"]


@dataclass(frozen=True)
class VAEConfig:
    """Event, likelihood and networks; `classes` makes the model class-conditional.

    `hidden` are the widths of the encoder's dense layers, in reverse those of the decoder;
    `channels` those of the encoder's stride-2 convolutions, in reverse the decoder's (none: MLP).
    """

    shape: Annotated[tuple[int, ...], Range(1, 4096)] = (1, 28, 28)
    """Of integers: [C, H, W] of images, [D] of vectors."""
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: ClassCounts = None
    likelihood: DecoderLikelihood = "bernoulli"
    latent: Annotated[int, Range(1, 65536)] = 50
    hidden: Annotated[tuple[int, ...], Range(1, 65536)] = (500, 500)
    channels: Annotated[tuple[int, ...], Range(1, 65536)] = ()
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    columns: ColumnSizes = ()
    """Of a table: names with numbers of categories, 0 of numbers, as in
    `columns = [["age", 0], ["job", 12]]`. Shape, levels and likelihood are then not used."""


class VAE(GenerativeModel):
    """One group of normal latents between an encoder and a decoder.

    model = VAE(VAEConfig(shape=(1, 8, 8), levels=17, likelihood="categorical", latent=10))
    model.log_likelihood(x, method=zoo.IWAE(k=64))
    """

    def __init__(self, config: VAEConfig | None = None) -> None:
        c = config or VAEConfig()
        event = row_event(c.columns) if c.columns else Event(c.shape, levels=c.levels)
        super().__init__(c, event, Condition.from_classes(c.classes))
        if not c.columns and len(c.shape) not in (1, 3):
            raise ConfigError(f"shape = {c.shape}; it must be (C, H, W) for images or (D,).")
        if c.columns and c.channels:
            raise ConfigError(f"channels = {c.channels}; the rows of a table have none.")
        options = {"classes": self.condition.features, "dropout": c.dropout}
        self.encoder = _encoder(c, event, **options)
        self.decoder = _decoder(c, event, **options)

    @classmethod
    def options_for(cls, event: Event, options: Mapping[str, Any]) -> dict[str, Any]:
        """Reals, and the parts of a group, are columns; only bits have a Bernoulli likelihood."""
        own = {k: v for k, v in options.items() if k != "columns"}
        if isinstance(event, Group) or not event.discrete:
            return {**own, "columns": columns_of(event), "channels": []}
        changed = super().options_for(event, own)
        if event.levels != 2 and changed.get("likelihood", "bernoulli") == "bernoulli":
            changed["likelihood"] = "categorical"
        return changed

    def prior(self, batch: int, cond: Tensor | None = None) -> Normal:
        """p(z) = N(0, I) over (B, Z)."""
        return Normal.standard(batch, self.config.latent, like=self.decoder.dense.like)

    def encode(self, x: Tensor, cond: Tensor | None = None) -> Normal:
        """q(z|x) over (B, Z), for x (B, C, H, W) or rows (B, W)."""
        mean, log_std = to_float32(self.encoder(x, self._class_features(cond))).chunk(2, 1)
        return Normal(mean, clamp_log_std(log_std))

    def decode(self, z: Tensor, cond: Tensor | None = None) -> Distribution:
        """p(x|z) over (B, C, H, W) or rows (B, W), for z (B, Z)."""
        p: Distribution = self.decoder(z, self._class_features(cond))
        return p

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        """x ~ p(x|z), z ~ p(z): (B, C, H, W) or (B, W)."""
        z = self.prior(len(rng), cond).sample(rng, stream="z")
        return self.decode(z, cond).sample(rng, stream="x")

    def _class_features(self, cond: Tensor | None) -> Tensor | None:
        return condition_features(self.condition, cond, self.dtype)


def _encoder(c: VAEConfig, event: Event, **options: Any) -> ImageEncoder | RowEncoder:
    if c.columns:
        return RowEncoder(event, c.hidden, 2 * c.latent, **options)
    return ImageEncoder(event, c.channels, c.hidden, 2 * c.latent, **options)


def _decoder(c: VAEConfig, event: Event, **options: Any) -> ImageDecoder | RowDecoder:
    hidden = c.hidden[::-1]
    if c.columns:
        return RowDecoder(c.columns, hidden, c.latent, **options)
    return ImageDecoder(event, c.channels, hidden, c.latent, c.likelihood, **options)
