"""Kill -9 at random moments over every kind of process of a run, the driver included, and see that the ledger holds.

    python -m tests.chaos [--kills 20] [--steps 60] [--seed 0] [--folder DIR]        (make chaos)
    python -m tests.chaos --outage 60 [--steps 12]        the judge stands still for a minute instead
    python -m tests.chaos --nodes 20 --sigterms 10        whole nodes of a cluster die and come back, and the driver is
                                                          stopped, at random

A run whose driver ends, because it was the one to be killed or because its learner was, is resumed. At the end no step
may lack a group, no prompt may have been trained twice in its epoch or be lost, and the ledger must balance.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.replay.ledger import Entry
from training.run.ledger_summary import account, read

ROOT = Path(__file__).parents[1]
PROMPTS = 400
SMALL = [
    "configs/tiny_chart.yaml",
    f"data.count={PROMPTS}",
    "rollout.group_size=4",
    "rollout.concurrency=6",
    "queue.groups_per_step=3",
    "queue.drop_zero_variance=false",
    "evaluate.before_after=false",
    "run.checkpoint_every=2",
]
KINDS = {  # what a process of each kind shows in its title or command line
    "rollout actor": "ray::Rollouts",
    "policy actor": "ray::PolicyEngine",
    "engine core": "VLLM::EngineCore",
    "queue": "ray::QueueState",
    "render replica": ":RenderWorker",
    "judge replica": ":VisualJudge",
    "chart server": "serving.jailed.server",
    "learner": "ray::RayTrainWorker",
    "driver": "training.train",
}
STALL_S = 420.0  # without a step
FRUITLESS = 5  # lives in a row without a step, beyond which a run cannot go on


@dataclass
class Chaos:
    """One run, killed again and again."""

    folder: Path
    options: list[str]  # config file and settings
    steps: int
    marker: str  # in the environment of every process that belongs to it
    lives: int = 0
    environment: dict[str, str] = field(default_factory=dict)  # of the driver, besides ours
    killed: Counter[str] = field(default_factory=Counter)
    driver: subprocess.Popen[bytes] | None = None

    @property
    def run(self) -> Path:
        return self.folder / "tiny_chart"

    @property
    def log(self) -> Path:
        """What the driver of this life has printed."""
        return self.folder / f"life_{self.lives}.txt"

    def start(self) -> None:
        """The first life, or the next one by --resume."""
        self.lives += 1
        begun = (self.run / "config.yaml").exists()
        new = [*self.options, f"run.dir={self.folder}", f"run.steps={self.steps}"]
        with self.log.open("wb") as out:
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "training.train", *(["--resume", str(self.run)] if begun else new)],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment | {"RRVF_TEST": self.marker},
                start_new_session=True,
            )

    def pids(self, kind: str) -> list[int]:
        """Living processes of a kind that belong to this run."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and KINDS[kind] in _command(entry) and self._ours(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def _ours(self, pid: int) -> bool:
        """Whether a process or one it descends from carries the marker (a jail has an environment of its own)."""
        while pid > 1:
            if f"RRVF_TEST={self.marker}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                return True
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return False

    def done(self) -> int:
        """Steps on record."""
        path = self.run / "metrics.jsonl"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def kill(self, kind: str, rng: random.Random, limit: float = 120) -> None:
        """Kill one process of a kind, as soon as there is one."""
        deadline = time.monotonic() + limit
        while True:
            try:
                os.kill(rng.choice(sorted(self.pids(kind))), signal.SIGKILL)
                break
            except (ProcessLookupError, IndexError):
                assert time.monotonic() < deadline, f"there is no {kind} to kill"
                time.sleep(0.5)
        self.killed[kind] += 1
        print(f"step {self.done()}: killed {kind}", flush=True)

    def await_steps(self, more: int, limit: float = STALL_S) -> None:
        """Until `more` further steps are on record, or the run has ended well; resumes it when its driver is gone."""
        goal, seen, since = min(self.steps, self.done() + more), self.done(), time.monotonic()
        fruitless = 0
        while self.done() < goal:
            assert self.driver is not None
            if (status := self.driver.poll()) is not None and self.done() < goal:
                print(f"step {self.done()}: the driver has ended ({status}); resuming", flush=True)
                fruitless += 1
                assert fruitless <= FRUITLESS, f"{fruitless} lives without a step:\n{self.log.read_text()[-2000:]}"
                self.start()
                since = time.monotonic()
            if (now := self.done()) != seen:  # a resume takes steps back
                seen, since, fruitless = now, time.monotonic(), 0
            if time.monotonic() - since > limit:
                last = self.log.read_text()[-2000:]
                raise AssertionError(
                    f"no step within {limit:g} s after {dict(self.killed)}; the driver printed:\n{last}"
                )
            time.sleep(0.2)

    def finish(self) -> None:
        """Let the run come to its end."""
        self.await_steps(self.steps)
        assert self.driver is not None and self.driver.wait(timeout=300) == 0, self.log.read_text()[-2000:]

    def close(self) -> None:
        if self.driver is not None and self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait()


