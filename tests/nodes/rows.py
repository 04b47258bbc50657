"""What becomes of a run on real nodes: a row a scenario, with seconds until it goes on and what its ledger says.

    python -m tests.nodes.rows [ROW ...]      (all: about half an hour of two cores)

Prints Markdown. Every row asserts what it claims; one that does not hold is printed as such and the exit status is 1.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos import KINDS, ROOT, SMALL, Chaos, check
from tests.interpreter import ray_command
from tests.nodes.rig import Rig, wait_until

CPUS = 3  # of a node; a run needs 5.5
STEPS = 8
Found = tuple[str, float, str]  # what happened, seconds, ledger


class Scene:
    """A cluster with as many nodes as a row asks for, and its runs."""

    def __init__(self, root: Path) -> None:
        self.marker = f"rows-{os.getpid()}"
        self.rig = Rig(root / "rig", self.marker)
        self.runs: list[Chaos] = []

    def nodes(self, wanted: str, cpus: int = CPUS) -> None:
        """Exactly these, by their letters."""
        for name in set(self.rig.nodes) - {"head"} - set(wanted):
            self.rig.kill(name)
        for name in wanted:
            if name not in self.rig.nodes:
                self.rig.add(name, 2 + "abcdef".index(name), cpus, "--labels=pool=work")

    def begin(self, name: str, *settings: str, steps: int = STEPS) -> Chaos:
        """A run that has made two steps."""
        environment = self.rig.environment | {"RAY_ADDRESS": self.rig.address}
        options = [*SMALL, "cluster.room_s=300", *settings]
        (self.rig.shared / name).mkdir()
        run = Chaos(self.rig.shared / name, options, steps, self.marker, environment=environment)
        self.runs.append(run)
        run.start()
        run.await_steps(2)
        return run

    def driver(self, *arguments: str, limit: float = 300) -> tuple[int, str]:
        """Exit status and last line of `training.train`."""
        done = subprocess.run(
            [sys.executable, "-m", "training.train", *arguments], cwd=ROOT, capture_output=True, text=True,
            timeout=limit, env=self.rig.environment | {"RAY_ADDRESS": self.rig.address},
        )  # fmt: skip
        printed = (done.stdout + done.stderr).strip().splitlines()
        return done.returncode, next((line for line in reversed(printed) if "error:" in line), printed[-1])

    def node_of(self, run: Chaos, kind: str) -> str:
        """The node on which a process of this kind lives."""
        mine = set(run.pids(kind))
        return next(name for name in self.rig.nodes if mine & set(self.rig.processes(name)))

    def left(self, run: Chaos) -> list[int]:
        return [pid for kind in KINDS for pid in run.pids(kind)]

    def close(self) -> None:
        for run in self.runs:
            run.close()
        self.rig.close()


def ledger(run: Chaos) -> str:
    found = check(run.run, run.steps, 3)
    return f"{found['dispatched']} dispatched, {found['consumed']} consumed, balanced"


def line_with(run: Chaos, words: str) -> str:
    """The first line with these words, without its time."""
    lines = [line for line in run.log.read_text().splitlines() if words in line]
    assert lines, f"nothing says {words!r}:\n{run.log.read_text()[-2000:]}"
    return lines[0].partition("] ")[2] or lines[0]


def elsewhere(scene: Scene) -> Found:
    """1a: README's tiny command, every part on other nodes than the driver."""
    scene.nodes("ab")
    started = time.monotonic()
    run = scene.begin("elsewhere", steps=3)
    run.finish()
    return f"ends well; {line_with(run, '] node ')}; ...", time.monotonic() - started, ledger(run)


def lost(kind: str, spare: bool) -> Callable[[Scene], Found]:
    """Kill the node that holds a process of a kind, with room elsewhere (`spare`) or not until it comes back."""

    def row(scene: Scene) -> Found:
        scene.nodes("abc" if spare else "ab")
        place = [f"cluster.place.{part}=pool=work" for part in ("queue", "rollouts")]  # they need no CPU: not the head
        run = scene.begin(f"lost-{kind.split()[0]}-{spare}", "run.restarts=3", *place)
        name = scene.node_of(run, kind)
        scene.rig.kill(name)
        began = time.monotonic()
        text = "goes on elsewhere"
        if not spare:
            time.sleep(30)
            scene.nodes("ab")
            began = time.monotonic()
            text = "waits for a node, goes on when it comes"
        run.await_steps(1)
        seconds = time.monotonic() - began
        run.finish()
        return f"{text}, in {run.lives} " + ("life" if run.lives == 1 else "lives"), seconds, ledger(run)

    row.__doc__ = f"the node of {kind} dies, {'room elsewhere' if spare else 'no room until it is back'}"
    return row


def survivor(scene: Scene) -> Found:
    """2c: two engines, the node of one dies, no room for another."""
    scene.nodes("")
    scene.rig.add("a", 2, 1, "--labels=pool=a")
    scene.rig.add("b", 3, 6, "--labels=pool=b")
    parts = ("learner", "rollouts", "renderers", "judge", "queue")
    place = [f"cluster.place.{part}=pool=b" for part in parts]
    run = scene.begin("survivor", "engine.replicas=2", "cluster.place.spread=true", *place)
    assert len(run.pids("engine core")) == 2
    scene.rig.kill("a")
    began = time.monotonic()
    run.await_steps(1)
    seconds = time.monotonic() - began
    run.finish()
    assert len(run.pids("engine core")) <= 1 and run.lives == 1
    scene.nodes("")
    return "goes on with the engine that lives", seconds, ledger(run)


