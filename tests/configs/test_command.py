"""How commands end: status and lines, for every kind of error."""

import os
import signal
import time

import pytest

from actors.contracts import Outage
from configs.command import run
from configs.load import ConfigError
from serving.render.sandbox import MissingLayer
from serving.render.web_browser import BrowserMissing


def failing(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (ConfigError("a=1: no", "b=2: no"), 2, ["error: a=1: no", "error: b=2: no"]),
        (MissingLayer("no seccomp"), 2, ["error: no seccomp"]),
        (BrowserMissing("no browser"), 2, ["error: no browser"]),
        (Outage("engine", "gone"), 1, ["error: engine: gone; go on"]),
        (OSError(28, "No space left on device"), 1, ["error: [Errno 28] No space left on device; go on"]),
        (ConfigError("\x1b]0;x\x07.yaml: no\r"), 2, ["error:  ]0;x .yaml: no"]),
        (Outage("engine", "\u202e\x1b[2J"), 1, ["error: engine:   [2J; go on"]),
        (LookupError(), 2, ["error: LookupError"]),
        (KeyboardInterrupt(), 130, ["stopped; go on"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_a_status_and_lines(
    error: BaseException, status: int, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lambda: failing(error), unusable=(LookupError,), hint="go on") == status
    assert capsys.readouterr().err.splitlines() == lines


def test_a_result_is_the_status_and_what_nobody_expected_is_raised() -> None:
    assert [run(lambda value=value: value) for value in (None, 0, 1, True)] == [0, 0, 1, 1]  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_whoever_ignored_it_before(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait() -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert run(wait, hint="go on") == 130
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "stopped; go on\n"
