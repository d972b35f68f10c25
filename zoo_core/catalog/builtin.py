"""The core's own plugin: density types, generic losses, samplers, likelihoods and data sets.

It uses the same hooks as any other plugin.
"""

from zoo_core.catalog.hookspecs import ZOO_API, hookimpl
from zoo_core.catalog.specs import (
    DatasetSpec,
    DensityType,
    HealthCheck,
    LikelihoodKind,
    LikelihoodSpec,
    LossSpec,
    MetricSpec,
    NetworkSpec,
    OptimizerSpec,
    SamplerSpec,
    ScheduleSpec,
)

__all__ = ["ZOO_API"]


@hookimpl
def zoo_density_types() -> list[DensityType]:
    return [
        DensityType(
            "explicit/tractable",
            "p(x) is defined and can be computed",
            likelihood="exact, exact_density, deq_bound or ode_estimate",
            sampling="sequential (autoregressive) or one pass (flow)",
        ),
        DensityType(
            "explicit/approximate",
            "p(x) is defined through latent variables; a bound can be computed",
            likelihood="elbo, iwae or ais",
            sampling="one pass",
        ),
        DensityType(
            "explicit/score",
            "trained by a variational bound or score matching, sampled by iterating (hybrid)",
            likelihood="elbo or ode_estimate",
            sampling="iterative",
        ),
        DensityType(
            "implicit",
            "samples are drawn; no p(x) is written down",
            likelihood="none; ais with a stated sigma scores a different model",
            sampling="one pass",
        ),
    ]


@hookimpl
def zoo_networks() -> list[NetworkSpec]:
    return [
        NetworkSpec(
            "mlp",
            "zoo_core.nn.modulated_mlp:ModulatedMLP",
            "zoo_core.nn.modulated_mlp:ModulatedMLPConfig",
            "denoiser",
            summary="residual MLP for a few values, modulated by time and label",
        ),
        NetworkSpec(
            "unet",
            "zoo_core.nn.unet:UNet",
            "zoo_core.nn.unet.config:UNetConfig",
            "denoiser",
            summary="U-Net of DDPM, its later variants and NCSN++",
        ),
        NetworkSpec(
            "song_unet",
            "zoo_core.nn.song_unet:SongUNet",
            "zoo_core.nn.song_unet.config:SongUNetConfig",
            "denoiser",
            summary="U-Nets DDPM++ and NCSN++ as EDM trains them",
        ),
        NetworkSpec(
            "dit",
            "zoo_core.nn.dit:DiT",
            "zoo_core.nn.dit:DiTConfig",
            "denoiser",
            summary="diffusion transformer over the patches of an image, of DiT, SiT and JiT",
        ),
        NetworkSpec(
            "mlp",
            "zoo_core.nn.mlp:build_mlp",
            "zoo_core.nn.mlp:MLPConfig",
            "vector",
            summary="residual MLP",
        ),
        NetworkSpec(
            "resnet",
            "zoo_core.nn.resnet:build_resnet",
            "zoo_core.nn.resnet:ResNetConfig",
            "image",
            summary="residual convolutions at one resolution",
        ),
        NetworkSpec(
            "transformer",
            "zoo_core.nn.transformer:Transformer",
            "zoo_core.nn.transformer:TransformerConfig",
            "sequence",
            summary="decoder-only transformer, with a cache",
        ),
    ]


@hookimpl
def zoo_losses() -> list[LossSpec]:
    return [
        LossSpec(
            "nll",
            "zoo_core.training.losses:NLL",
            requires=("Density",),
            summary="negative log-likelihood, -log p(x)",
        ),
        LossSpec(
            "elbo",
            "zoo_core.likelihoods.elbo:ELBOLoss",
            requires=("Encoder", "Decoder"),
            summary="minus the evidence lower bound, the KL term weighed by beta",
        ),
        LossSpec(
            "iwae",
            "zoo_core.likelihoods.iwae:IWAELoss",
            requires=("Encoder", "Decoder"),
            summary="minus the importance-weighted bound from k draws",
        ),
    ]


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "direct", "zoo_core.sampling:Direct", summary="the model's own one-pass sampler"
        )
    ]


