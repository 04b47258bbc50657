"""What comes out of the jail is read as data: a trace that is not what the tracer writes is refused."""

import gc
import json
import math
import sys
from typing import Any

import pytest

from serving.jailed.frames import Frames
from serving.jailed.trace import opaque
from serving.render.chart_tracer import MOST, Trace, read

WHOLE: dict[str, Any] = {
    "calls": ["matplotlib.axes._axes.bar"], "texts": ["Sales"], "colors": [["matplotlib.axes._axes.bar", ["#FF0000"]]],
    "ran": True, "drawn": True, "layout": [[1, 1, 0, 0, 0, 0]], "error": "", "axes": 2,
}  # fmt: skip


def body(**changes: Any) -> bytes:
    return json.dumps(WHOLE | changes).encode()


def test_a_whole_trace() -> None:
    expected = Trace(
        True, "", False, ("Sales",), ((1, 1, 0, 0, 0, 0),), ("matplotlib.axes._axes.bar",),
        frozenset({("matplotlib.axes._axes.bar", "#FF0000")}), axes=2,
    )  # fmt: skip
    assert read(body(), "chartmimic") == expected
    assert read(body(drawn=False), "chartmimic").texts == ()
    assert read(b'{"tampered": true}', "chartmimic").tampered


@pytest.mark.parametrize(
    "wrong",
    [
        body(calls=[1]), body(calls={"a": 1}), body(texts="Sales"), body(texts=[None]), body(colors=[["a", "b", "c"]]),
        body(colors=["ab"]),
        body(colors=[["a", "b"]]), body(colors=[[1, ["b"]]]), body(axes=-1), body(axes=2 * MOST),
        body(ran=1), body(drawn="yes"), body(layout=[[1, 1, 0, 0, 0]]), body(error=None),
        body(layout=[[1, 1, 0, 0, 0, 0.5]]), body(layout=[[True, 1, 0, 0, 0, 0]]), body(more=1), b"", b"\xff", b"[]",
        b"null", b"[" * 100_000, body(calls=["x"] * (MOST + 1)), b"__import__('os').system('true')",
        json.dumps({k: v for k, v in WHOLE.items() if k != "ran"}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_trace_counts_as_tampered_with(wrong: bytes) -> None:
    found = read(wrong, "chartmimic")
    assert found.tampered and not found.ran and found.texts == ()


@pytest.mark.parametrize("number", ["NaN", "Infinity", '"1"', "1", "1e999"])
def test_places_of_words_are_finite_numbers(number: str) -> None:
    rest = '"calls": [], "texts": [], "colors": [], "ran": true, "error": "", "shown": true, "inches": [6.4, 4.8]'
    assert read(b"{%s, %s}" % (rest.encode(), b'"words": [["a", 0.5, 1.0]]'), "plot2code").words == (("a", 0.5, 1.0),)
    assert read(f'{{{rest}, "words": [["a", 0.5, {number}]]}}'.encode(), "plot2code").tampered
    assert read(b"{%s, %s}" % (rest.encode(), b'"words": [["a", 0.5]]'), "plot2code").tampered
    ((text, x, y),) = read(b"{%s, %s}" % (rest.encode(), b'"words": [["a"]]'), "plot2code").words
    assert text == "a" and math.isnan(x) and math.isnan(y)


def test_an_opaque_callable_shows_nothing_of_what_it_calls() -> None:
    hidden: list[int] = []
    add = opaque(hidden.append)

    class Owner:
        method = opaque(lambda self, x: (self, x))

    add(1)
    assert hidden == [1]
    owner = Owner()
    assert owner.method(2) == (owner, 2)
    for value in (add, Owner.method, owner.method):
        for name in dir(value):
            found = getattr(value, name)
            assert found is not hidden and not hasattr(found, "__closure__")


@pytest.mark.parametrize("enabled", [True, False])
def test_no_finalizer_runs_while_frames_are_looked_at(enabled: bool) -> None:
    """M1: a collection that falls into the look would run a program's finalizer with the door open."""
    frames, seen = Frames((lambda: 0).__code__, {}, frozenset()), []
    plain = frames._getframe
    frames._getframe = lambda depth: (seen.append((gc.isenabled(), frames._looking != 0)), plain(depth + 1))[1]
    (gc.enable if enabled else gc.disable)()
    try:
        assert frames.at().f_code is sys._getframe().f_code
        assert seen == [(False, True)] and frames._looking == 0 and gc.isenabled() == enabled
    finally:
        gc.enable()
