"""Any t of n shares give the secret back; the halves are shared independently."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.privacy.secure_aggregation.shamir import combine_shares, split_secret

SECRET = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.integers(2, 12), st.data())
@settings(max_examples=40, deadline=None)
def test_any_t_shares_give_the_secret(secret, threshold, data):
    count = data.draw(st.integers(threshold, 15))
    shares = dict(enumerate(split_secret(secret, threshold, count), 1))
    holders = data.draw(st.permutations(list(shares)))[:threshold]
    assert combine_shares({holder: shares[holder] for holder in holders}) == secret


@given(st.integers(3, 12), st.data())
@settings(max_examples=20, deadline=None)
def test_fewer_shares_give_another_secret(threshold, data):
    shares = dict(enumerate(split_secret(SECRET, threshold, 12), 1))
    holders = data.draw(st.permutations(list(shares)))[: threshold - 1]
    wrong = combine_shares({holder: shares[holder] for holder in holders})
    assert wrong[:16] != SECRET[:16]
    assert wrong[16:] != SECRET[16:]


def test_equal_halves_have_different_shares():
    for share in split_secret(bytes(32), 3, 5):
        assert share[:16] != share[16:]


def test_a_hundred_shares():
    shares = split_secret(SECRET, 67, 100)
    assert combine_shares({number: shares[number - 1] for number in range(34, 101)}) == SECRET


@pytest.mark.parametrize(("secret", "threshold", "count"), [(b"short", 2, 3), (SECRET, 1, 3), (SECRET, 4, 3)])
def test_a_sharing_that_protects_nothing_is_refused(secret, threshold, count):
    with pytest.raises(ValueError, match=r"32 bytes|must be 2 to 3"):
        split_secret(secret, threshold, count)