@hookimpl
def zoo_likelihoods() -> list[LikelihoodSpec]:
    return [
        LikelihoodSpec(
            "exact",
            "zoo_core.likelihoods.exact:Exact",
            LikelihoodKind("exact", "equal"),
            requires=("Density",),
            summary="log p(x) of integer data",
            events="integers",
        ),
        LikelihoodSpec(
            "exact_density",
            "zoo_core.likelihoods.exact:ExactDensity",
            LikelihoodKind("exact_density", "equal"),
            requires=("Density",),
            summary="log-density of real data",
            events="reals",
        ),
        LikelihoodSpec(
            "elbo",
            "zoo_core.likelihoods.elbo:ELBO",
            LikelihoodKind("elbo", "lower"),
            requires=("Encoder", "Decoder"),
            summary="evidence lower bound",
        ),
        LikelihoodSpec(
            "iwae",
            "zoo_core.likelihoods.iwae:IWAE",
            LikelihoodKind("iwae", "lower"),
            requires=("Encoder", "Decoder"),
            summary="importance-weighted bound from k draws",
        ),
        LikelihoodSpec(
            "ais",
            "zoo_core.likelihoods.ais:AIS",
            LikelihoodKind("ais", "lower"),
            requires=("Decoder",),
            summary="annealed importance sampling over the latents",
        ),
        LikelihoodSpec(
            "ais",
            "zoo_core.likelihoods.ais:GeneratorAIS",
            LikelihoodKind("ais", "lower"),
            requires=("Generator",),
            summary="annealed importance sampling of another model, N(G(z), sigma^2)",
        ),
    ]


@hookimpl
def zoo_optimizers() -> list[OptimizerSpec]:
    home = "zoo_core.training.optimizers"
    return [
        OptimizerSpec("adam", f"{home}:Adam", summary="moments of the gradient"),
        OptimizerSpec("adamw", f"{home}:AdamW", summary="Adam with decoupled weight decay"),
        OptimizerSpec("sgd", f"{home}:SGD", summary="gradient descent; option momentum"),
    ]


@hookimpl
def zoo_schedules() -> list[ScheduleSpec]:
    home = "zoo_core.training.schedules"
    return [
        ScheduleSpec("constant", f"{home}:Constant", summary="the rate itself"),
        ScheduleSpec("cosine", f"{home}:Cosine", summary="half a cosine, down to `final`"),
        ScheduleSpec("linear", f"{home}:Linear", summary="a line, down to `final`"),
        ScheduleSpec("exponential", f"{home}:Exponential", summary="a power, down to `final`"),
    ]


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    generated = "none (generated)"
    return [
        DatasetSpec(
            "digits",
            "zoo_core.data.digits:Digits",
            license="CC-BY-4.0",
            summary="handwritten digits, 8x8, 17 levels, 10 classes; comes with the zoo",
        ),
        DatasetSpec(
            "emoji",
            "zoo_core.data.emoji:Emoji",
            license="Apache-2.0; CC-BY-4.0; MIT",
            summary="emoji, 32x32 in colour, 9 groups in 3 styles; comes with the zoo",
        ),
        DatasetSpec(
            "binarized_mnist",
            "zoo_core.data.binarized_mnist:BinarizedMNIST",
            license="CC-BY-SA-3.0",
            summary="static binarized MNIST, 28x28; downloaded, or path=",
        ),
        DatasetSpec(
            "ising",
            "zoo_core.data.ising:Ising",
            license=generated,
            summary="binary lattice images with exact log p",
        ),
        DatasetSpec(
            "moons",
            "zoo_core.data.toys:Moons",
            license=generated,
            summary="points on two half circles, known log p",
        ),
        DatasetSpec(
            "checkerboard",
            "zoo_core.data.toys:Checkerboard",
            license=generated,
            summary="points on dark squares, known log p",
        ),
        DatasetSpec(
            "rings",
            "zoo_core.data.toys:Rings",
            license=generated,
            summary="points on concentric circles, known log p",
        ),
        DatasetSpec(
            "gaussians",
            "zoo_core.data.toys:Gaussians",
            license=generated,
            summary="8 Gaussians on a circle or 25 on a grid, known log p",
        ),
        DatasetSpec(
            "photos",
            "zoo_core.data.photos:Photos",
            license="CC-BY-2.0",
            summary="colour patches of the two photographs that come with scikit-learn",
        ),
        DatasetSpec(
            "npz",
            "zoo_core.data.npz:Npz",
            license="unstated",
            summary="arrays from a file: npz:PATH",
        ),
        DatasetSpec(
            "npy",
            "zoo_core.data.npy:Npy",
            license="unstated",
            summary="a memory-mapped array from a file: npy:PATH",
        ),
        DatasetSpec(
            "folder",
            "zoo_core.data.folder:Folder",
            license="unstated",
            summary="PNG and JPEG images from a folder: folder:PATH",
        ),
        DatasetSpec(
            "samples",
            "zoo_core.data.samples:Samples",
            license="unstated",
            summary="what zoo sample --shards drew: samples:FOLDER",
        ),
        DatasetSpec(
            "table",
            "zoo_core.data.table:Table",
            license="unstated",
            summary="columns of numbers and categories from .csv, .tsv, .parquet: table:PATH",
        ),
        DatasetSpec(
            "sklearn_table",
            "zoo_core.data.sklearn_table:SklearnTable",
            license="CC-BY-4.0",
            summary="iris, wine, breast_cancer or diabetes, which come with scikit-learn",
        ),
    ]


