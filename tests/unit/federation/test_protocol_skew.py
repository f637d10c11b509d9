"""A federation and a site whose fedvsr speak different protocols: the sentence says what to upgrade."""

import pytest

import fedvsr
from fedvsr.federation.site_records import (
    PROTOCOL,
    AssignmentRecord,
    FederationRecord,
    HeartbeatRecord,
    find_skew,
)

RECORDS = {
    "heartbeat": HeartbeatRecord(site="ann", agent="a", fedvsr_version="9.9"),
    "assignment": AssignmentRecord(
        run="demo",
        round=1,
        site="ann",
        identity="0" * 64,
        clients=1,
        deadline_seconds=60,
        fedvsr_version="9.9",
    ),
    "federation": FederationRecord(name="test", fedvsr_version="9.9"),
}
HERE, NEWER = f"fedvsr {fedvsr.__version__} speaks protocol {PROTOCOL}", PROTOCOL + 1


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_another_version_with_the_same_protocol_is_no_obstacle(record):
    assert find_skew(record) == ""


def test_the_federation_names_the_side_that_is_older():
    newer = find_skew(RECORDS["heartbeat"].model_copy(update={"protocol": NEWER}))
    assert newer == (
        f"the site's fedvsr 9.9 speaks protocol {NEWER}, the federation's {HERE}; upgrade the federation"
    )
    older = find_skew(RECORDS["heartbeat"].model_copy(update={"protocol": PROTOCOL - 1}))
    assert older.endswith("upgrade the site")


@pytest.mark.parametrize("name", ["assignment", "federation"])
def test_a_site_names_the_side_that_is_older(name):
    newer = find_skew(RECORDS[name].model_copy(update={"protocol": NEWER}))
    assert newer == (
        f"the site's {HERE}, the federation's fedvsr 9.9 speaks protocol {NEWER}; upgrade the site"
    )
    older = find_skew(RECORDS[name].model_copy(update={"protocol": PROTOCOL - 1}))
    assert older.endswith("upgrade the federation")
