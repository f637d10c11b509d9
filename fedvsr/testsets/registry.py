"""Test sets by name. A built-in test set is one file in this folder and one line here."""

from fedvsr.registry import registry_of_subclasses
from fedvsr.testsets.base import VideoTestSet

_TEST_SETS = {
    "reds4": "fedvsr.testsets.reds4:Reds4",
    "udm10": "fedvsr.testsets.udm10:Udm10",
    "vid4": "fedvsr.testsets.vid4:Vid4",
    "vimeo90k-t": "fedvsr.testsets.vimeo90k:Vimeo90kT",
}


TEST_SETS = registry_of_subclasses(
    VideoTestSet,
    kind="test set",
    field="TEST_SET",
    group="fedvsr.test_sets",
    built_ins=_TEST_SETS,
)


def known_test_sets() -> tuple[str, ...]:
    """Returns the names of the built-in test sets and of the installed entry points, sorted."""
    return TEST_SETS.names()


def get_test_set(name: str) -> VideoTestSet:
    """Returns a test set.

    Args:
        name: One of `known_test_sets`, or a reference ``package.module:name``.

    Raises:
        fedvsr.errors.UnknownNameError: No test set has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported, or is not a test set.
    """
    return TEST_SETS.load(name)()
