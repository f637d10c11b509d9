"""How a step of the pipeline ends if it fails."""

import pytest

from fedvsr.errors import ConfigError, StoreError
from fedvsr.steps.ending import sentence_on_error


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(ConfigError("data.scale", 5, "it must be 2, 3 or 4"), 2), (StoreError("the disk is full"), 1)],
)
def test_an_error_is_one_line_and_the_steps_exit_code(capsys, error, exit_code):
    with pytest.raises(SystemExit) as caught, sentence_on_error():
        raise error
    assert caught.value.code == exit_code
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_a_defect_keeps_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError), sentence_on_error():
        1 / 0  # noqa: B018
    assert capsys.readouterr() == ("", "")
