"""Charts: Python source in, PNG or a clear failure out, through one warm fork server in its own jail.

Guarantees: the same source gives the same bytes, on every worker and after every restart, unless it asks for the time,
the system's own random numbers or its process; a result comes by `render.sandbox.wall_s` plus a margin, three times
that where the machine is so crowded that a program waits for a processor; a server that died or does not answer by then
is started again and its program tried once more, then it is an Outage. No byte that foreign code wrote is parsed here:
a picture arrives as raw pixels of the size it announces.
"""

import asyncio
import json
import os
import re
import shutil
import socket
import struct
import tempfile
import time
import zlib
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from actors.contracts import Outage, RenderResult
from actors.text import one_line
from configs.schema import Render, Sandbox
from serving.jailed.protocol import KINDS, REPLY, fits
from serving.render import sandbox

START_S = 60.0
MARGIN_S = 10.0
CROWDED = 3  # times `wall_s`, within which a program that waits for a processor most of the time must come to its end
HEAVY_NAMES = re.compile(r"\b(pandas|seaborn|scipy|axes_grid1|axisartist)\b")


class ChartRenderer:
    """Renders one program at a time, in order, on a warm server process. Safe to call concurrently.

    Programs that name pandas, seaborn or scipy go to a second server that has those loaded, started when the first one
    comes: a fork costs in proportion to the memory of what is forked.
    """

    def __init__(self, config: Render) -> None:
        """Raises sandbox.MissingLayer where this machine lacks a layer that the settings do not excuse."""
        self.layers = sandbox.active_layers(config.sandbox.allow_missing)
        self._limits = config.sandbox
        self._lock = asyncio.Lock()
        self._servers = {heavy: Server(config.sandbox, self.layers, heavy) for heavy in (False, True)}

    async def render(self, source: str) -> RenderResult:
        """Run one program. Raises Outage("render", ...) when the server cannot be kept alive."""
        data = source.encode("utf-8", "replace")
        if len(data) > self._limits.max_source_bytes:
            message = f"the program has {len(data)} bytes; at most {self._limits.max_source_bytes} are allowed"
            return RenderResult(False, 0.0, kind="too_large", message=message)
        server = self._servers[HEAVY_NAMES.search(source) is not None]
        async with self._lock:
            started = time.perf_counter()
            reply = await server.answer(data)
            seconds = time.perf_counter() - started
        if reply.kind == "":
            png = await asyncio.to_thread(encode_png, reply.width, reply.height, reply.body)
            return RenderResult(True, seconds, png=png, size=(reply.width, reply.height), message=reply.message)
        return RenderResult(False, seconds, kind=reply.kind, message=reply.message)  # type: ignore[arg-type]

    async def close(self) -> None:
        """End the server processes and remove their folders."""
        for server in self._servers.values():
            await server.stop()

    @property
    def pids(self) -> list[int]:
        """Process ids of the servers that run (of their jails, where they have namespaces)."""
        return [server.process.pid for server in self._servers.values() if server.process]

    @property
    def starts(self) -> int:
        """Server processes started so far."""
        return sum(server.starts for server in self._servers.values())


class Reply(NamedTuple):
    """`kind` "" with a picture (RGB rows) or a trace (no size), else how the program failed; a few words with each."""

    kind: str
    width: int
    height: int
    body: bytes
    message: str


class Server:
    """One process of `module` and the socket to it. `picture`: whether its replies are pictures, else traces."""

    def __init__(
        self,
        limits: Sandbox,
        layers: tuple[str, ...],
        heavy: bool,
        module: str = "serving.jailed.server",
        picture: bool = True,
    ) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.starts = 0
        self._limits = limits
        self._layers = layers
        self._heavy = heavy
        self._module = module
        self._picture = picture
        self._channel: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._socket: socket.socket | None = None
        self._scratch = ""

    async def answer(self, data: bytes) -> Reply:
        """One program for one reply; twice where the process died. Raises Outage."""
        for attempt in (1, 2):
            try:
                return await self._exchange(data)
            except (OSError, EOFError, TimeoutError) as error:
                await self.stop()
                if attempt == 2:
                    raise Outage("render", f"the chart server does not answer ({error!r})") from error
            except BaseException:  # cancelled in mid-exchange: the next answer would belong to this request
                await self.stop()
                raise
        raise AssertionError("the second attempt answers or raises")

    async def _exchange(self, data: bytes) -> Reply:
        if self._channel is None:
            await self._start()
        assert self._channel is not None and self._socket is not None
        reader = self._channel[0]
        most = self._limits.max_pixels * (1 if self._picture else 3)
        async with asyncio.timeout(CROWDED * self._limits.wall_s + MARGIN_S):
            with open(os.memfd_create("program"), "wb", buffering=0) as program:
                program.write(data)
                # one byte into an empty socket: it does not wait
                socket.send_fds(self._socket, [b"P"], [program.fileno()])
            kind, width, height, size, words = REPLY.unpack(await reader.readexactly(REPLY.size))
            if not fits(kind, width, height, size, words, most=most, picture=self._picture):
                raise OSError("a malformed reply")
            body, message = await reader.readexactly(size), await reader.readexactly(words)
        return Reply(KINDS[kind], width, height, body, one_line(message.decode("utf-8", "replace")))

    async def _start(self) -> None:
        namespaces = "namespaces" in self._layers
        folder = sandbox.FOLDER
        if not namespaces:  # else it has a file system of its own, which ends with it
            self._scratch = tempfile.mkdtemp(prefix="rrvf-")
            folder = os.path.join(self._scratch, "work")
            os.mkdir(folder)
        settings = json.dumps(asdict(self._limits) | {"layers": self._layers, "heavy": self._heavy, "folder": folder})
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                *sandbox.command(self._module, [settings], namespaces=namespaces),
                env=sandbox.environment(namespaces=namespaces, scratch=self._scratch),
                cwd=self._scratch or "/", stdin=theirs.fileno(), stdout=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        self.starts += 1
        self._socket = ours.dup()
        self._channel = await asyncio.open_connection(sock=ours, limit=2**22)
        async with asyncio.timeout(START_S):
            await self._channel[0].readexactly(1)

    async def stop(self) -> None:
        """Kill the process, and with it all that lives in its jail."""
        process, self.process = self.process, None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel[1].close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        if self._scratch:
            await asyncio.to_thread(shutil.rmtree, self._scratch, True)


def encode_png(width: int, height: int, rgb: bytes) -> bytes:
    """PNG of RGB rows. Rows as differences from the row above and the fastest deflate: a third of a library's time."""
    rows = np.frombuffer(rgb, np.uint8).reshape(height, 3 * width)
    filtered = np.empty((height, 1 + 3 * width), np.uint8)
    filtered[:, 0] = 2  # filter type "up"
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.data, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(body)) + name + body + struct.pack("!I", zlib.crc32(name + body)) for name, body in chunks
    )
