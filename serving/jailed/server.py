"""The warm process that charts are forked from: imports Matplotlib once, then one jailed child a program.

Guarantees: a program runs in a fork of a clean, warmed and seeded interpreter, inside the jail, and is killed at its
deadline or when it floods its folder with files or the machine with threads; whatever it does to its own process, the
next one starts the same. The server never reads a program's text and no child can see a picture of another: the text
is read by the child that runs it, from an open file that is handed on, and replies lie in memory that forks do not
inherit. What leaves a child is checked (`protocol.fits`); anything else reads as "crashed". The time that it takes to
tidy up after a program is spent before that program's reply.

Run as `python -m serving.jailed.server SETTINGS_JSON` with a socket as its standard input. A request is one byte with a
file descriptor of the source; a reply is a header (REPLY), the picture and a message.
"""

import contextlib
import fcntl
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.jailed import folder, fork_memory
from serving.jailed.hints import PROGRAM
from serving.jailed.layers import Jail
from serving.jailed.program import Answer, run
from serving.jailed.protocol import KINDS, MAX_MESSAGE, OBSERVED, REPLY, failure, fits
from serving.jailed.warmup import HEAVY, LIGHT, WARM_UP, WARM_UP_HEAVY, warm

ARENAS = {False: 31, True: 69}  # MB of small objects after the imports of a light and a heavy server
WORTH_COPYING = 80  # pages that programs write on a huge page, above which a copy of all 512 at once is cheaper
LOOK_S = 0.05  # between two looks at what a program does to folder and threads
MAX_THREADS = 128
FIRST = b"from matplotlib import pyplot\npyplot.plot([1, 2])"
Work = Callable[[str, int], Answer]  # source, most pixels
Reply = bytes | memoryview


@dataclass(frozen=True)
class Limits:
    """What one program may take. `picture`: a reply is a picture of `max_pixels`, else a trace of three times that."""

    cpu_s: float
    wall_s: float
    memory_bytes: int  # address space
    max_pixels: int
    picture: bool = True

    @property
    def most(self) -> int:
        return self.max_pixels if self.picture else 3 * self.max_pixels


@dataclass(frozen=True)
class Server:
    """What every child is forked with. `inbox`: memory that children do not inherit; `hot`: huge pages they copy."""

    jail: Jail
    limits: Limits
    inbox: memoryview
    hot: list[tuple[int, int]]


def child(request: int, pipe: int, server: Server, work: Work) -> None:
    """Read the source, do `work` with it inside the jail and write the reply to `pipe`; never returns."""
    try:
        fork_memory.copy(server.hot)
        source = read_all(request).decode("utf-8", "replace")
        os.setsid()
        os.dup2(pipe, 0)  # over the socket to the worker
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.stdin = io.StringIO()
        sys.path.insert(0, "")  # a program may import what it has written; the server may not
        random.seed(0)  # Python seeds it anew after every fork
        server.jail.enter(cpu_s=server.limits.cpu_s, memory_bytes=server.limits.memory_bytes)
        os.closerange(3, 4096)
        kind, width, height, body, message = work(source, server.limits.max_pixels)
        words = message.encode("utf-8", "replace")[:MAX_MESSAGE]
        for part in (REPLY.pack(KINDS.index(kind), width, height, len(body), len(words)), body, words):
            data = memoryview(part)
            while data:
                data = data[os.write(0, data) :]
    finally:
        os._exit(0)


def read_all(file: int) -> bytes:
    """From its beginning, wherever another reader of the same file has got to."""
    parts: list[bytes] = []
    while part := os.pread(file, 2**20, sum(map(len, parts))):
        parts.append(part)
    return b"".join(parts)


def attend(request: int, server: Server, work: Work = run) -> Reply:
    """The child's reply, good until the next one, or how it ended; a second child's where the first was killed."""
    started = time.monotonic()
    answer, killed = once(request, server, work, server.limits.wall_s)
    if killed:  # as by a machine short of memory; the jail lets no program do it
        left = server.limits.wall_s - (time.monotonic() - started)
        answer, _ = once(request, server, work, left)
    return answer


def once(request: int, server: Server, work: Work, wall_s: float) -> tuple[Reply, bool]:
    """Fork, wait by a deadline, kill, reap and tidy: the answer, and whether SIGKILL came before any limit was met."""
    reader, writer = os.pipe()
    with contextlib.suppress(OSError):  # the machine's bound on pipes may be lower
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2**20)
    pid = os.fork()
    if pid == 0:
        child(request, writer, server, work)
    os.close(writer)
    handle = os.pidfd_open(pid)
    data, broken = read_reply(reader, pid, server, wall_s)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    os.close(handle)
    os.close(reader)
    folder.empty(server.jail.folder)
    if data is not None:
        return data, False
    if broken == "flood":
        return failure("forbidden", f"the program made more than {folder.MOST} files or {MAX_THREADS} threads"), False
    limits = server.limits
    killed = os.WTERMSIG(status) == signal.SIGKILL
    # the kernel's second word to a program that ignores the first is SIGKILL
    slow = os.WTERMSIG(status) == signal.SIGXCPU or (killed and used.ru_utime + used.ru_stime >= limits.cpu_s)
    if broken == "late" or slow:
        limit = f"{limits.wall_s:g} s" if broken else f"{limits.cpu_s:g} s of processor time"
        return failure("timeout", f"the program took longer than {limit}"), False
    return failure("crashed", "the program ended its own process before it had drawn"), killed


