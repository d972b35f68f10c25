"""Two plugins may use one name: the bare name is refused, the qualified one works, and nothing
that worked before changes."""

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.registry import current, use
from zoo_core.errors import NoCapabilityError, UnknownNameError, UsageError
from zoo_core.plugin import ModelSpec

SHARED = """
import zoo_core as zoo
from zoo_core.plugin import LikelihoodSpec, ModelSpec, SamplerSpec, hookimpl
ZOO_API = 1
KIND = zoo.LikelihoodKind("exact", "equal")

@hookimpl
def zoo_samplers():
    return [SamplerSpec("direct", "{module}_code:Ones"),
            SamplerSpec("shared", "{module}_code:Ones")]

@hookimpl
def zoo_likelihoods():
    return [LikelihoodSpec("exact", "{module}_code:Half", KIND, requires=("Density",)),
            LikelihoodSpec("odd", "{module}_code:Half", KIND, requires=("{module}_no:Such",))]

@hookimpl
def zoo_models():
    return [ModelSpec("mini_flow", "f", "implicit", "{module}_code:Model", "m:Config")]
"""
CODE = """
from dataclasses import dataclass
import torch
import zoo_core as zoo

@dataclass(frozen=True)
class Ones:
    def __call__(self, model, rng, cond):
        return torch.ones(len(rng), *model.event.shape, dtype=torch.int64)

@dataclass(frozen=True)
class Half:
    kind = zoo.LikelihoodKind("exact", "equal")
    def __call__(self, model, x, cond, rng):
        return torch.full((len(x),), -0.5)
"""


@pytest.fixture
def contested(install, registry_of):
    """The miniature family, and a plugin that uses its names and the core's."""
    from importlib.metadata import EntryPoint

    mini = EntryPoint("mini", "zoo_mini.plugin", "density_zoo")
    with use(registry_of(mini, install(SHARED, dist="Zoo_Acme", code=CODE))) as registry:
        yield registry


def test_a_contested_name_is_refused_with_the_qualified_ones(contested):
    with pytest.raises(UnknownNameError) as caught:
        zoo.info("mini_flow")
    assert str(caught.value) == (
        "model 'mini_flow' is declared more than once. "
        "[write unknown:mini_flow or zoo-acme:mini_flow]"
    )
    model = zoo.create("mini_ar")
    with pytest.raises(UnknownNameError, match="density-zoo:direct or zoo-acme:direct"):
        model.sample(2, sampler="direct")
    with pytest.raises(UnknownNameError, match="density-zoo:exact or zoo-acme:exact"):
        model.log_likelihood(model.sample(2), method="exact")


def test_a_qualified_name_says_which(contested):
    model = zoo.create("mini_ar")
    assert model.sample(2, sampler="zoo-acme:direct").eq(1).all()
    assert not model.sample(9, sampler="density-zoo:direct").eq(1).all()
    scored = model.log_likelihood(model.sample(2), method="zoo-acme:exact")
    assert scored.nats.tolist() == [-0.5, -0.5]
    assert zoo.info("unknown:mini_flow").spec.target == "zoo_mini.flow:MiniFlow"


def test_a_models_defaults_are_not_contested_by_a_third_plugin(contested, registry_of):
    model = zoo.create("mini_ar")
    x = model.sample(4)
    assert not x.eq(1).all()
    assert not model.log_likelihood(x).nats.eq(-0.5).any()
    assert list(model.players()) == ["model"]


def test_a_contested_architecture_is_saved_and_loaded_as_the_one_that_wrote_it(
    contested, tmp_path
):
    model = zoo.create("unknown:mini_flow")
    again = zoo.load(str(model.save(tmp_path / "m")))
    assert type(again) is type(model)
    assert torch.equal(again.sample(3), model.sample(3))


def test_a_requirement_that_cannot_be_imported_costs_its_plugin_a_line(contested, caplog):
    gan = zoo.create("mini_gan")
    for _ in range(2):
        with pytest.raises(zoo.NoLikelihoodError, match="method='ais'"):
            gan.log_likelihood(torch.zeros(2, 2))
    lines = [line for line in caplog.messages if "'odd' requires" in line]
    assert len(lines) == 1


