import pytest
import torch

from fedvsr.errors import ConfigError
from fedvsr.models import build_model
from fedvsr.models.stochastic_depth import StochasticDepth, rising_rates


def test_a_share_of_the_examples_is_left_out_and_the_mean_stays():
    torch.manual_seed(0)
    y = StochasticDepth(0.25)(torch.ones(4000, 2, 3))
    is_kept = y[:, 0, 0] > 0
    assert torch.equal(y, (is_kept.float() / 0.75).view(-1, 1, 1).expand_as(y))
    assert is_kept.float().mean() == pytest.approx(0.75, abs=0.03)


def test_nothing_is_left_out_at_rate_zero_or_outside_training():
    x = torch.rand(8, 2)
    assert StochasticDepth(0.0)(x) is x
    assert StochasticDepth(0.9).eval()(x) is x


def test_rates_rise_through_all_groups():
    first, second = rising_rates(0.4, [2, 3])
    assert first == pytest.approx([0, 0.1])
    assert second == pytest.approx([0.2, 0.3, 0.4])


@pytest.mark.parametrize("name", ["iart", "vrt"])
@pytest.mark.parametrize("value", [1, -0.1, "much", None, True, float("nan")])
def test_invalid_rates_are_refused(name, value):
    with pytest.raises(ConfigError, match=r"^model\.options\.drop_path_rate: "):
        build_model(name, 4, {"drop_path_rate": value})