def too_little(scene: Scene) -> Found:
    """3b: resumed where there is too little room."""
    scene.nodes("ab")
    run = scene.begin("too-little", steps=50)
    assert run.driver is not None
    run.driver.terminate()
    assert run.driver.wait(timeout=120) == 0
    scene.nodes("a")
    began = time.monotonic()
    status, line = scene.driver("--resume", str(run.run), "cluster.room_s=15")
    assert status == 1 and "room" in line, line
    return line, time.monotonic() - began, "as it was"


def stopped(name: int) -> Callable[[Scene], Found]:
    """A signal to the driver."""

    def row(scene: Scene) -> Found:
        scene.nodes("ab")
        run = scene.begin(f"stopped-{name}", steps=50)
        assert run.driver is not None
        run.driver.send_signal(name)
        began = time.monotonic()
        status = run.driver.wait(timeout=120)
        ended = time.monotonic() - began
        wait_until("the end of its processes", lambda: not scene.left(run), 60)
        if name == signal.SIGKILL:
            return f"nothing is left on any node after {time.monotonic() - began:.0f} s", ended, "resumable"
        assert status == 0
        return line_with(run, "--resume").replace(str(scene.rig.shared), "SHARED"), ended, "checkpoint at the end"

    row.__doc__ = f"7: {signal.Signals(name).name} to the driver"
    return row


def job_stop(scene: Scene) -> Found:
    """7b: `ray job stop`."""
    scene.nodes("ab")
    log, folder = scene.rig.shared / "job.txt", scene.rig.shared / "job"
    job = scene.rig.job("training.train", *SMALL, "run.steps=50", f"run.dir={folder}", log=log)
    steps = folder / "tiny_chart" / "metrics.jsonl"
    wait_until("a step", lambda: job.poll() is not None or steps.exists(), 300)
    found = re.search(r"raysubmit_\w+", log.read_text())
    assert found, log.read_text()[-1500:]
    began = time.monotonic()
    subprocess.run(
        [*ray_command(), "job", "stop", "--address", scene.rig.dashboard, found[0]],
        env=scene.rig.environment, capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    job.wait(timeout=120)
    run = Chaos(folder, [], 50, scene.marker)
    wait_until("the end of its processes", lambda: not scene.left(run), 60)
    seconds = time.monotonic() - began
    kept = sorted(path.name for path in (folder / "tiny_chart" / "checkpoints").glob("step_*"))
    line = next((line for line in log.read_text().splitlines() if "--resume" in line), "no resume line")
    return f"{line.replace(str(folder), 'DIR')}; newest checkpoint {kept[-1:]}", seconds, "resumable"


def refused(*settings: str, words: str) -> Callable[[Scene], Found]:
    def row(scene: Scene) -> Found:
        scene.nodes("ab")
        began = time.monotonic()
        status, line = scene.driver(*SMALL, *settings)
        assert status == 2 and words in line, line
        return line, time.monotonic() - began, "-"

    row.__doc__ = " ".join(settings)
    return row


def beside_leftovers(scene: Scene) -> Found:
    """7e: another run right after a driver was killed."""
    scene.nodes("ab")
    first = scene.begin("killed", steps=50)
    assert first.driver is not None
    first.driver.kill()
    began = time.monotonic()
    run = scene.begin("after", steps=3)
    seconds = time.monotonic() - began
    run.finish()
    return "starts and ends well", seconds, ledger(run)


ROWS: dict[str, Callable[[Scene], Found]] = {
    "1a": elsewhere, "2a": lost("engine core", True), "2b": lost("engine core", False), "2c": survivor,
    "2d": lost("rollout actor", True), "2e": lost("queue", True), "2f": lost("judge replica", True),
    "3a": lost("learner", True), "3a'": lost("learner", False), "3b": too_little,
    "5b": refused("run.dir=/tmp/here", words="is not shared"),
    "6": refused("--dry-run", "engine.cpus=50", words="room"),
    "7a": stopped(signal.SIGINT), "7b": job_stop, "7c": stopped(signal.SIGTERM), "7d": stopped(signal.SIGKILL),
    "7e": beside_leftovers,
}  # fmt: skip


def main(chosen: list[str]) -> int:
    root = Path(tempfile.mkdtemp(prefix="rrvf-", dir="/tmp"))  # short: Ray's sockets lie below it
    scene, wrong = Scene(root), 0
    print("| # | scenario | now | s | ledger |\n|---|---|---|---|---|", flush=True)
    try:
        for name in chosen or ROWS:
            about = (ROWS[name].__doc__ or "").strip().splitlines()[0]
            try:
                text, seconds, kept = ROWS[name](scene)
                print(f"| {name} | {about} | {text} | {seconds:.0f} | {kept} |", flush=True)
            except (AssertionError, OSError, subprocess.SubprocessError, json.JSONDecodeError) as error:
                wrong += 1
                print(f"| {name} | {about} | **NOT SO**: {str(error)[-1500:]} | | |", flush=True)
                for run in scene.runs:
                    run.close()
    finally:
        scene.close()
        shutil.rmtree(root, ignore_errors=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
