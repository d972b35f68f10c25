"""Capabilities: what a spec declares decides, for names and objects alike; a class that no plugin
declares is asked by its methods, and is scored, sampled, trained, saved and loaded."""

import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import zoo_core as zoo
from zoo_core import latent
from zoo_core.catalog.capabilities import has, has_methods
from zoo_core.catalog.registry import use
from zoo_core.catalog.specs import import_target
from zoo_core.errors import ConfigError, NoCapabilityError, PluginError, UsageError
from zoo_core.nn.distributions import Normal

FAMILY = """
from zoo_core.plugin import ModelSpec, SamplerSpec, hookimpl
ZOO_API = 1

@hookimpl
def zoo_models():
    return [ModelSpec("blob", "acme", "explicit/tractable", "{module}_code:Blob",
                      "{module}_code:Config", capabilities={declared})]

@hookimpl
def zoo_samplers():
    return [SamplerSpec("walk", "{module}:Walk", requires=("Score",))]

def __getattr__(name):  # the class passed on by another module than its own
    from {module}_code import Walk
    return {"Walk": Walk}[name]
"""
CODE = '''
from dataclasses import dataclass
import torch
from zoo_core.plugin import Event, GenerativeModel

@dataclass(frozen=True)
class Config:
    scale: float = 1.0

class Blob(GenerativeModel):
    def __init__(self, config: Config):
        super().__init__(config, Event((2,)))

    def log_prob(self, x, cond=None):
        return -x.square().sum(1)

    def score(self, x, cond=None):
        return -2 * x

    def forward_and_ladj(self, x, cond=None):
        return x, x.new_zeros(len(x))

    def inverse_and_ladj(self, z, cond=None):
        return z, z.new_zeros(len(z))

@dataclass(frozen=True)
class Walk:
    """One step."""

    def __call__(self, model, rng, cond):
        return model.score(rng.normal(model.event.shape, stream="x"), cond)
'''


@dataclass(frozen=True)
class Config:
    scale: float = 1.0


class Notebook(zoo.GenerativeModel):
    """N(mean, scale^2), as a notebook's cell would write it."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config or Config(), zoo.Event((2,)))
        self.mean = nn.Parameter(torch.randn(2))

    def sample_rows(self, rng, cond=None):
        return self.mean + self.config.scale * rng.normal((2,), stream="x")

    def log_prob(self, x, cond=None):
        spread = self.mean.new_tensor(self.config.scale).log().expand_as(x)
        return Normal(self.mean.expand_as(x), spread).log_prob(x)


class Fixed(Notebook):
    def __init__(self):
        super().__init__(Config(2.0))


class Untold(Notebook):
    def __init__(self, config):
        super().__init__(config)


@pytest.fixture
def family(install, registry_of):
    """`family(*declared)`: the registry of a model that declares so much of what it can."""

    def of(*declared):
        source = FAMILY.replace("{declared}", repr(declared))
        return registry_of(install(source, code=CODE))

    return of


def test_a_registered_model_has_what_its_spec_declares_and_nothing_else(family):
    with use(family("Density")):
        model = zoo.create("blob")
        assert has_methods(model, "Score") and not has(model, "Score")
        assert has(model, "Density")
        with pytest.raises(NoCapabilityError, match="needs Score, which Blob has not") as caught:
            model.sample(2, sampler="walk")
        assert caught.value.hint == "Blob has the methods: declare 'Score' in its ModelSpec"
        with pytest.raises(NoCapabilityError, match="Encoder or Bijection"):
            latent.encode(model, torch.zeros(1, 2))
    with use(family("Density", "Score", "Bijection")):
        model = zoo.create("blob")
        assert model.sample(2, sampler="walk").shape == (2, 2)
        assert latent.encode(model, torch.ones(1, 2)).tolist() == [[1, 1]]


def test_an_object_gets_the_check_and_the_error_that_its_name_gets(family):
    with use(family("Density")) as registry:
        model = zoo.create("blob")
        walk = import_target(registry.samplers.one("walk").spec.target)()
        with pytest.raises(NoCapabilityError) as by_name:
            model.sample(2, sampler="walk")
        with pytest.raises(NoCapabilityError) as by_object:
            model.sample(2, sampler=walk)
        assert str(by_object.value) == str(by_name.value)


@pytest.mark.usefixtures("minis")
def test_a_likelihood_and_a_loss_as_objects_are_checked_too():
    from zoo_core.likelihoods.elbo import ELBO, ELBOLoss

    model = zoo.create("mini_ar")
    x = model.sample(2)
    for use_it, component in (
        (lambda elbo: model.log_likelihood(x, method=elbo), ELBO()),
        (model.players, ELBOLoss()),
    ):
        with pytest.raises(NoCapabilityError, match=r"needs Encoder\+Decoder") as named:
            use_it("elbo")
        with pytest.raises(NoCapabilityError) as told:
            use_it(component)
        assert str(told.value) == str(named.value)


def test_an_object_of_a_class_without_a_spec_is_used_as_it_is():
    @dataclass(frozen=True)
    class Zeros:
        def __call__(self, model, rng, cond):
            return torch.zeros(len(rng), 2)

    assert Notebook().sample(3, sampler=Zeros()).tolist() == [[0, 0]] * 3


def test_a_class_that_no_plugin_declares_is_sampled_scored_and_trained_by_its_methods():
    model = Notebook()
    x = model.sample(5)
    scored = model.log_likelihood(x)
    assert str(scored.kind) == "exact_density"
    torch.testing.assert_close(scored.nats, model.log_prob(x).double().detach())
    (player,) = model.players().values()
    player.loss((x, None), zoo.Rng(0, 5), 0).total.backward()
    assert bool(model.mean.grad.any())


def test_a_class_that_no_plugin_declares_is_saved_and_loaded_with_the_class(tmp_path):
    model = Notebook(Config(0.5))
    folder = model.save(tmp_path / "model")
    written = json.loads((folder / "zoo.json").read_text())
    assert written["plugin"] is None and written["class"].endswith(":Notebook")
    with pytest.raises(PluginError, match=":Notebook', which no plugin declared") as caught:
        zoo.load(str(folder))
    assert "zoo.load(folder, cls=...)" in caught.value.hint
    assert "docs/guides/plugins.md" in caught.value.command
    again = zoo.load(str(folder), cls=Notebook)
    assert again.config == model.config and not again.training
    assert torch.equal(again.sample(4), model.sample(4))
    assert again.save(tmp_path / "model") == folder


def test_a_class_that_makes_its_own_config_is_loaded_if_it_is_the_saved_one(tmp_path):
    folder = str(Fixed().save(tmp_path / "fixed"))
    assert zoo.load(folder, cls=Fixed).config == Config(2.0)
    other = str(Notebook(Config(3.0)).save(tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"'scale': 3.0} and is built with {'scale': 2.0}"):
        zoo.load(other, cls=Fixed)


def test_the_class_to_load_must_be_one_and_tell_its_config(tmp_path, minis):
    folder = str(Notebook().save(tmp_path / "model"))
    with pytest.raises(ConfigError, match="the Config of Untold is not known: 'config'"):
        zoo.load(folder, cls=Untold)
    with pytest.raises(UsageError, match="it must be a GenerativeModel class"):
        zoo.load(folder, cls=Config)
    declared = str(zoo.create("mini_ar").save(tmp_path / "declared"))
    with pytest.raises(UsageError, match="cls=Notebook is for a class that no plugin declares"):
        zoo.load(declared, cls=Notebook)
