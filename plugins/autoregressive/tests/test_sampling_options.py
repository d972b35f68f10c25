"""Temperature, top-k and top-p: what they leave of a conditional, and that they say so."""

import pytest
import torch

import zoo_core as zoo
from zoo_autoregressive import Jacobi, Sequential
from zoo_autoregressive.sampling_options import SamplingOptions

P = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64)


def probabilities(**options):
    return SamplingOptions(**options)(P.log()).softmax(-1)


def test_a_temperature_raises_probabilities_to_a_power():
    expected = P**2 / (P**2).sum(-1, keepdim=True)
    torch.testing.assert_close(probabilities(temperature=0.5), expected)


def test_top_k_keeps_the_k_most_probable_levels():
    assert probabilities(top_k=2)[0].gt(0).tolist() == [False, True, False, True]
    torch.testing.assert_close(probabilities(top_k=2)[0, 1], torch.tensor(4 / 7).double())
    torch.testing.assert_close(probabilities(top_k=9), P)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.3, [1]), (0.39, [1]), (0.41, [1, 3]), (0.75, [1, 2, 3]), (0.95, [0, 1, 2, 3])],
)
def test_top_p_keeps_the_fewest_levels_that_reach_it(top_p, kept):
    assert probabilities(top_p=top_p)[0].nonzero()[:, 0].tolist() == kept


def test_options_act_in_the_order_temperature_top_k_top_p():
    flat = SamplingOptions(temperature=2.0, top_k=3, top_p=0.6)(P.log())[0].softmax(-1)
    root = P[0, 1:].sqrt() / P[0, 1:].sqrt().sum()  # of levels 1, 2, 3: 0.39, 0.28, 0.34
    kept = root * torch.tensor([1, 0, 1])
    torch.testing.assert_close(flat[1:], kept / kept.sum())


@pytest.mark.parametrize("sampler", [Sequential, Jacobi])
def test_a_sampler_says_which_options_change_the_distribution(sampler):
    assert sampler().altered_by() is None
    assert sampler(temperature=0.9).altered_by() == "temperature = 0.9"
    assert sampler(top_k=5, top_p=0.5).altered_by() == "top_k = 5, top_p = 0.5"


@pytest.mark.parametrize("sampler", ["sequential", "jacobi"])
@pytest.mark.parametrize(
    ("option", "value"), [("temperature", 0.0), ("top_k", 0), ("top_p", 0.0), ("top_p", 1.0)]
)
def test_options_out_of_range_are_refused(sampler, option, value):
    model = zoo.create("made", shape=(1, 2, 2), hidden=4)
    with pytest.raises(zoo.ConfigError, match=f"{option} = {value} is out of range"):
        model.sample(1, sampler=sampler, **{option: value})


@pytest.mark.parametrize("sampler", [Sequential(top_k=1), Jacobi(top_k=1)])
def test_the_most_probable_level_alone_is_the_same_for_all_seeds(sampler):
    model = zoo.load("gated_pixelcnn.digits")  # a model with a fused sampler, which knows no top_k
    x = model.sample(3, sampler=sampler)
    assert torch.equal(x, x[:1].expand_as(x))
