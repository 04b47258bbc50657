"""Frames for programs that are traced: what a frame tells of its code, and no way from there to ours.

Guarantees, once `install` was called, for the rest of the process: no code gets a frame of the interpreter's (`refused`
tells an audit hook what would give one). `sys._getframe` and `traceback` give `Shown` ones instead, in which libraries
find what they look for: code, line, module, and the names of a program's own. Frames of ours and those under the
program are not among them. A signal handler, which would get a frame as its argument, cannot be set. What runs here
uses no built-in by its name: a program may have put something else there.
"""

import _signal
import functools
import gc
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

ATTRIBUTES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")


def opaque(function: Callable[..., Any]) -> Any:
    """A C callable, bound like a function where it is a class's, that calls `function` and does not show it."""
    return functools._lru_cache_wrapper(function, 0, False, functools._CacheInfo)  # type: ignore[attr-defined, call-arg]


class Shown:
    """What a frame says, apart from the frame. Has no function of ours in it: that would show our names."""

    f_back: Any
    f_builtins: Any
    f_code: Any
    f_globals: Any
    f_lasti: Any
    f_lineno: Any
    f_locals: Any
    f_trace: Any
    __class__ = property(opaque(lambda self: types.FrameType))  # type: ignore[assignment]  # `inspect` asks for it


class Frames:
    """The interpreter's frames, behind a door that one thread at a time opens, for one look."""

    def __init__(self, bottom: types.CodeType, own: dict[str, Any], ours: frozenset[int]) -> None:
        """`bottom`: code under which nothing is shown; `own`: the program's names; `ours`: ids of globals not shown."""
        self._getframe, self._ident, self._id, self._type = sys._getframe, threading.get_ident, id, type
        self._entry, self._attribute = types.TracebackType, getattr
        self._collects, self._collect, self._rest = gc.isenabled, gc.enable, gc.disable
        self._bottom, self._own, self._ours = bottom, own, ours
        self._looking = 0  # the thread that looks

    def refused(self, event: str, arguments: tuple[Any, ...]) -> bool:
        """Whether what an audit hook reports would give somebody else a frame."""
        if self._looking == self._ident():
            return False
        return event == "sys._getframe" or (event == "object.__getattr__" and arguments[1] in ATTRIBUTES)

    def at(self, depth: int = 0) -> Shown:
        """`sys._getframe`, as if ours were not there. Raises ValueError."""
        frame: Any = self._look(self._getframe, 2)
        chain = []
        while frame is not None and frame.f_code is not self._bottom:
            if self._id(frame.f_globals) not in self._ours:
                chain.append(frame)
            frame = frame.f_back
        if not chain[depth:]:
            raise ValueError("call stack is not deep enough")
        return self._shown(chain[depth:])

    def walk(self, entry: Any) -> list[tuple[Shown, int]]:
        """`traceback.walk_tb`: frame and line of every entry."""
        found = []
        while self._type(entry) is self._entry:
            frame = self._look(self._attribute, entry, "tb_frame")
            found.append((self._shown([frame]), entry.tb_lineno))
            entry = entry.tb_next
        return found

    def _look(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """What `ask` returns, with the door open; no finalizer comes in, which a collection would let run."""
        collects = self._collects()
        self._rest()
        self._looking = self._ident()
        try:
            return ask(*arguments)
        finally:
            self._looking = 0
            if collects:
                self._collect()

    def _shown(self, chain: list[Any]) -> Any:
        back: Shown | None = None
        for frame in chain[::-1]:
            shown = Shown()
            shown.f_back, shown.f_code, shown.f_trace = back, frame.f_code, None
            shown.f_lineno, shown.f_lasti, shown.f_builtins = frame.f_lineno, frame.f_lasti, frame.f_builtins
            shown.f_globals = {} if self._id(frame.f_globals) in self._ours else frame.f_globals
            shown.f_locals = frame.f_locals if frame.f_globals is self._own else {}
            back = shown
        return back


def install(frames: Frames, mark: Callable[[str], None]) -> None:
    """Put ours in the place of what gives frames away; `mark` is called for a signal handler."""

    def no_handler(*arguments: Any) -> None:
        mark("signal.signal")
        raise PermissionError("a traced program may not use signal.signal")

    def with_positions(entry: Any) -> Any:
        return [(shown, (line, None, None, None)) for shown, line in frames.walk(entry)]

    sys._getframe = opaque(frames.at)
    traceback.walk_tb = opaque(frames.walk)
    traceback._walk_tb_with_full_positions = opaque(with_positions)  # type: ignore[attr-defined]
    signal.signal = _signal.signal = opaque(no_handler)  # type: ignore[attr-defined]