def _command(process: Path) -> str:
    return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def again_in_an_epoch(entries: Sequence[Entry]) -> list[int]:
    """Prompts that were given again after they had been trained, given up, or were still under way, before every prompt
    had been given as often; one that was dropped for the first time is given again in its own epoch."""
    given, last, found = [0] * PROMPTS, dict[int, Entry](), []
    for entry in sorted(entries, key=lambda e: e.group):
        before = last.get(entry.prompt)
        if before is None or not comes_again(before):
            if given[entry.prompt] > min(given):
                found.append(entry.prompt)
            given[entry.prompt] += 1
        last[entry.prompt] = entry
    return found


def comes_again(entry: Entry) -> bool:
    """Whether a group's prompt is issued again in the same epoch: always where it was lost with a process, once where
    it was dropped."""
    return entry.state == "lost" or (entry.state in ("failed", "stale") and entry.reissue == 0)


def check(run: Path, steps: int, groups: int) -> dict[str, object]:
    """The ledger of a finished run. Raises AssertionError where it does not hold."""
    entries = read(run)
    found = account(entries)
    assert not found.errors, found.errors
    assert found.dispatched == found.consumed + sum(found.dropped.values()) + sum(found.pending.values())
    trained = [e for e in entries if e.state == "consumed"]
    assert Counter(e.step for e in trained) == dict.fromkeys(range(steps), groups), "a step lacks a group"
    assert not (twice := again_in_an_epoch(entries)), f"prompts trained twice in one epoch: {twice}"
    later = Counter(e.prompt for e in entries)
    waiting = [e.prompt for e in entries if comes_again(e) and later[e.prompt] < 2]
    # Those dropped at the very end had no time to be issued again: no more than were under way.
    assert len(waiting) <= sum(found.pending.values()) + groups, f"prompts lost for good: {waiting}"
    ages = [json.loads(line)["staleness_max"] for line in (run / "metrics.jsonl").open()]
    assert max(ages) <= 2, "a group was too old"
    return {"dispatched": found.dispatched, "consumed": found.consumed, **found.dropped, "wasted": found.wasted}


def rampage(folder: Path, kills: int, steps: int, seed: int) -> dict[str, object]:
    """Kill `kills` processes of a run of `steps` steps, each kind in turn before any again; the account at the end."""
    rng = random.Random(seed)
    order: list[str] = []
    while len(order) < kills:
        order += rng.sample(list(KINDS), len(KINDS))
    chaos = Chaos(folder, SMALL, steps, f"chaos-{os.getpid()}")
    started = time.monotonic()
    chaos.start()
    try:
        for kind in order[:kills]:
            chaos.await_steps(1)
            time.sleep(rng.uniform(0, 4))
            chaos.kill(kind, rng)
        chaos.finish()
    finally:
        chaos.close()
    seconds = round(time.monotonic() - started)
    return {"kills": dict(chaos.killed), "lives": chaos.lives, "seconds": seconds, **check(chaos.run, steps, 3)}


