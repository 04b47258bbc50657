"""Traces of chart programs, from outside the jail: source in, `Trace` out.

Guarantees: each tracer runs programs on server processes of its own, so that of two tracers neither's programs ever
share memory with the other's; what comes back is sealed by the tracer in the jail (see `serving.jailed.trace`), read as
JSON and refused unless every part is of its type and size; a program that fails, ends early or tampers is an outcome.
"""

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from actors.text import one_line
from configs.schema import Render
from serving.jailed.trace import SEAL
from serving.render import sandbox
from serving.render.charts import HEAVY_NAMES, Server

Mode = Literal[
    "chartmimic", "official", "official_type", "official_color", "plot2code", "official_plot2code", "pass_plot2code"
]
Place = tuple[int, int, int, int, int, int]  # rows, columns, first row, last row, first column, last column
MOST = 100_000  # records of one kind


@dataclass(frozen=True)
class Trace:
    """`ran`: the program went through and its figure was saved. What it did until it failed is here as well; there is
    nothing of a program that did not compile, was killed or `tampered`."""

    ran: bool
    failure: str = ""
    tampered: bool = False
    texts: tuple[str, ...] = ()  # drawn lines of text
    layout: tuple[Place, ...] = ()  # of axes that have a place in a grid
    calls: tuple[str, ...] = ()  # one name for each outermost plotting call
    colors: frozenset[tuple[str, str]] = frozenset()  # (function, #RRGGBB or colour map)
    words: tuple[tuple[str, float, float], ...] = ()  # plot2code: visible texts and where they stand, NaN for nowhere
    inches: tuple[float, float] = (0.0, 0.0)
    shown: bool = False  # plot2code: its saved picture is not all white
    axes: int = 0  # all of them


class ChartTracer:
    """Traces one program at a time, in order. Safe to call concurrently."""

    def __init__(self, config: Render) -> None:
        """Raises sandbox.MissingLayer where this machine lacks a layer that the settings do not excuse."""
        self._limits = config.sandbox
        layers = sandbox.active_layers(config.sandbox.allow_missing)
        self._lock = asyncio.Lock()
        self._servers = {
            heavy: Server(config.sandbox, layers, heavy, "serving.jailed.trace", picture=False)
            for heavy in (False, True)
        }

    async def trace(self, source: str, mode: Mode = "chartmimic") -> Trace:
        """Run one program. Raises Outage("render", ...) when the server cannot be kept alive."""
        data = f"{mode}\n{source}".encode("utf-8", "replace")
        if len(data) > self._limits.max_source_bytes:
            return Trace(False, "too_large")
        async with self._lock:
            reply = await self._servers[HEAVY_NAMES.search(source) is not None].answer(data)
        if reply.kind:
            return Trace(False, f"{reply.kind}: {reply.message}", tampered=reply.kind == "forbidden")
        return read(reply.body[SEAL:], mode)

    async def close(self) -> None:
        """End the server processes and remove their folders."""
        for server in self._servers.values():
            await server.stop()


def read(body: bytes, mode: Mode) -> Trace:
    """A trace from its JSON; one that is not what the tracer writes counts as tampered with."""
    try:
        found = json.loads(body, parse_constant=_refuse)
        if found == {"tampered": True}:
            return Trace(False, "the program reaches for its own trace", tampered=True)
        calls = _all(found.pop("calls"), str)
        texts = _all(found.pop("texts"), str)
        colors = frozenset(
            (_one(where, str), colour) for where, each in _all(found.pop("colors"), list) for colour in _all(each, str)
        )
        if len(colors) > MOST:
            raise ValueError("too many colours")
        failure, ran = found.pop("error"), found.pop("ran")
        if type(failure) is not str or type(ran) is not bool:
            raise ValueError("error or ran")
        failure = one_line(failure) or ("" if ran else "the figure cannot be saved")
        if mode.endswith("plot2code"):
            words = tuple(_word(*w) for w in _all(found.pop("words"), list))
            width, height = _all(found.pop("inches"), float, 2)
            shown = _one(found.pop("shown"), bool)
            return Trace(ran, failure, words=words, inches=(_number(width), _number(height)), shown=shown)
        drawn = _one(found.pop("drawn"), bool)
        layout = tuple(_all(place, int, 6) for place in _all(found.pop("layout"), list))
        axes = _one(found.pop("axes"), int)
        if found or not 0 <= axes <= MOST:
            raise ValueError("more than a trace")
        return Trace(ran, failure, False, texts if drawn else (), layout, calls, colors, axes=axes)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Trace(False, "the trace is malformed", tampered=True)


def _all(values: Any, kind: type, count: int | None = None) -> tuple[Any, ...]:
    if type(values) is not list or len(values) > MOST or (count is not None and len(values) != count):
        raise ValueError("not such a list")
    return tuple(_one(value, kind) for value in values)


def _one(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"not a {kind.__name__}")
    return value


def _word(text: Any, *place: Any) -> tuple[str, float, float]:
    x, y = map(_number, place) if place else (math.nan, math.nan)
    return _one(text, str), x, y


def _number(value: Any) -> float:
    if not math.isfinite(_one(value, float)):
        raise ValueError("not a finite number")
    return float(value)


def _refuse(name: str) -> float:
    raise ValueError(name)
