"""A study's intervals and tests against closed forms."""

import math

import pytest

from fedvsr.study.statistics import best_column, estimate, mean_by_seed, paired_difference


def test_the_interval_of_three_seeds_is_that_of_the_t_table():
    result = estimate([1.0, 2.0, 3.0])
    # t(0.975; 2) = 4.303, standard deviation 1.
    assert result.mean == 2.0
    assert result.margin == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert result.count == 3
    assert not result.is_clear_of_zero


def test_one_seed_has_no_interval_and_claims_nothing():
    result = estimate([0.5])
    assert math.isnan(result.margin)
    assert not result.is_clear_of_zero


def test_differences_are_paired_by_the_seeds_that_both_have():
    difference = paired_difference({1: 5.0, 2: 6.0, 3: 7.5, 9: 0.0}, {1: 4.0, 2: 5.0, 3: 6.5, 4: 99.0})
    assert difference is not None
    assert difference.estimate.mean == pytest.approx(1.0)
    assert difference.estimate.margin == pytest.approx(0.0)
    assert difference.estimate.count == 3
    # Three of three positive: 2 · (1/2)³.
    assert difference.sign_test == pytest.approx(0.25)


def test_equal_results_do_not_count_in_the_sign_test():
    difference = paired_difference({1: 1.0, 2: 1.0}, {1: 1.0, 2: 1.0})
    assert difference is not None
    assert difference.sign_test == 1.0
    assert paired_difference({1: 1.0}, {2: 1.0}) is None


def test_the_others_are_averaged_and_ranked_over_the_seeds_that_all_have():
    columns = {"a": {1: 1.0, 2: 5.0}, "b": {1: 2.0, 2: 2.0, 3: 90.0}}
    assert mean_by_seed(list(columns.values())) == {1: 1.5, 2: 3.5}
    assert best_column(columns) == "a"