@hookimpl
def zoo_metrics() -> list[MetricSpec]:
    home = "zoo_core.evaluation"
    return [
        MetricSpec("pixels", f"{home}.features:Pixels", "features", summary="the raw values"),
        MetricSpec(
            "digits",
            f"{home}.features:DigitsFeatures",
            "features",
            summary="hidden layer of a classifier of 8x8 digits, bundled",
        ),
        MetricSpec(
            "mnist",
            f"{home}.features:MNIST",
            "features",
            summary="hidden layer of a classifier of binary 28x28 digits, bundled",
        ),
        MetricSpec(
            "emoji",
            f"{home}.features:EmojiFeatures",
            "features",
            summary="hidden layer of a classifier of 32x32 emoji by group and style, bundled",
        ),
        MetricSpec(
            "inception",
            f"{home}.features:Inception",
            "features",
            optional=True,
            summary="pool3 of FID's Inception network, through torch-fidelity (extra fid)",
        ),
        MetricSpec("frechet", f"{home}.frechet:Frechet", summary="Frechet distance of Gaussians"),
        MetricSpec(
            "kernel", f"{home}.kid:KernelDistance", summary="kernel distance, unbiased MMD^2"
        ),
        MetricSpec("precision", f"{home}.prdc:Precision", summary="samples that look real"),
        MetricSpec("recall", f"{home}.prdc:Recall", summary="real events that are reached"),
        MetricSpec("density", f"{home}.prdc:DensityMetric", summary="how typical samples are"),
        MetricSpec("coverage", f"{home}.prdc:Coverage", summary="neighbourhoods reached"),
    ]


@hookimpl
def zoo_health_checks() -> list[HealthCheck]:
    return [
        HealthCheck("python", "zoo_core.doctor:python", summary="the interpreter"),
        HealthCheck("torch", "zoo_core.doctor:torch", summary="torch and its devices"),
        HealthCheck("triton", "zoo_core.doctor:triton", summary="the GPU kernels' compiler"),
        HealthCheck(
            "kernels",
            "zoo_core.doctor:kernels",
            fix="zoo_core.doctor:compile_kernels",
            summary="the compiled kernels",
        ),
        HealthCheck("plugins", "zoo_core.doctor:plugins", summary="whether all plugins load"),
        HealthCheck("weights", "zoo_core.doctor:weights", summary="where bundled weights are"),
        HealthCheck("cache", "zoo_core.doctor:cache", summary="downloads and derived files"),
        HealthCheck("accelerate", "zoo_core.doctor:accelerate", summary="training"),
    ]
