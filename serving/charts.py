"""Charts: Python source in, PNG or a clear failure out, through one warm fork server.

Guarantees: the same source gives the same bytes; a result always comes by `wall_s` plus a margin; a server that died is
started again and its program tried once more, then it is an Outage.
"""

import asyncio
import json
import os
import socket
import struct
import sys
import time
from dataclasses import asdict

from actors.contracts import Outage, RenderResult
from configs.schema import Render
from serving.chart_server import KINDS

START_S = 60.0
MARGIN_S = 10.0
PNG = b"\x89PNG\r\n\x1a\n"


class ChartRenderer:
    """One warm server process; renders one program at a time, in order."""

    def __init__(self, config: Render) -> None:
        self._limits = asdict(config.sandbox)
        self._max_source = config.sandbox.max_source_bytes
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._channel: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def render(self, source: str) -> RenderResult:
        """Run one program. Raises Outage("render", ...) when the server cannot be kept alive."""
        data = source.encode("utf-8", "replace")
        if len(data) > self._max_source:
            return RenderResult(False, 0.0, kind="too_large", message=f"a program may have {self._max_source} bytes")
        started = time.perf_counter()
        async with self._lock:
            for attempt in (1, 2):
                try:
                    async with asyncio.timeout(self._limits["wall_s"] + MARGIN_S + START_S):
                        frame = await self._exchange(data)
                    break
                except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as error:
                    await self.close()
                    if attempt == 2:
                        raise Outage("render", f"the render server does not answer ({type(error).__name__})") from error
        return _result(frame, time.perf_counter() - started)

    async def close(self) -> None:
        """End the server process."""
        process, self._process, self._channel = self._process, None, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _exchange(self, data: bytes) -> bytes:
        if self._channel is None:
            await self._start()
        assert self._channel is not None
        reader, writer = self._channel
        writer.write(struct.pack("!I", len(data)) + data)
        await writer.drain()
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        return await reader.readexactly(size)

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "MPLBACKEND": "agg",
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
        }
        environment |= {k: os.environ[k] for k in ("MPLCONFIGDIR", "HOME") if k in os.environ}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "serving.chart_server", str(theirs.fileno()), json.dumps(self._limits),
            pass_fds=[theirs.fileno()], env=environment, stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        async with asyncio.timeout(START_S):
            await reader.readexactly(1)
        self._channel = reader, writer


def _result(frame: bytes, seconds: float) -> RenderResult:
    """A frame comes from a process that ran foreign code: only a real PNG counts as one."""
    status, body = frame[0], frame[1:]
    if status == 0 and body[:8] == PNG and len(body) > 33:
        width, height = struct.unpack("!II", body[16:24])
        return RenderResult(True, seconds, png=body, size=(width, height))
    if not 1 <= status <= len(KINDS):
        return RenderResult(False, seconds, kind="crashed", message="the program ended its process")
    return RenderResult(False, seconds, kind=KINDS[status - 1], message=body.decode("utf-8", "replace")[:600])  # type: ignore[arg-type]
