"""Scores of sample quality: closed forms, errors that are errors, and what cannot fool them."""

import math

import pytest
import torch

from zoo_core.errors import UsageError
from zoo_core.evaluation.feature_set import FeatureSet, distance_blocks
from zoo_core.evaluation.frechet import Frechet
from zoo_core.evaluation.kid import KernelDistance
from zoo_core.evaluation.prdc import Coverage, DensityMetric, Precision, Recall

ALL = [Frechet(), KernelDistance(), Precision(), Recall(), DensityMetric(), Coverage()]


def normal(n, dims, seed=0, shift=0.0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return FeatureSet(shift + scale * torch.randn(n, dims, generator=generator))


def whitened(n, dims, mean, root, seed=0):
    """Points whose sample mean and covariance are exactly these."""
    x = normal(n, dims, seed).points.double()
    x = x - x.mean(0)
    factor = torch.linalg.cholesky(x.T @ x / (n - 1))
    z = torch.linalg.solve_triangular(factor, x.T, upper=False).T
    return FeatureSet(mean + z @ root.T)


def test_frechet_is_the_closed_form_of_gaussians():
    a, b = torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.diag(torch.tensor([2.0, 2.0, 1.0]))
    mean = torch.tensor([1.0, 0.0, -2.0])
    found = Frechet()(whitened(50, 3, mean, a.double()), whitened(60, 3, 0 * mean, b.double(), 1))
    assert found.value == pytest.approx(5 + (1 + 0 + 4), rel=1e-9)


def test_frechet_needs_no_commuting_covariances():
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 4, 4, generator=generator).double()
    found = Frechet()(whitened(80, 4, 0.0, a), whitened(90, 4, 0.0, b, 1))
    s1, s2 = a @ a.T, b @ b.T
    nuclear = torch.linalg.matrix_norm(a.T @ b, "nuc")  # tr (S_1^{1/2} S_2 S_1^{1/2})^{1/2}
    assert found.value == pytest.approx(float(s1.trace() + s2.trace() - 2 * nuclear), rel=1e-8)


def test_kernel_distance_is_the_mean_over_pairs():
    x, y = normal(7, 3).points.double(), normal(9, 3, 1, 0.5).points.double()
    k = [[(p @ q / 3 + 1) ** 3 for q in torch.cat((x, y))] for p in torch.cat((x, y))]
    k = torch.tensor(k)
    xx = (k[:7, :7].sum() - k[:7, :7].diagonal().sum()) / (7 * 6)
    yy = (k[7:, 7:].sum() - k[7:, 7:].diagonal().sum()) / (9 * 8)
    found = KernelDistance()(FeatureSet(x), FeatureSet(y))
    assert found.value == pytest.approx(float(xx + yy - 2 * k[:7, 7:].mean()), rel=1e-9)


def test_the_jackknife_error_is_that_of_leaving_out_each_point():
    x, y = normal(8, 2).points, normal(6, 2, 1, 0.7).points
    left = [
        KernelDistance()(FeatureSet(x[torch.arange(8) != i]), FeatureSet(y)).value
        for i in range(8)
    ]
    right = [
        KernelDistance()(FeatureSet(x), FeatureSet(y[torch.arange(6) != i])).value
        for i in range(6)
    ]
    total = sum(
        (len(v) - 1) / len(v) * float((torch.tensor(v).double() - sum(v) / len(v)).square().sum())
        for v in (left, right)
    )
    assert KernelDistance()(FeatureSet(x), FeatureSet(y)).std_err == pytest.approx(
        math.sqrt(total), rel=1e-6
    )


def test_scores_by_neighbours_count_by_hand():
    """Reference points 0, 1, 2, 3 (radius 1 at k = 1); generated points 0.5, 10 and 11."""
    reference = FeatureSet(torch.tensor([[0.0], [1.0], [2.0], [3.0]]))
    generated = FeatureSet(torch.tensor([[0.5], [10.0], [11.0]]))
    scores = (Precision(k=1), DensityMetric(k=1), Coverage(k=1))
    found = [score(generated, reference).value for score in scores]
    assert found == pytest.approx([1 / 3, 2 / 3, 2 / 4])
    near = FeatureSet(torch.tensor([[0.5], [1.5], [11.0]]))  # radii 1, 1 and 9.5
    assert Recall(k=1)(near, reference).value == 1.0
    assert Recall(k=1)(generated, reference).value == 0.0 + 1.0  # the ball of 0.5 reaches 9.5


def test_equal_distances_of_integers_do_not_fall_apart():
    """On a lattice many distances are equal; rounding must not push points out of a ball."""
    axis = torch.arange(6.0)
    reference = FeatureSet(torch.cartesian_prod(axis, axis))
    apart = FeatureSet(reference.points + torch.tensor([1.0, 0.0]))
    inside = Precision(k=1)(apart, reference).value
    assert inside == 1.0  # each moved point is a lattice point or 1 from one, the radius at k = 1