def waited_for_processor(pid: int) -> float:
    """Seconds that a process was ready to run and did not; 0 where this kernel does not count them."""
    try:
        with open(f"/proc/{pid}/schedstat") as counts:
            return int(counts.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def threads(pid: int) -> int:
    """Of a process that may be gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as about:
            return int(about.read().rpartition(b")")[2].split()[17])
    except (OSError, ValueError, IndexError):
        return 0


def read_reply(reader: int, pid: int, server: Server, wall_s: float) -> tuple[memoryview | None, str]:
    """The first reply, in the server's inbox, or None and why there is none: "late", "flood", or "" for one that does
    not fit. What follows it is not read, so that when it was written decides nothing. What the child waited for a
    processor is added to the deadline: a crowded machine makes no slow program."""
    count, wanted = 0, REPLY.size
    limits, inbox = server.limits, server.inbox
    own = "namespaces" in server.jail.layers  # the folder is a file system of its own, which counts
    floor = folder.entries(server.jail.folder) if own else 0
    started, allowed = time.monotonic(), wall_s
    looked = started  # by the clock: a reply that comes in drops would else never let us look
    while count < wanted:
        now = time.monotonic()
        left = started + allowed - now
        if left <= 0:
            allowed = wall_s + waited_for_processor(pid)
            if started + allowed <= time.monotonic():
                return None, "late"
            continue
        if now - looked >= LOOK_S:
            looked = now
            files = folder.entries(server.jail.folder) - floor if own else 0
            if files > folder.MOST or threads(pid) > MAX_THREADS:
                return None, "flood"
        if not select.select([reader], [], [], min(left, LOOK_S))[0]:
            continue
        got = os.readv(reader, [inbox[count:wanted]])
        if not got:
            return None, ""
        count += got
        if count >= REPLY.size:
            kind, width, height, size, words = REPLY.unpack_from(inbox)
            claimed = kind < len(KINDS) and KINDS[kind] not in OBSERVED
            if not claimed or not fits(kind, width, height, size, words, most=limits.most, picture=limits.picture):
                return None, ""
            wanted = REPLY.size + size + words
    return inbox[:count], ""


def prepare(settings: dict[str, Any], *, picture: bool) -> Server:
    """Warm this process up and measure what its children start from."""
    place = settings["folder"]
    os.chdir(place)
    fork_memory.reserve(ARENAS[settings["heavy"]])
    jail = Jail(place, settings["layers"])
    warm(HEAVY + LIGHT if settings["heavy"] else LIGHT)
    fork_memory.collapse()
    typical = WARM_UP_HEAVY if settings["heavy"] else WARM_UP
    hot = fork_memory.written(lambda: exec(typical, {}), WORTH_COPYING)
    with open("/proc/self/statm") as statm:
        own = int(statm.read().split()[0]) * resource.getpagesize()
    memory = own + settings["memory_mb"] * 2**20
    limits = Limits(settings["cpu_s"], settings["wall_s"], memory, settings["max_pixels"], picture)
    inbox = fork_memory.unshared(REPLY.size + 3 * limits.max_pixels + MAX_MESSAGE)
    return Server(jail, limits, inbox, hot)


def serve(channel: socket.socket, server: Server, attend: Callable[[int, Server], Reply] = attend) -> None:
    """Answer requests one after the other until the other side goes away."""
    with open(os.memfd_create("first"), "wb", buffering=0) as first:
        first.write(FIRST)
        found = bytes(attend(first.fileno(), server))
    if found[0] != 0:
        raise RuntimeError(f"a first program does not render in the jail: {found[REPLY.size :].decode()}")
    channel.sendall(b"R")
    while True:
        byte, files, _, _ = socket.recv_fds(channel, 1, 1)
        if not byte:
            if "namespaces" not in server.jail.layers:  # who started us may be gone without having tidied up
                shutil.rmtree(os.path.dirname(server.jail.folder), ignore_errors=True)
            return
        (request,) = files
        channel.sendall(attend(request, server))
        os.close(request)


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    sys.argv, sys.orig_argv = [PROGRAM], []  # programs have no business with our settings
    serve(socket.socket(fileno=0), prepare(chosen, picture=True))
