"""What nothing hostile may touch: a secret file and a target picture outside, a TCP and a UDP port on the loopback.

Every attack gets a set of its own, so that a touch names who did it.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

SECRET = "canary-8d1f"
GREEN = (0, 255, 1)  # of the target picture and of the page outside: seen in a render, it has leaked


class Canaries:
    """One set. `places` say where everything is, for an attack."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._file, self._target = folder / "secret.html", folder / "target.png"
        self._file.write_text(f"<body style='background:rgb{GREEN}'>{SECRET}")
        Image.new("RGB", (400, 400), GREEN).save(self._target)
        self._before = self._state()
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        for port in (self._tcp, self._udp):
            port.setblocking(False)

    @property
    def places(self) -> dict[str, object]:
        ports = {"TCP": self._tcp.getsockname()[1], "UDP": self._udp.getsockname()[1]}
        return {"FILE": self._file, "TARGET": self._target, **ports}

    def reached(self) -> list[str]:
        """The canaries that were touched so far."""
        found = [] if self._state() == self._before else ["a file outside"]
        with contextlib.suppress(BlockingIOError):
            self._tcp.accept()[0].close()
            found.append("TCP")
        with contextlib.suppress(BlockingIOError):
            self._udp.recv(1)
            found.append("UDP")
        return found

    def close(self) -> None:
        self._tcp.close()
        self._udp.close()

    def _state(self) -> list[tuple[str, bytes, int, int]]:
        paths = sorted(self._folder.iterdir())
        return [(p.name, p.read_bytes(), p.stat().st_mode, p.stat().st_mtime_ns) for p in paths]


@contextlib.contextmanager
def secret_in_environment() -> Iterator[None]:
    """RRVF_CANARY holds the secret in this process, from which every server and browser is started."""
    os.environ["RRVF_CANARY"] = SECRET
    try:
        yield
    finally:
        del os.environ["RRVF_CANARY"]


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry)] = int(Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[1])
    found, newest = {pid}, {pid}
    while newest:
        newest = {child for child, parent in parents.items() if parent in newest}
        found |= newest
    return found


def knows_the_secret(pid: int) -> bool:
    """Whether any process of the family was started with the secret in its environment."""
    for member in family(pid):
        with contextlib.suppress(OSError):
            if SECRET.encode() in Path("/proc", str(member), "environ").read_bytes():
                return True
    return False


async def kill_whole(jail: int) -> None:
    """Kill a jail and wait until what runs in it is gone too: the kernel ends that a moment later."""
    inside = family(jail)
    os.kill(jail, 9)
    async with asyncio.timeout(60):
        while any(alive(pid) for pid in inside):
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
