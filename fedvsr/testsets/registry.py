"""Every test set by its name."""

from importlib import import_module

from fedvsr.errors import UnknownNameError
from fedvsr.testsets.base import VideoTestSet

_TEST_SETS = {
    "reds4": "fedvsr.testsets.reds4:Reds4",
    "vid4": "fedvsr.testsets.vid4:Vid4",
    "udm10": "fedvsr.testsets.udm10:Udm10",
    "vimeo90k-t": "fedvsr.testsets.vimeo90k:Vimeo90kT",
}


def known_test_sets() -> tuple[str, ...]:
    """Returns the names of all test sets, sorted."""
    return tuple(sorted(_TEST_SETS))


def get_test_set(name: str) -> VideoTestSet:
    """Returns the test set of that name; its module is imported on first use.

    Raises:
        fedvsr.errors.UnknownNameError: No test set has that name.
    """
    if name not in _TEST_SETS:
        raise UnknownNameError("test set", name, _TEST_SETS)
    module, _, attribute = _TEST_SETS[name].partition(":")
    found = getattr(import_module(module), attribute)()
    assert isinstance(found, VideoTestSet)
    return found