@pytest.mark.parametrize("score", ALL, ids=lambda s: type(s).__name__)
def test_scores_tell_shift_and_collapse_from_the_real_thing(score):
    reference, real = normal(800, 4), normal(400, 4, 1)
    worst = {
        Frechet: normal(400, 4, 2, 1.5),
        KernelDistance: normal(400, 4, 2, 1.5),
        Precision: normal(400, 4, 2, 0.0, 4.0),
        DensityMetric: normal(400, 4, 2, 0.0, 4.0),
        Recall: normal(400, 4, 2, 0.0, 0.1),
        Coverage: normal(400, 4, 2, 0.0, 0.1),
    }[type(score)]
    good, bad = score(real, reference), score(worst, reference)
    sign = 1 if score.better == "higher" else -1
    error = math.hypot(good.std_err, bad.std_err)
    assert sign * (good.value - bad.value) > 5 * error > 0


@pytest.mark.parametrize("score", ALL, ids=lambda s: type(s).__name__)
def test_the_standard_error_is_the_spread_over_fresh_draws(score):
    """With the reference held; the distances' errors count its own draw as well."""
    held = normal(400, 3, 9999)
    draws = []
    for i in range(60):
        fresh = normal(400, 3, 2 * i + 1) if score.better == "lower" else held
        draws.append(score(normal(100, 3, 2 * i, 0.6), fresh))
    spread = float(torch.tensor([d.value for d in draws]).std())
    claimed = float(torch.tensor([d.std_err for d in draws]).mean())
    # a spread of 60 draws is known to 9 %; the jackknife errs on the side of caution
    assert 0.75 * spread < claimed < 1.6 * spread


def test_leaving_a_point_out_is_what_the_jackknife_of_recall_says():
    generated, reference = normal(12, 2), normal(30, 2, 1)
    left = torch.tensor(
        [
            Recall()(FeatureSet(generated.points[torch.arange(12) != i]), reference).value
            for i in range(12)
        ]
    )
    want = math.sqrt(11 / 12 * float((left.double() - left.double().mean()).square().sum()))
    assert Recall()(generated, reference).std_err == pytest.approx(want, rel=1e-6)


def test_coverage_and_density_of_a_cloud_by_itself_are_what_they_must_be():
    cloud = normal(200, 3)
    assert Coverage()(cloud, cloud).value == 1.0
    assert Precision()(cloud, cloud).value == 1.0
    assert Frechet()(cloud, cloud).value == pytest.approx(0, abs=1e-9)
    k = 5  # each point lies in its own ball and, on average, in k others
    assert DensityMetric(k=k)(cloud, cloud).value == pytest.approx((k + 1) / k, rel=1e-9)


def test_frechet_of_fewer_points_than_dimensions_is_finite_and_has_an_error():
    found = Frechet()(normal(20, 50), normal(30, 50, 1))
    assert math.isfinite(found.value) and 0 < found.std_err < found.value


def test_blocks_of_distances_are_the_distances():
    a, b = normal(30, 5, 0, 100.0), normal(40, 5, 1, 100.0)
    whole = torch.cat(list(distance_blocks(a, b)))
    want = torch.cdist(a.points.double(), b.points.double()).square()
    torch.testing.assert_close(whole, want)


def test_clouds_that_no_score_is_defined_for_are_refused():
    with pytest.raises(UsageError, match="expected \\(N, F\\)"):
        FeatureSet(torch.zeros(3))
    with pytest.raises(UsageError, match="NaN"):
        FeatureSet(torch.full((3, 2), torch.nan))
    with pytest.raises(UsageError, match="k = 3"):
        FeatureSet(torch.zeros(3, 2)).radii(3)


def test_copies_of_a_sample_set_do_not_make_errors_smaller():
    g = torch.Generator().manual_seed(0)
    x, reference = (torch.randn(120, 2, generator=g) for _ in range(2))
    x, reference = 2 * x, FeatureSet(reference)
    for score in (Frechet(), KernelDistance(), Precision(), DensityMetric(), Coverage()):
        once, twice = score(FeatureSet(x), reference), score(FeatureSet(x.repeat(3, 1)), reference)
        assert 0.8 * once.std_err < twice.std_err < 1.3 * once.std_err, score
    assert math.isinf(Recall()(FeatureSet(x.repeat(3, 1)), reference).std_err)


def test_one_point_many_times_tells_no_error():
    reference = FeatureSet(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)))
    same = FeatureSet(torch.zeros(30, 2))
    for score in (Frechet(), KernelDistance(), Precision(), Recall(), DensityMetric(), Coverage()):
        assert str(score(same, reference)).endswith("+- ?"), score
