"""The warm process that charts are forked from: imports Matplotlib once, then one jailed child a program.

Guarantees: a program runs in a fork of a clean, warmed and seeded interpreter, inside the jail, and is killed at its
deadline; whatever it does to its own process, the next one starts the same. What leaves a child is checked: raw pixels
of the announced size, or a kind and a few words; anything else reads as "crashed". The picture is the figure saved
last; where nothing was saved, the one shown last; else the one that is current at the first close or at the end.

Run as `python -m serving.jailed.server SETTINGS_JSON` with a socket as its standard input. A request is a length and
the source; a reply is a header (REPLY) and the body.
"""

import contextlib
import fcntl
import io
import json
import mmap
import os
import random
import re
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from serving.jailed import fork_memory
from serving.jailed.sandbox import Jail
from serving.jailed.warmup import HEAVY, LIGHT, WARM_UP, WARM_UP_HEAVY, warm

PROGRAM = "<program>"
KINDS = ("", "syntax", "exception", "timeout", "memory", "no_figure", "too_large", "forbidden", "crashed")
REPLY = struct.Struct("!BIII")  # kind, width, height, bytes of the body: RGB rows or a message
MAX_MESSAGE = 2000
ARENAS = {False: 31, True: 69}  # MB of small objects after the imports of a light and a heavy server
WORTH_COPYING = 80  # pages that programs write on a huge page, above which a copy of all 512 at once is cheaper
MAX_ENTRIES = 1000  # files left behind beyond which a server ends itself rather than tidy up
Work = Callable[[str, int], tuple[str, int, int, bytes]]  # source, most pixels -> kind, width, height, body
Attend = Callable[[str, dict[str, Any], Jail], bytes | memoryview]
REFUSED = ("PermissionError", "gaierror", "URLError")  # by name: the modules of some are not loaded


class TooLarge(Exception):
    """A figure has more pixels than the settings allow."""


