"""Checks of an architecture: its declarations, building, training, saving and sampling."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core import config as configs
from zoo_core import loading
from zoo_core.building import build
from zoo_core.catalog import capabilities
from zoo_core.catalog.specs import import_target
from zoo_core.contracts import Player
from zoo_core.errors import ConfigError, ZooError
from zoo_core.model import GenerativeModel
from zoo_core.modes import evaluating
from zoo_core.rng import Rng
from zoo_core.testing.guard import forbid_torch_randomness
from zoo_core.testing.plugin_checks import is_frozen_dataclass
from zoo_core.testing.subjects import ModelSubject, only_if, refused
from zoo_core.weights import golden

__all__ = ["MODEL_CHECKS"]

_MANY_CLASSES = 1 << 20
"""More than any condition has."""
_CLOSE = 1e-4
"""Tolerance of continuous samples across batch sizes, relative to the larger of 1 and them."""


def check_targets_are_a_model_and_its_config(subject: ModelSubject) -> None:
    target, config = import_target(subject.spec.target), import_target(subject.spec.config)
    assert isinstance(target, type) and issubclass(target, GenerativeModel), (
        f"{subject.spec.target} is no GenerativeModel"
    )
    assert is_frozen_dataclass(config), f"{subject.spec.config} is no frozen dataclass"


def check_builds_from_defaults(subject: ModelSubject) -> None:
    """The Config's defaults make a model, and so do the values of `tiny`."""
    with torch.random.fork_rng(devices=[]):
        build(subject.spec, {})
    subject.model()


def check_config_survives_json(subject: ModelSubject) -> None:
    config = subject.model().config
    again = configs.from_dict(type(config), json.loads(json.dumps(configs.to_dict(config))))
    assert again == config, f"{config} comes back from JSON as {again}"


def check_unknown_options_are_refused(subject: ModelSubject) -> None:
    with refused("the option no_such_option", ConfigError):
        build(subject.spec, {"no_such_option": 1})


def check_capabilities_are_kept(subject: ModelSubject) -> None:
    """The model has the methods of every declared capability, and of no other.

    The others are the core's, and those that the plugin's own specs name.
    """
    model, declared = subject.model(), set(subject.spec.capabilities)
    missing = [name for name in sorted(declared) if not capabilities.has_methods(model, name)]
    assert not missing, f"{subject.spec.target} lacks the methods of {', '.join(missing)}"
    others = sorted(subject.known_capabilities - declared)
    extra = [name for name in others if capabilities.has_methods(model, name)]
    assert not extra, f"declare {', '.join(extra)}: {subject.spec.target} has the methods"


def check_gradients_reach_every_parameter(subject: ModelSubject) -> None:
    """By the default loss, each player's parameters all get finite gradients, not all zero."""
    model = subject.model().train()
    players = model.players()
    trained = {p for player in players.values() for p in player.parameters}
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    idle = [name for name, p in named.items() if p not in trained]
    assert not idle, f"no player trains {', '.join(idle[:5])}"
    names = {p: name for name, p in named.items()}
    for player_name, player in players.items():
        _check_gradients(player_name, player, names, (subject.events(4), subject.cond(4)), model)


def check_a_loss_sets_no_parameter(subject: ModelSubject) -> None:
    """A forward pass sets no parameters: only `data_dependent_init` does, so that a shape check
    or a microbatch does not change a model."""
    model = subject.model().train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for player in model.players().values():
        player.loss((subject.events(4), subject.cond(4)), Rng(0, 4), 0)
    changed = [k for k, p in model.named_parameters() if not _equal(p.detach(), before[k])]
    assert not changed, f"the loss set {', '.join(changed[:5])}; see `data_dependent_init`"