@pytest.mark.usefixtures("minis")
def test_what_does_not_fit_a_model_says_what_does():
    model = zoo.create("mini_ar")
    x = model.sample(2)
    with pytest.raises(NoCapabilityError) as caught:
        model.log_likelihood(x, method="elbo")
    assert caught.value.message == (
        "likelihood 'elbo' needs Encoder+Decoder, which MiniAR has not; likelihoods that fit: "
        "exact."
    )
    with pytest.raises(NoCapabilityError, match="this likelihood is for reals; .*method='exact'"):
        model.log_likelihood(x, method="exact_density")
    with pytest.raises(NoCapabilityError, match="sampler 'mini_ddim' needs Denoiser"):
        model.sample(1, sampler="mini_ddim")
    with pytest.raises(NoCapabilityError, match="loss 'elbo' needs Encoder"):
        model.players("elbo")


@pytest.mark.usefixtures("minis")
def test_options_belong_to_names_and_objects_carry_their_own():
    from zoo_core.likelihoods.iwae import IWAE

    model = zoo.create("mini_vae")
    x = model.sample(3)
    named = model.log_likelihood(x, method="iwae", k=20)
    assert torch.equal(model.log_likelihood(x, method=IWAE(k=20)).nats, named.nats)
    with pytest.raises(UsageError, match=r"set them on the object: IWAE\(k=...\)"):
        model.log_likelihood(x, method=IWAE(), k=3)
    with pytest.raises(UsageError, match="is no likelihood"):
        model.log_likelihood(x, method=IWAE)
    with pytest.raises(zoo.ConfigError, match="unknown option iwae.samples; options: k, chunk"):
        model.log_likelihood(x, method="iwae", samples=3)
    with pytest.raises(zoo.ConfigError, match="iwae.k = 0 is out of range"):
        model.log_likelihood(x, method="iwae", k=0)


@pytest.mark.usefixtures("minis")
def test_models_are_listed_by_patterns():
    assert zoo.list_models("mini_a*") == ["mini_ar"]
    assert zoo.list_models(density="implicit") == ["mini_gan"]
    assert zoo.list_models(family="MINI*", density="explicit/*") == [
        "mini_ar",
        "mini_diffusion",
        "mini_flow",
        "mini_stack",
        "mini_vae",
    ]
    assert zoo.list_models(pretrained=True) == []
    row = zoo.info("mini_vae").row()
    assert (row["likelihood"], row["density"], row["tag"]) == (
        "elbo",
        "explicit/approximate",
        None,
    )


def test_an_unregistered_class_works_with_objects_and_is_asked_by_its_methods(minis):
    from zoo_mini.autoregressive import Config, MiniAR

    from zoo_core.likelihoods.exact import Exact
    from zoo_core.training.losses import NLL

    class Mine(MiniAR):
        pass

    model = Mine(Config(side=2))
    x = model.sample(3)
    assert model.log_likelihood(x, method=Exact()).nats.shape == (3,)
    assert list(model.players(NLL())) == ["model"]
    assert list(model.players()) == ["model"]
    assert str(model.log_likelihood(x).kind) == "exact"
    with pytest.raises(UnknownNameError, match="declare it by a zoo_models hook"):
        _ = model.spec


def test_of_several_default_likelihoods_the_first_that_serves_the_events_is_taken():
    def default(*names, discrete):
        spec = ModelSpec("a", "f", "d", "m:A", "m:C", default_likelihood=names)
        return current().default_likelihood(spec, discrete=discrete)

    assert default("exact_density", "exact", discrete=False) == "exact_density"
    assert default("exact_density", "exact", discrete=True) == "exact"
    assert default("exact_density", "zoo:exact", "elbo", discrete=True) == "zoo:exact"
    assert default("exact_density", "nothing_such", discrete=True) == "exact_density"
    assert default(discrete=True) is None