def nodes(folder: Path, kills: int, sigterms: int, steps: int, seed: int) -> dict[str, object]:
    """Kill whole nodes of a cluster and stop the driver by SIGTERM, in any order; a node comes back after up to half a
    minute. The account at the end, and nothing of the run is left on any node."""
    from tests.nodes.rig import Rig, wait_until

    rng, marker = random.Random(seed), f"chaos-{os.getpid()}"
    order = rng.sample(["node"] * kills + ["driver"] * sigterms, kills + sigterms)
    root = Path(tempfile.mkdtemp(prefix="rrvf-", dir="/tmp"))  # short: Ray's sockets lie below it
    rig = Rig(root / "rig", marker)
    members = {name: number for number, name in enumerate("abc", 2)}
    waits: list[float] = []
    chaos = Chaos(
        rig.shared, [*SMALL, "run.restarts=99", "cluster.room_s=300"], steps, marker,
        environment=rig.environment | {"RAY_ADDRESS": rig.address},
    )  # fmt: skip
    try:
        for name, number in members.items():
            rig.add(name, number, 3)
        started = time.monotonic()
        chaos.start()
        for what in order:
            chaos.await_steps(1)
            assert chaos.done() < steps, "the run is over before everything has happened: give it more --steps"
            time.sleep(rng.uniform(0, 4))
            began = time.monotonic()
            if what == "node":
                name = rng.choice(sorted(members))
                rig.kill(name)
                print(f"step {chaos.done()}: killed node {name}", flush=True)
                time.sleep(rng.uniform(0, 30))
                rig.add(name, members[name], 3)
                chaos.killed[what] += 1
            elif chaos.driver is not None and chaos.driver.poll() is None:
                print(f"step {chaos.done()}: SIGTERM to the driver", flush=True)
                chaos.driver.terminate()
                assert chaos.driver.wait(timeout=STALL_S) == 0, chaos.log.read_text()[-2000:]
                chaos.killed[what] += 1
            chaos.await_steps(1)
            waits.append(time.monotonic() - began)
        chaos.finish()
        seconds = round(time.monotonic() - started)

        def left() -> list[int]:
            return [pid for kind in KINDS for pid in chaos.pids(kind)]

        wait_until("the end of the run's processes", lambda: not left(), 60)
        found = check(chaos.run, steps, 3)
    finally:
        chaos.close()
        rig.close()
        shutil.copytree(rig.shared, folder, dirs_exist_ok=True)
        shutil.rmtree(root, ignore_errors=True)
    return {
        "kills": dict(chaos.killed), "lives": chaos.lives, "seconds": seconds, **found,
        "seconds to the next step": {"median": round(sorted(waits)[len(waits) // 2]), "most": round(max(waits))},
    }  # fmt: skip


def outage(folder: Path, seconds: float, steps: int) -> dict[str, object]:
    """Hold every replica of the judge still for `seconds` in the middle of a run, new ones too; then the account."""
    chaos = Chaos(folder, SMALL, steps, f"chaos-{os.getpid()}")
    chaos.start()
    stopped: set[int] = set()
    try:
        chaos.await_steps(3)
        before, ends = chaos.done(), time.monotonic() + seconds
        while time.monotonic() < ends:
            for pid in set(chaos.pids("judge replica")) - stopped:
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
            time.sleep(0.2)
        during = chaos.done() - before
        for pid in stopped & set(chaos.pids("judge replica")):
            os.kill(pid, signal.SIGCONT)
        chaos.finish()
    finally:
        chaos.close()
    assert chaos.lives == 1, "the run ended"
    groups = [json.loads(line) for path in chaos.run.glob("trajectories/*.jsonl") for line in path.open()]
    turns = [turn for g in groups for member in g["members"] for turn in member.get("turns", [])]
    drawn = [turn for turn in turns if turn.get("picture")]
    assert drawn and all(turn["score"] is not None for turn in drawn), "a picture has a reward and no verdict"
    return {
        "outage_s": seconds,
        "judges_stopped": len(stopped),
        "steps_meanwhile": during,
        "void_members": sum(m != "done" for e in read(chaos.run) for m in e.members),
        **check(chaos.run, steps, 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--outage", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--nodes", type=int, default=0, metavar="KILLS")
    parser.add_argument("--sigterms", type=int, default=0, help="with --nodes")
    parser.add_argument("--steps", type=int, help="60; with --nodes 12 for each time that something ends, or more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the run is kept (a temporary folder if left out)")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="rrvf-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    args.steps = args.steps or max(60, 12 * (args.nodes + args.sigterms))
    if args.nodes or args.sigterms:
        print(json.dumps(nodes(folder, args.nodes, args.sigterms, args.steps, args.seed), indent=2))
    elif args.outage:
        print(json.dumps(outage(folder, args.outage, args.steps), indent=2))
    else:
        print(json.dumps(rampage(folder, args.kills, args.steps, args.seed), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