def check_seed_repeats_the_same_samples(subject: ModelSubject) -> None:
    """Bit for bit, whatever torch's own generator does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = _sample(subject, 4, seed=3)
        torch.manual_seed(2)
        again = _sample(subject, 4, seed=3)
    assert torch.equal(first, again), "two runs with one seed differ"


def check_seeds_and_rows_differ(subject: ModelSubject) -> None:
    first, second = _sample(subject, 64, seed=3), _sample(subject, 64, seed=4)
    assert not torch.equal(first, second), "seeds 3 and 4 give the same 64 events"
    assert not bool((first == first[:1]).all()), "all 64 events of one seed are the same"


def check_rows_do_not_depend_on_n(subject: ModelSubject) -> None:
    """Row i of `sample(n)` is row i of `sample(m)`, and of one that starts later."""
    whole = _sample(subject, 6)
    _check_same(_sample(subject, 2), whole[:2], "sample(2) and the first rows of sample(6)")
    cond = subject.cond(6)
    late = subject.model().sample(2, first_row=4, cond=None if cond is None else cond[4:])
    _check_same(late, whole[4:], "sample(2, first_row=4) and the last rows of sample(6)")


def check_rows_do_not_depend_on_batch_size(subject: ModelSubject) -> None:
    _check_same(_sample(subject, 5, batch_size=2), _sample(subject, 5), "batch sizes 2 and 5")


def check_samples_are_events(subject: ModelSubject) -> None:
    """They have the shape, dtype and range that the model declares, on the CPU."""
    x = _sample(subject, 16)
    assert x.device.type == "cpu" and not x.requires_grad, f"samples are on {x.device}"
    shape = (16, *subject.event.shape)
    assert tuple(x.shape) == shape, f"samples have shape {tuple(x.shape)}, not {shape}"
    if subject.event.discrete:
        assert x.dtype == torch.int64, f"samples are {x.dtype}, not int64"
    samples = {"the sample": x}
    if (
        subject.spec.default_sampler == "direct"
    ):  # other samplers may give floats, which the driver maps
        model = subject.model()
        with evaluating(model):
            samples["what sample_rows gives"] = model.sample_rows(Rng(0, 4), subject.cond(4))
    for name, events in samples.items():
        try:
            subject.event.check(events, name=name)
        except ZooError as error:
            raise AssertionError(str(error)) from None


def check_sampling_draws_from_rng_alone(subject: ModelSubject) -> None:
    model, cond = subject.model(), subject.cond(3)
    with forbid_torch_randomness():
        model.sample(3, cond=cond)


def check_sampling_leaves_the_model_as_it_was(subject: ModelSubject) -> None:
    """Sampling changes neither mode nor parameters nor buffers."""
    model = subject.model().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.sample(2, cond=subject.cond(2))
    assert model.training, "the model was in training mode and is no more"
    changed = [k for k, v in model.state_dict().items() if not _equal(v, before[k])]
    assert not changed, f"sampling changed {', '.join(changed[:5])}"


def check_wrong_counts_are_refused(subject: ModelSubject) -> None:
    model, cond = subject.model(), subject.cond(1)
    counts: tuple[Any, ...] = (0, -1, 2.5, True)
    for n in counts:
        with refused(f"sample({n!r})"):
            model.sample(n, cond=cond)
    with refused("batch_size=0"):
        model.sample(1, cond=cond, batch_size=0)
    with refused("seed=-1"):
        model.sample(1, cond=cond, seed=-1)


def check_wrong_conditions_are_refused(subject: ModelSubject) -> None:
    model = subject.model()
    condition = model.condition
    if condition.kind == "none":
        with refused("a condition for a model that takes none"):
            model.sample(1, cond=0)
        return
    good = subject.cond(2)
    assert good is not None
    if not condition.optional:
        with refused("no condition"):
            model.sample(2)
    with refused("a condition of the wrong shape"):
        model.sample(2, cond=good.unsqueeze(-1))
    wrong = good * float("nan") if good.is_floating_point() else good + _MANY_CLASSES
    with refused("a condition out of range"):
        model.sample(2, cond=wrong)


def check_saves_and_loads_the_same_model(subject: ModelSubject) -> None:
    """Config, parameters, samples and scores of a model in use come back bit for bit."""
    model = subject.used()
    with tempfile.TemporaryDirectory() as folder:
        again = loading.load(str(model.save(Path(folder) / "model")))
    assert again.config == model.config, f"{model.config} comes back as {again.config}"
    for name, value in model.state_dict().items():
        assert _equal(again.state_dict()[name], value), f"{name} comes back different"
    cond = subject.cond(8)
    assert torch.equal(again.sample(8, cond=cond), model.sample(8, cond=cond)), (
        "the loaded model draws different samples"
    )
    if subject.scored:
        nats = [m.log_likelihood(subject.events(8), cond=cond).nats for m in (again, model)]
        assert torch.equal(*nats), "the loaded model scores events differently"


@only_if(lambda subject: bool(subject.bundled))
def check_bundled_weights_match_their_golden_tensors(subject: ModelSubject) -> None:
    for folder in subject.bundled:
        try:
            golden.check(loading.load(str(folder)), folder)
        except ZooError as error:
            raise AssertionError(str(error)) from error


def _sample(
    subject: ModelSubject, n: int, *, seed: int = 0, batch_size: int | None = None
) -> Tensor:
    return subject.model().sample(n, seed=seed, cond=subject.cond(n), batch_size=batch_size)


def _check_gradients(
    name: str,
    player: Player,
    names: dict[torch.nn.Parameter, str],
    batch: tuple[Tensor, Tensor | None],
    model: GenerativeModel,
) -> None:
    value = player.loss(batch, Rng(0, len(batch[0])), 0)
    assert value.total.ndim == 0 and bool(value.total.isfinite()), (
        f"the loss of {name} is {value.total}, no finite scalar"
    )
    carried = [k for k, v in value.terms.items() if v.requires_grad]
    assert not carried, f"terms {', '.join(carried)} of {name} are to be logged; detach them"
    parameters = list(player.parameters)
    grads = torch.autograd.grad(value.total, parameters, allow_unused=True)
    lost = [names.get(p, "?") for p, g in zip(parameters, grads, strict=True) if g is None]
    assert not lost, f"the loss of {name} does not reach {', '.join(lost[:5])}"
    wild = [
        names.get(p, "?")
        for p, g in zip(parameters, grads, strict=True)
        if g is not None and not bool(g.isfinite().all())
    ]
    assert not wild, f"gradients of {', '.join(wild[:5])} are not finite"
    assert any(bool(g.any()) for g in grads if g is not None), f"every gradient of {name} is zero"


def _check_same(actual: Tensor, expected: Tensor, what: str) -> None:
    """Integers must be equal, floats agree within `_CLOSE`."""
    if actual.is_floating_point():
        same = torch.allclose(actual, expected, rtol=_CLOSE, atol=_CLOSE)
    else:
        same = torch.equal(actual, expected)
    assert same, f"{what} differ in {int((actual != expected).flatten(1).any(1).sum())} rows"


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


MODEL_CHECKS = [
    check_targets_are_a_model_and_its_config,
    check_builds_from_defaults,
    check_config_survives_json,
    check_unknown_options_are_refused,
    check_capabilities_are_kept,
    check_gradients_reach_every_parameter,
    check_a_loss_sets_no_parameter,
    check_seed_repeats_the_same_samples,
    check_seeds_and_rows_differ,
    check_rows_do_not_depend_on_n,
    check_rows_do_not_depend_on_batch_size,
    check_samples_are_events,
    check_sampling_draws_from_rng_alone,
    check_sampling_leaves_the_model_as_it_was,
    check_wrong_counts_are_refused,
    check_wrong_conditions_are_refused,
    check_saves_and_loads_the_same_model,
    check_bundled_weights_match_their_golden_tensors,
]