class Capture:
    """Routes everything that would leave a figure to `pixels` of one picture, by rank: saved, shown, closed."""

    def __init__(self, max_pixels: int) -> None:
        import matplotlib
        from matplotlib import pyplot
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.picture: tuple[int, int, bytes] | None = None
        self._rank = 0
        self._pyplot = pyplot
        self._save = Figure.savefig
        get_renderer, close = FigureCanvasAgg.get_renderer, pyplot.close
        capture = self

        def sized_renderer(canvas: Any) -> Any:
            width, height = canvas.figure.bbox.size
            if width * height > max_pixels:
                raise TooLarge(f"the figure has {width:.0f} x {height:.0f} pixels; at most {max_pixels} are allowed")
            return get_renderer(canvas)

        def print_png(canvas: Any, *args: Any, **options: Any) -> None:
            canvas.draw()
            capture._keep(canvas.buffer_rgba())

        def savefig(figure: Any, fname: Any = None, *args: Any, **options: Any) -> None:
            capture._saving(figure, **options)
            if hasattr(fname, "write"):  # the program may want to read what it saved
                with capture._untouched(FigureCanvasAgg, write_png):
                    capture._save(figure, fname, *args, **options)

        def show(*args: Any, **options: Any) -> None:
            capture.current(rank=2)

        def close_figures(*args: Any, **options: Any) -> None:
            if capture.picture is None:
                capture.current(rank=1)
            close(*args, **options)

        write_png = FigureCanvasAgg.print_png
        # pyplot.savefig draws everything a second time through draw_idle, for a window that does not exist
        for owner, name, replacement in (
            (FigureCanvasAgg, "get_renderer", sized_renderer),
            (FigureCanvasAgg, "print_png", print_png),
            (FigureCanvasAgg, "draw_idle", lambda *a, **k: None),
            (Figure, "savefig", savefig),
            (Figure, "show", lambda figure, *a, **k: capture._saving(figure, rank=2)),
            (pyplot, "show", show),
            (pyplot, "close", close_figures),
            (pyplot, "switch_backend", lambda *a, **k: None),
            (matplotlib, "use", lambda *a, **k: None),
        ):
            setattr(owner, name, replacement)

    def current(self, rank: int) -> None:
        """Draw the current figure, if there is one and nothing of a higher rank was drawn."""
        if self._pyplot.get_fignums():
            self._saving(self._pyplot.gcf(), rank=rank)

    def _saving(self, figure: Any, rank: int = 3, **options: Any) -> None:
        if rank < self._rank:
            return
        for name in ("format", "backend", "pil_kwargs", "metadata", "papertype", "quality", "optimize"):
            options.pop(name, None)
        self._save(figure, io.BytesIO(), format="png", **options)
        self._rank = rank

    def _keep(self, rgba: Any) -> None:
        import numpy

        pixels = numpy.asarray(rgba)
        height, width = pixels.shape[:2]
        alpha = pixels[:, :, 3:]
        colours = pixels[:, :, :3]
        if alpha.min() < 255:  # on white, as every viewer shows it
            colours = ((colours.astype("u2") * alpha + 255 * (255 - alpha.astype("u2")) + 127) // 255).astype("u1")
        self.picture = width, height, colours.tobytes()

    @contextlib.contextmanager
    def _untouched(self, canvas: Any, write_png: Any) -> Any:
        ours, canvas.print_png = canvas.print_png, write_png
        try:
            yield
        finally:
            canvas.print_png = ours


def run(source: str, max_pixels: int) -> tuple[str, int, int, bytes]:
    """Kind ("" for a picture), width, height and body of one program; whatever it raises is caught."""
    reserve = mmap.mmap(-1, 4 * 2**20)  # address space given back when memory ran out, for the few words about it
    capture = Capture(max_pixels)
    try:
        code = compile(source, PROGRAM, "exec", dont_inherit=True)
    except MemoryError:
        return "memory", 0, 0, b"the program is too deeply nested to compile"
    except (SyntaxError, ValueError, RecursionError) as error:
        return "syntax", 0, 0, describe(error, source)
    try:
        with contextlib.suppress(SystemExit):
            exec(code, {"__name__": "__main__", "__builtins__": __builtins__})
        if capture.picture is None:
            capture.current(rank=1)
    except TooLarge as error:
        return "too_large", 0, 0, str(error).encode()
    except MemoryError as error:
        error.__traceback__ = None
        reserve.close()
        return "memory", 0, 0, b"MemoryError: the program ran out of memory"
    except BaseException as error:
        return "forbidden" if refused(error) else "exception", 0, 0, describe(error, source)
    if capture.picture is None:
        return "no_figure", 0, 0, b"the program ends without a figure: none was drawn with matplotlib.pyplot or saved"
    return "", *capture.picture


def refused(error: BaseException | None) -> bool:
    """Whether the jail's refusal is among the causes of an error."""
    for _ in range(8):
        if error is None:
            return False
        if any(kind.__name__ in REFUSED for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


def describe(error: BaseException, source: str) -> bytes:
    """Last line of the traceback, the program's line number and that line; no path that the program does not know."""
    try:
        what = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    except Exception:  # the error may be of the program's own making
        what = type(error).__name__
    # longer than a word of this length, a message helps nobody and costs the reader's context
    what = re.sub(r"/[^\s'\":,;()]+", lambda m: m[0] if m[0] in source else m[0].rsplit("/", 1)[-1], what)[:300]
    number = error.lineno if isinstance(error, SyntaxError) and error.filename == PROGRAM else None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == PROGRAM:
            number = line
    lines = source.splitlines()
    if number is not None and 1 <= number <= len(lines):
        what += f" (line {number}: {lines[number - 1].strip()[:120]})"
    if refused(error):
        what += "; a program may not use the network, other files or other processes"
    return what.encode("utf-8", "replace")[:MAX_MESSAGE]


def child(source: str, pipe: int, settings: dict[str, Any], jail: Jail, work: Work) -> None:
    """Do `work` with one program inside the jail and write its reply to `pipe`; never returns."""
    try:
        fork_memory.copy(settings["hot"])
        os.setsid()
        os.dup2(pipe, 0)  # over the socket to the worker
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.stdin = io.StringIO()
        random.seed(0)  # Python seeds it anew after every fork
        jail.enter(cpu_s=settings["cpu_s"], memory_bytes=settings["memory_bytes"])
        os.closerange(3, 4096)
        kind, width, height, body = work(source, settings["max_pixels"])
        for part in (REPLY.pack(KINDS.index(kind), width, height, len(body)), body):
            data = memoryview(part)
            while data:
                data = data[os.write(0, data) :]
    finally:
        os._exit(0)


def attend(source: str, settings: dict[str, Any], jail: Jail, work: Work = run, depth: int = 3) -> bytes | memoryview:
    """The child's reply, good until the next one, or how it ended; a second child's where the first was killed."""
    started = time.monotonic()
    answer, killed = once(source, settings, jail, work, depth, settings["wall_s"])
    if killed:  # as by a machine short of memory; the jail lets no program do it
        left = settings["wall_s"] - (time.monotonic() - started)
        answer, _ = once(source, settings, jail, work, depth, left)
    return answer


def once(
    source: str, settings: dict[str, Any], jail: Jail, work: Work, depth: int, wall_s: float
) -> tuple[bytes | memoryview, bool]:
    """Fork, wait by a deadline, kill and reap: the answer, and whether SIGKILL came before any limit was reached."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2**20)
    pid = os.fork()
    if pid == 0:
        child(source, writer, settings, jail, work)
    os.close(writer)
    handle = os.pidfd_open(pid)
    data, late = read_reply(reader, pid, settings["inbox"], wall_s, settings["max_pixels"], depth)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    os.close(handle)
    os.close(reader)
    if data is not None:
        return data, False
    killed = os.WTERMSIG(status) == signal.SIGKILL
    # the kernel's second word to a program that ignores the first is SIGKILL
    slow = os.WTERMSIG(status) == signal.SIGXCPU or (killed and used.ru_utime + used.ru_stime >= settings["cpu_s"])
    if late or slow:
        limit = f"{settings['wall_s']:g} s" if late else f"{settings['cpu_s']:g} s of processor time"
        return reply("timeout", f"the program took longer than {limit}"), False
    return reply("crashed", "the program ended its own process before it had drawn"), killed


def waited_for_processor(pid: int) -> float:
    """Seconds that a process was ready to run and did not; 0 where this kernel does not count them."""
    try:
        with open(f"/proc/{pid}/schedstat") as counts:
            return int(counts.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def reply(kind: str, message: str) -> bytes:
    return REPLY.pack(KINDS.index(kind), 0, 0, len(message.encode())) + message.encode()


def read_reply(
    reader: int, pid: int, inbox: memoryview, wall_s: float, max_pixels: int, depth: int
) -> tuple[memoryview | None, bool]:
    """A well-formed reply (`depth` bytes a pixel) in `inbox` or None, and whether the deadline passed first. What the
    child waited for a processor is added to the deadline: on a crowded machine it is no slow program."""
    count, wanted = 0, REPLY.size
    started, allowed = time.monotonic(), wall_s
    while count < wanted:
        left = started + allowed - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            allowed = wall_s + waited_for_processor(pid)
            if started + allowed <= time.monotonic():
                return None, True
            continue
        got = os.readv(reader, [inbox[count:]])
        if not got:
            return None, False
        count += got
        if count >= REPLY.size:
            kind, width, height, size = REPLY.unpack_from(inbox)
            picture = kind == 0 and 0 < width * height <= max_pixels and size == depth * width * height
            if not (picture or (0 < kind < len(KINDS) and (width, height) == (0, 0) and size <= MAX_MESSAGE)):
                return None, False
            wanted = REPLY.size + size
    return (inbox[:count] if count == wanted else None), False


def tidy(folder: str) -> bool:
    """Empty the programs' folder; False where one left more than is worth removing."""
    left = 0
    for root, folders, files in os.walk(folder, topdown=False):
        left += len(folders) + len(files)
        if left > MAX_ENTRIES:
            return False
        for name in files:
            os.unlink(os.path.join(root, name))
        for name in folders:
            path = os.path.join(root, name)
            os.unlink(path) if os.path.islink(path) else os.rmdir(path)
    return True


def read_exactly(channel: socket.socket, count: int) -> bytes:
    """`count` bytes, or EOFError."""
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def serve(channel: socket.socket, settings: dict[str, Any], attend: Attend = attend) -> None:
    """Answer requests one after the other until the other side goes away or the folder is beyond tidying."""
    folder = settings["folder"]
    os.chdir(folder)
    fork_memory.reserve(ARENAS[settings["heavy"]])
    jail = Jail(folder, settings["layers"])
    warm(HEAVY + LIGHT if settings["heavy"] else LIGHT)
    fork_memory.collapse()
    typical = WARM_UP_HEAVY if settings["heavy"] else WARM_UP
    settings["hot"] = fork_memory.written(lambda: exec(typical, {}), WORTH_COPYING)
    with open("/proc/self/statm") as statm:
        own = int(statm.read().split()[0]) * resource.getpagesize()
    settings["memory_bytes"] = own + settings["memory_mb"] * 2**20
    settings["inbox"] = fork_memory.unshared(REPLY.size + 3 * settings["max_pixels"])
    first = attend("from matplotlib import pyplot\npyplot.plot([1, 2])", settings, jail)
    if first[0] != 0:
        raise RuntimeError(f"a first program does not render in the jail: {bytes(first[REPLY.size :]).decode()}")
    channel.sendall(b"R")
    while True:
        try:
            (size,) = struct.unpack("!I", read_exactly(channel, 4))
            source = read_exactly(channel, size).decode("utf-8", "replace")
        except EOFError:
            return
        channel.sendall(attend(source, settings, jail))
        if not tidy(folder):
            return


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    sys.argv, sys.orig_argv = [PROGRAM], []  # programs have no business with our settings
    serve(socket.socket(fileno=0), chosen)
