"""SIGTERM stops like Ctrl-C, and the message is that of what was being done."""

import os
import signal
import threading

import click
import pytest

from fedvsr.cli.main import main
from fedvsr.cli.stopping import Terminated, stop_code, stop_message, terminate_on_sigterm, when_stopped


def send(number):
    os.kill(os.getpid(), number)
    signal.sigpending()  # Python runs the handler before the next instruction


def test_sigterm_cleans_up_undisturbed_and_the_handler_is_restored():
    before, cleaned = signal.getsignal(signal.SIGTERM), []

    def work():
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGTERM)
            cleaned.append(True)

    with pytest.raises(Terminated), terminate_on_sigterm():
        work()
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_handle_no_signals():
    results = []

    def run():
        with terminate_on_sigterm():
            results.append("ran")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == ["ran"]


def test_the_innermost_description_is_told():
    with (
        pytest.raises(KeyboardInterrupt) as stop,
        when_stopped(lambda: "outer"),
        when_stopped(lambda: "inner"),
    ):
        raise KeyboardInterrupt
    assert stop_message(stop.value) == "stopped; inner"
    assert stop_message(KeyboardInterrupt()) == stop_message(None) == "stopped"


@pytest.mark.parametrize(
    ("number", "code", "error"), [(signal.SIGINT, 130, KeyboardInterrupt), (signal.SIGTERM, 143, Terminated)]
)
def test_a_command_that_says_nothing_ends_with_one_word(capsys, monkeypatch, number, code, error):
    @click.command()
    def wait():
        send(number)

    monkeypatch.setattr("sys.argv", ["fedvsr"])
    with pytest.raises(SystemExit) as exit_:
        main(wait)
    assert exit_.value.code == code == stop_code(error())
    assert capsys.readouterr().err == "\nstopped\n"
