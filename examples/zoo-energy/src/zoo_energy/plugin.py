"""The plugin's declarations: a density type, models, losses, samplers and a likelihood."""

from zoo_core.plugin import (
    DensityType,
    LikelihoodKind,
    LikelihoodSpec,
    LossSpec,
    ModelSpec,
    SamplerSpec,
    hookimpl,
)

__all__ = ["ZOO_API"]

ZOO_API = 1
TEMPERED = "zoo_energy.tempered:Tempered"


@hookimpl
def zoo_density_types() -> list[DensityType]:
    return [
        DensityType(
            "explicit/unnormalized",
            "p(x) is known up to its normalizing constant, exp(-E(x)) / Z",
            likelihood="energy_ais, an upper bound",
            sampling="iterative (Markov chains)",
        )
    ]


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            arch="energy_mlp",
            family="energy",
            density="explicit/unnormalized",
            target="zoo_energy.mlp:EnergyMLP",
            config="zoo_energy.mlp:EnergyMLPConfig",
            capabilities=("Energy", "Score", TEMPERED),
            default_likelihood="energy_ais",
            default_sampler="langevin",
            default_loss="score_matching",
            summary="MLP energy of continuous vectors",
            tiny=(("hidden", 8), ("layers", 1)),
        ),
        ModelSpec(
            arch="energy_lattice",
            family="energy",
            density="explicit/unnormalized",
            target="zoo_energy.lattice:EnergyLattice",
            config="zoo_energy.lattice:EnergyLatticeConfig",
            capabilities=("Energy", TEMPERED),
            default_likelihood="energy_ais",
            default_sampler="tempered_chain",
            default_loss="contrastive_divergence",
            summary="Ising-like energy of binary images",
            tiny=(("size", 3),),
        ),
    ]


@hookimpl
def zoo_losses() -> list[LossSpec]:
    return [
        LossSpec(
            "score_matching",
            "zoo_energy.losses:ScoreMatching",
            requires=("Score",),
            summary="sliced score matching",
        ),
        LossSpec(
            "contrastive_divergence",
            "zoo_energy.losses:ContrastiveDivergence",
            requires=("Energy", TEMPERED),
            summary="energy of data minus that of chains that start at the data",
        ),
    ]


@hookimpl
def zoo_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            "langevin",
            "zoo_energy.langevin:Langevin",
            requires=("Score",),
            summary="unadjusted Langevin dynamics from a normal",
        ),
        SamplerSpec(
            "tempered_chain",
            "zoo_energy.tempered:TemperedChain",
            requires=(TEMPERED,),
            summary="the model's own Markov chain, annealed from its base",
        ),
    ]


@hookimpl
def zoo_likelihoods() -> list[LikelihoodSpec]:
    return [
        LikelihoodSpec(
            "energy_ais",
            "zoo_energy.ais:EnergyAIS",
            LikelihoodKind("energy_ais", "upper"),
            requires=("Energy", TEMPERED),
            summary="-E(x) - log Z with Z from annealed importance sampling",
        )
    ]
