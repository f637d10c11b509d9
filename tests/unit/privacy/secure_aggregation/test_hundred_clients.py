"""The largest session."""

import numpy as np

from tests.unit.privacy.secure_aggregation.parties import Parties, make_session


def test_a_hundred_clients_of_whom_half_stay():
    parties = Parties(make_session(100, length=16, threshold=51))
    clients = parties.session.clients
    parties.advertise()
    # Only so many share, because sharing among a hundred takes a fifth of a second a client.
    parties.share(clients[:53])
    parties.mask(clients[1:52])
    parties.unmask()
    np.testing.assert_array_equal(parties.open(), parties.plain_sum(clients[1:52]))
