"""The statistics of a study: means over seeds, and differences paired by seed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: The mean.
        margin: Half of its 95 % confidence interval, by Student's t distribution; NaN for a single seed.
        count: Number of seeds.
    """

    mean: float
    margin: float
    count: int

    @property
    def is_clear_of_zero(self) -> bool:
        """Whether 0 is outside of the interval."""
        return abs(self.mean) > self.margin


@dataclass(frozen=True)
class Difference:
    """Differences paired by seed.

    Attributes:
        estimate: Their mean.
        sign_test: The p-value of the two-sided sign test: how probable a split of signs that is at least as
            uneven is, if both are equally good. Differences of 0 do not count.
    """

    estimate: Estimate
    sign_test: float


def estimate(values: Sequence[float]) -> Estimate:
    """Returns the mean of at least one value, with its interval."""
    count = len(values)
    if count == 1:
        return Estimate(values[0], math.nan, 1)
    error = statistics.stdev(values) / math.sqrt(count)
    quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, count - 1))
    return Estimate(statistics.fmean(values), quantile * error, count)


def paired_difference(values: Mapping[int, float], others: Mapping[int, float]) -> Difference | None:
    """Returns values minus others over the seeds that both have; None if they share none."""
    differences = [values[seed] - others[seed] for seed in sorted(values.keys() & others.keys())]
    if not differences:
        return None
    positive = sum(difference > 0 for difference in differences)
    signs = positive + sum(difference < 0 for difference in differences)
    p_value = float(stats.binomtest(positive, signs).pvalue) if signs else 1.0
    return Difference(estimate(differences), p_value)


def mean_by_seed(columns: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Returns the mean over columns for each seed that all of them have."""
    seeds = set.intersection(*(set(column) for column in columns))
    return {seed: statistics.fmean(column[seed] for column in columns) for seed in sorted(seeds)}


def best_column(columns: Mapping[str, Mapping[int, float]]) -> str:
    """Returns the name of the column with the highest mean over the seeds that all columns have."""
    seeds = set.intersection(*(set(column) for column in columns.values()))
    return max(columns, key=lambda name: statistics.fmean([columns[name][seed] for seed in seeds]))
