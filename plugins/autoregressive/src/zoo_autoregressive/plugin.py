"""The specs that this family declares to the zoo; importing this file imports no torch."""

from typing import Any

from zoo_core.plugin import ConverterSpec, ModelSpec, SamplerSpec, hookimpl

__all__ = ["ZOO_API", "zoo_converters", "zoo_models", "zoo_samplers"]

ZOO_API = 1

_BY_ROWS = ("jacobi", 16)
"""The default of networks that Jacobi iterates row by row: on a CPU 16 images take about as long
as pixel by pixel if they are 8 x 8, and half as long if they are 28 x 28; fewer gain more."""


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        _model(
            "made",
            "MADE",
            "masked autoencoder: every conditional in one pass of an MLP",
            "https://arxiv.org/abs/1502.03509",
            hidden=16,
        ),
        _model(
            "row_lstm",
            "RowLSTM",
            "PixelRNN from row to row: each pixel sees a triangle above it",
            "https://arxiv.org/abs/1601.06759",
            sampler_of_few=_BY_ROWS,
            config="PixelRNN",
            hidden=4,
            layers=2,
            head=4,
        ),
        _model(
            "diagonal_bilstm",
            "DiagonalBiLSTM",
            "PixelRNN along both diagonals: each pixel sees all before it",
            "https://arxiv.org/abs/1601.06759",
            config="PixelRNN",
            hidden=4,
            layers=2,
            head=4,
        ),
        _model(
            "pixelcnn",
            "PixelCNN",
            "one stack of masked convolutions, by channel groups",
            "https://arxiv.org/abs/1601.06759",
            sampler_of_few=_BY_ROWS,
            hidden=4,
            layers=2,
            head=4,
        ),
        _model(
            "gated_pixelcnn",
            "GatedPixelCNN",
            "two stacks of gated masked convolutions, optionally class-conditional",
            "https://arxiv.org/abs/1606.05328",
            hidden=4,
            layers=3,
            head=4,
        ),
        _model(
            "multiscale_pixelcnn",
            "MultiscalePixelCNN",
            "gated blocks at full, half and quarter resolution: the best on a CPU",
            "https://arxiv.org/abs/1606.05328",
            sampler_of_few=_BY_ROWS,
            hidden=(4, 6),
            blocks=(1, 1),
            head=4,
        ),
        _model(
            "pixelcnn_pp",
            "PixelCNNPP",
            "gated residual blocks in a causal U, with a discretized mixture of logistics",
            "https://arxiv.org/abs/1701.05517",
            sampler_of_few=_BY_ROWS,
            hidden=4,
            shape=(1, 2, 3),
            levels=3,
            blocks=(1, 1),
            mixtures=2,
        ),
        _model(
            "depthwise_pixelcnn",
            "DepthwisePixelCNN",
            "causal depthwise blocks, with a head that copies pixels or blends them",
            "https://arxiv.org/abs/1701.05517",
            hidden=4,
            levels=3,
            layers=2,
            kernel_size=3,
            mixtures=7,
        ),
        _model(
            "pixelsnail",
            "PixelSNAIL",
            "causal convolutions and attention over all earlier pixels",
            "https://arxiv.org/abs/1712.09763",
            hidden=4,
            blocks=1,
            convolutions=1,
            keys=2,
            values=2,
            head=4,
        ),
        _model(
            "transformer_ar",
            "TransformerAR",
            "a transformer over pixels, vectors or tokens, with any condition",
            "https://arxiv.org/abs/1904.10509",
            network=_TINY_TRANSFORMER,
        ),
        _model(
            "imagegpt",
            "ImageGPT",
            "a transformer over 32 x 32 pixels of a palette of 512 colours",
            "http://proceedings.mlr.press/v119/chen20s.html",
            shape=None,
            size=2,
            colours=3,
            network={**_TINY_TRANSFORMER, "norm": "rms", "activation": "quick_gelu"},
        ),
    ]


_TINY_TRANSFORMER = {"type": "transformer", "hidden": 8, "layers": 1, "heads": 2}


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "sequential",
            "zoo_autoregressive.samplers:Sequential",
            requires=("Conditionals",),
            summary="one value after another from its conditional; completes partly known events",
        ),
        SamplerSpec(
            "jacobi",
            "zoo_autoregressive.jacobi:Jacobi",
            requires=("Conditionals",),
            summary="the draws of `sequential` by parallel passes until nothing changes",
        ),
    ]


@hookimpl
def zoo_converters() -> list[ConverterSpec]:
    return [
        ConverterSpec(
            "transformers_imagegpt",
            "zoo_autoregressive.convert:FromImageGPT",
            arch="imagegpt",
            summary="ImageGPTForCausalImageModeling of transformers, with its palette",
            reads=(("ImageGPTForCausalImageModeling",),),
        )
    ]


def _model(
    arch: str,
    model: str,
    summary: str,
    paper: str,
    *,
    config: str | None = None,
    sampler_of_few: tuple[str, int] | None = None,
    **tiny: Any,
) -> ModelSpec:
    """The spec of a model whose module is named after its arch."""
    return ModelSpec(
        arch=arch,
        family="autoregressive",
        density="explicit/tractable",
        target=f"zoo_autoregressive.{arch}:{model}",
        config=f"zoo_autoregressive.{arch}:{config or model}Config",
        capabilities=("Density", "Conditionals"),
        default_likelihood="exact",
        default_sampler="sequential",
        sampler_of_few=sampler_of_few,
        summary=summary,
        paper=paper,
        tiny=tuple((k, v) for k, v in {"shape": (1, 3, 3), **tiny}.items() if v is not None),
    )
