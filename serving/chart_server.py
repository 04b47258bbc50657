"""The warm process that charts are forked from: imports Matplotlib once, then one child a program.

Guarantees: a program runs in a fork of a clean, warmed interpreter under CPU, memory and file limits, in a session of
its own and an empty folder, and is killed at its deadline; whatever it does to its own process, the next one starts
clean. The last figure that was current when something was saved or shown, or else at the end, is the picture.

Run as `python -m serving.chart_server FD LIMITS_JSON`; speaks length-prefixed frames on the socket FD.
"""

import contextlib
import gc
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from typing import Any

PROGRAM = "<program>"
KINDS = ("syntax", "exception", "timeout", "memory", "no_figure", "too_large", "forbidden", "crashed")
MAX_RESULT = 64 * 2**20


def read_exactly(channel: socket.socket, count: int) -> bytes:
    """`count` bytes, or EOFError."""
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def warm() -> Any:
    """Import, pin the settings and draw once, so that a child finds fonts and caches ready."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.font_manager
    import numpy
    from matplotlib import pyplot

    matplotlib.rcdefaults()
    matplotlib.rcParams.update({"figure.max_open_warning": 0, "text.usetex": False, "savefig.dpi": "figure"})
    bundled = [f for f in matplotlib.font_manager.fontManager.ttflist if "mpl-data" in f.fname]
    matplotlib.font_manager.fontManager.ttflist = bundled
    figure, axes = pyplot.subplots()
    axes.bar([1, 2], [3, 4])
    axes.plot([1, 2], [3, 4], label="x")
    axes.set_title("warm")
    axes.legend()
    figure.savefig(io.BytesIO(), format="png")
    pyplot.close("all")
    numpy.random.seed(0)
    # pyplot.savefig draws everything a second time through this call, for a window that does not exist
    figure.canvas.__class__.draw_idle = lambda self, *a, **k: None  # type: ignore[method-assign]
    gc.collect()
    gc.freeze()
    return pyplot


class TooLarge(Exception):
    pass


def capture(pyplot: Any, max_pixels: int) -> Any:
    """Route everything that would leave the figure to one picture; returns where the last one is kept."""
    from matplotlib.figure import Figure

    kept: dict[str, bytes] = {}
    save = Figure.savefig

    def take(figure: Any) -> None:
        width, height = figure.get_size_inches() * figure.dpi
        if not (0 < width * height <= max_pixels):
            raise TooLarge(f"the figure has {width:.0f} x {height:.0f} pixels, at most {max_pixels} are allowed")
        out = io.BytesIO()
        save(figure, out, format="png", pil_kwargs={"compress_level": 1})
        kept["png"] = out.getvalue()

    def savefig(self: Any, fname: Any = None, *args: Any, **options: Any) -> None:
        if options.get("dpi") not in (None, "figure"):
            self.set_dpi(float(options["dpi"]))
        take(self)

    def show(*args: Any, **options: Any) -> None:
        if pyplot.get_fignums():
            take(pyplot.gcf())

    Figure.savefig = savefig  # type: ignore[method-assign]
    pyplot.show = show

    def finish() -> bytes | None:
        if "png" not in kept and pyplot.get_fignums():
            take(pyplot.gcf())
        return kept.get("png")

    return finish


def child(source: str, pipe: int, limits: dict[str, Any], pyplot: Any, folder: str) -> None:
    """Run one program and write its frame to `pipe`; never returns."""
    os.setsid()
    os.chdir(folder)
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)
    megabytes = 2**20
    seconds = max(1, round(limits["cpu_s"]))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_mb"] * megabytes + limits["base"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * megabytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    random.seed(0)
    kind, body = run(source, pyplot, limits)
    frame = bytes([KINDS.index(kind) + 1 if kind else 0]) + body
    with os.fdopen(pipe, "wb") as out:
        out.write(struct.pack("!I", len(frame)) + frame)
    os._exit(0)


def run(source: str, pyplot: Any, limits: dict[str, Any]) -> tuple[str, bytes]:
    """('', PNG) or (kind, message) of one program."""
    finish = capture(pyplot, limits["max_pixels"])
    try:
        code = compile(source, PROGRAM, "exec")
    except (SyntaxError, ValueError, RecursionError) as error:
        return "syntax", describe(error, source).encode()
    try:
        with contextlib.suppress(SystemExit):
            exec(code, {"__name__": "__main__"})
        png = finish()
    except TooLarge as error:
        return "too_large", str(error).encode()
    except MemoryError:
        return "memory", b"the program ran out of memory"
    except BaseException as error:
        return "exception", describe(error, source).encode()
    return ("", png) if png else ("no_figure", b"the program ends without a figure")


def describe(error: BaseException, source: str) -> str:
    """Last line of the traceback, with the program's line number and that line."""
    what = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1][:300]
    number = error.lineno if isinstance(error, SyntaxError) else None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == PROGRAM:
            number = line
    lines = source.splitlines()
    if number is None or not 1 <= number <= len(lines):
        return what
    return f"{what} (line {number}: {lines[number - 1].strip()[:120]})"


def serve(channel: socket.socket, limits: dict[str, Any]) -> None:
    """Answer requests one after the other until the other side goes away."""
    pyplot = warm()
    with open("/proc/self/statm") as statm:
        limits["base"] = int(statm.read().split()[0]) * resource.getpagesize()
    channel.sendall(b"R")
    while True:
        try:
            (size,) = struct.unpack("!I", read_exactly(channel, 4))
            source = read_exactly(channel, size).decode("utf-8", "replace")
        except EOFError:
            return
        frame = attend(source, limits, pyplot)
        channel.sendall(struct.pack("!I", len(frame)) + frame)


def attend(source: str, limits: dict[str, Any], pyplot: Any) -> bytes:
    """Fork, wait by a deadline, reap, clean up: the child's frame or one that says how it ended."""
    folder = tempfile.mkdtemp(prefix="render-")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child(source, writer, limits, pyplot, folder)
    os.close(writer)
    handle = os.pidfd_open(pid)
    data = bytearray()
    deadline = time.monotonic() + limits["wall_s"]
    late = False
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            late = True
            break
        part = os.read(reader, 1 << 20)
        if not part or len(data) > MAX_RESULT:
            break
        data += part
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(handle)
    os.close(reader)
    shutil.rmtree(folder, ignore_errors=True)
    if len(data) >= 5 and struct.unpack("!I", data[:4])[0] == len(data) - 4:
        return bytes(data[4:])
    if late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return bytes([KINDS.index("timeout") + 1]) + f"the program took longer than {limits['cpu_s']:g} s".encode()
    return bytes([KINDS.index("crashed") + 1]) + b"the program ended its process"


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
