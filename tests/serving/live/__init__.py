"""The application of configs/serve_inference.yaml, really served: a process of its own on a free port."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
MARK = "RRVF_LIVE"


@dataclass(frozen=True)
class Live:
    url: str
    model: str
    marker: str  # RRVF_LIVE of all its processes

    def processes(self) -> dict[str, int]:
        """Pids of its replicas and proxy by name#pid."""
        found = {}
        for pid in pids(self.marker):
            title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            if title.startswith(("ray::ServeReplica", "ray::ProxyActor")):
                name = title.split()[0].removeprefix("ray::").split(".")[0]  # what follows is the call under way
                found[f"{name}#{pid}"] = pid
        return found


def pids(marker: str) -> list[int]:
    """Living processes that carry the marker in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"{MARK}={marker}\0".encode() in environment and state != "Z":
                found.append(int(entry.name))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
            return answer.status == 200
    except OSError:  # also an HTTP error
        return False


def end_with_the_tests() -> None:
    """In the child: SIGTERM when the tests are killed, so that no server outlives them."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@contextmanager
def served(folder: Path, args: dict[str, Any]) -> Iterator[Live]:
    """`serve run` of the shipped YAML with other `args` and a free port, on a cluster of its own."""
    shipped = yaml.safe_load((ROOT / "configs" / "serve_inference.yaml").read_text())
    shipped["http_options"]["port"] = port = free_port()
    shipped["applications"][0]["args"] |= args
    file, log, marker = folder / "serve.yaml", folder / "serve.log", f"{os.getpid()}-{port}"
    file.write_text(yaml.safe_dump(shipped))
    environment = os.environ | {
        MARK: marker,
        "RAY_ADDRESS": "local",  # never the leftover of another cluster on this machine
        "RAY_AUTH_MODE": "disabled",
        "RAY_worker_niceness": "0",  # at Ray's 15 the other worker's tests stop it
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",  # at Serve's 0.1 a server that only waits takes 5% of a core
        "OMP_NUM_THREADS": "1",
    }
    command = [str(Path(sys.executable).with_name("serve")), "run", str(file), "--app-dir", str(ROOT)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
            preexec_fn=end_with_the_tests,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 300
        while not healthy(f"http://127.0.0.1:{port}"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)
        yield Live(f"http://127.0.0.1:{port}", args["model"], marker)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
        deadline = time.monotonic() + 90
        while left := pids(marker):
            if time.monotonic() > deadline:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"processes {left} outlive their server")
            time.sleep(0.5)
