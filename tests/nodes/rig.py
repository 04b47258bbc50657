"""A cluster of several nodes on one machine: `ray start` processes on loopback addresses, each with disks of its own.

Guarantees: every node but the head lies in a mount namespace in which /tmp and /dev/shm are its own; one folder is
shared by all; a node can be killed as a machine dies, all its processes at once; nothing outlives `close`.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.interpreter import interpreter, ray_command

ROOT = Path(__file__).parents[2]
START_S, TRIES = 180.0, 4
STARTED = "Ray runtime started."
# /tmp/SHARED of the node is the shared folder; the rest of its /tmp is a folder of its own
NAMESPACE = """
set -e
mkdir -p "$DISK/$INSIDE"
mount --bind "$SHARED" "$DISK/$INSIDE"
mount --rbind "$DISK" /tmp
mount -t tmpfs tmpfs /dev/shm
exec "$@"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: str, check: Callable[[], object], limit: float) -> None:
    deadline = time.monotonic() + limit
    while not check():
        assert time.monotonic() < deadline, f"{what}: not within {limit:g} s"
        time.sleep(0.3)


def answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(url, timeout=2).status == 200)
    return False


class Rig:
    """A head, and nodes by name."""

    def __init__(self, folder: Path, marker: str, cpus: int = 0) -> None:
        """`folder` lies under /tmp; `marker` is in the environment of every process of it; `cpus` of the head."""
        self.shared, self._folder, self._marker = folder / "shared", folder, marker
        self.shared.mkdir(parents=True)
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._port, dashboard = free_port(), free_port()
        self.address, self.dashboard = f"127.0.0.1:{self._port}", f"http://127.0.0.1:{dashboard}"
        self.environment = os.environ | {
            "RRVF_TEST": marker,
            "RAY_AUTH_MODE": "disabled",
            "RAY_worker_niceness": "0",
            "PATH": f"{Path(interpreter()).parent}:{os.environ['PATH']}",
        }
        self.environment.pop("RAY_ADDRESS", None)
        self._start(
            "head", "127.0.0.1", cpus,
            [
                "--head", f"--port={self._port}", f"--dashboard-port={dashboard}", f"--temp-dir={folder / 'ray'}",
                f"--ray-client-server-port={free_port()}",
            ],
            [],
        )  # fmt: skip
        wait_until("the dashboard", lambda: answers(f"{self.dashboard}/api/version"), START_S)

    def add(self, name: str, number: int, cpus: int, *options: str) -> None:
        """A node on 127.0.0.NUMBER with disks of its own."""
        disk = self._folder / f"disk_{name}"
        disk.mkdir(exist_ok=True)
        shell = ["unshare", *([] if os.geteuid() == 0 else ["-Ur"]), "--mount", "sh", "-c", NAMESPACE, "sh"]
        space = {"DISK": str(disk), "SHARED": str(self.shared), "INSIDE": str(self.shared.relative_to("/tmp"))}
        self._start(name, f"127.0.0.{number}", cpus, [f"--address={self.address}", *options], shell, space)

    def _start(
        self, name: str, ip: str, cpus: int, options: list[str], shell: list[str], space: Mapping[str, str] = {}
    ) -> None:
        command = [*ray_command(), "start", "--block", f"--num-cpus={cpus}", f"--node-ip-address={ip}", *options]
        log = self._folder / f"{name}.txt"
        environment = self.environment | dict(space) | {"RRVF_NODE": name}
        for _ in range(TRIES):  # a raylet or its agent on a busy machine may miss Ray's own 30 seconds, and ends then
            agent = free_port()
            own = [f"--dashboard-agent-listen-port={agent}", "--object-store-memory=200000000"]
            with log.open("wb") as out:
                node = subprocess.Popen(
                    [*shell, *command, *own], cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip
            self.nodes[name] = node

            def ready(node: subprocess.Popen[bytes] = node, agent: int = agent) -> bool:
                if node.poll() is not None:
                    return True
                return STARTED in log.read_text() and answers(f"http://{ip}:{agent}/api/local_raylet_healthz")

            wait_until(f"node {name}", ready, START_S)
            if node.poll() is None:
                return
            self.kill(name)
        raise AssertionError(f"node {name} did not start:\n{log.read_text()[-2000:]}")

    def job(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """`ray job submit` of the checkout, as README says it."""
        with log.open("wb") as out:
            return subprocess.Popen(
                [*ray_command(), "job", "submit", *f"--address {self.dashboard} --working-dir . --".split(),
                 "python", "-m", *arguments],
                cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=self.environment,
            )  # fmt: skip

    def processes(self, node: str | None = None) -> list[int]:
        """Living processes of the cluster, or of one node."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and f"RRVF_TEST={self._marker}\0".encode() in (entry / "environ").read_bytes():
                    mine = node is None or f"RRVF_NODE={node}\0".encode() in (entry / "environ").read_bytes()
                    if mine and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                        found.append(int(entry.name))
        return found

    def kill(self, node: str) -> None:
        """SIGKILL to every process of a node at once, as when its power goes."""
        while pids := self.processes(node):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        self.nodes.pop(node).wait()

    def close(self) -> None:
        for name in list(self.nodes):
            self.kill(name)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
