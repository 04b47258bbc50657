"""Trajectories on disk, to be looked at and reckoned with: one JSON line a group, pictures beside it by content hash.

Guarantees: every group that was played has its line, whatever became of it, with who waited how long for what; a
picture is written once a run. Texts and pictures stay within `run.trajectories_mb`: as that fills, those of every
second, fourth, ... group are kept; rewards and seconds, a few hundred bytes a turn, are kept of all. Writing happens
beside the rollouts, never in the learner's way, and a full disk ends the record, not the run.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from actors.files import write_whole
from actors.trajectory import Group, Trajectory, Turn
from configs.domains import DEFAULT
from training.data.labels import Labels, labels_of

READ_CHARS = 120
FOLDER, PICTURES, ADVANTAGES = "trajectories", "pictures", "advantages.jsonl"
log = logging.getLogger(__name__)


class Recorder:
    """One rollout actor's file, RUN/trajectories/NAME.jsonl; `limit_mb` is its share of the disk."""

    def __init__(self, run: Path, name: str, limit_mb: float, domain: str = DEFAULT) -> None:
        self._run = run
        self._labels = labels_of(domain)
        self._path = run / FOLDER / f"{name}.jsonl"
        self._limit = limit_mb * 2**20
        self._used = -1.0  # not known before the first line
        self._known: set[str] = set()
        self._broken = False

    def __call__(self, group: Group, image: bytes, members: Sequence[str], state: str | None, began: float) -> None:
        """Append a played group. `image`: its target (PNG); `members`: one outcome each; `state`: what the queue made
        of it; `began`: when it was admitted (seconds since the epoch). One call at a time; never raises OSError."""
        if self._broken:
            return
        try:
            if self._used < 0:
                self._begin()
            whole = group.group % self._stride() == 0
            survivors = iter(group.trajectories)
            record = {
                "group": group.group,
                "prompt": group.prompt,
                "state": state,
                "began": round(began, 3),
                "whole": whole,
                "target": self._picture(image) if whole else None,
                "members": [
                    self._member(next(survivors), whole) if outcome == "done" else {"outcome": outcome}
                    for outcome in members
                ],
            }
            self._append((json.dumps(record) + "\n").encode())
        except OSError as error:
            self._broken = True
            log.error("no more trajectories are recorded: %s", error)

    def _begin(self) -> None:
        """What earlier lives of this run have written counts."""
        self._path.parent.mkdir(exist_ok=True)
        (self._run / PICTURES).mkdir(exist_ok=True)
        held = {p.name: p.stat().st_size for p in (self._run / PICTURES).glob("*.png")}
        self._known = set(held)
        self._used = sum(held.values()) + (self._path.stat().st_size if self._path.exists() else 0)

    def _stride(self) -> int:
        """1 until half of the limit is used, 2 until three quarters are, 4 until seven eighths are, ..."""
        left, stride = 1 - self._used / max(1.0, self._limit), 1
        while left <= 0.5 and stride < 2**20:
            left, stride = 2 * left, 2 * stride
        return stride

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)  # one call: a reader sees all of a line or none
        finally:
            os.close(descriptor)
        self._used += len(line)

    def _member(self, played: Trajectory, whole: bool) -> dict[str, Any]:
        return {
            "outcome": "done",
            "reward": asdict(played.reward),
            "ending": played.ending,
            "tokens": len(played.token_ids),
            "turns": [self._turn(t, v, whole) for t, v in zip(played.turns, _versions(played), strict=False)],
        }

    def _turn(self, turn: Turn, versions: list[list[int]], whole: bool) -> dict[str, Any]:
        render, verdict = turn.render, turn.verdict
        found: dict[str, Any] = {
            "kind": turn.kind,
            "failure": render.kind if render is not None and not render.ok else None,
            "score": verdict.score if verdict is not None else None,
            "sampled": turn.sampled,
            "versions": versions,
            "began": round(turn.began, 3),
            "seconds": [round(s, 4) for s in turn.seconds],
            # how long renderer and judge themselves worked on it: the rest of `seconds` was waiting
            "worked": [round(render.seconds, 4) if render else 0.0, round(verdict.seconds, 4) if verdict else 0.0],
        }
        if whole:
            found |= {
                "text": turn.text,
                "code": turn.code,
                "read": _read(turn.code, self._labels),
                "message": render.message or None if render is not None else None,  # how it failed, or what it lacks
                "picture": self._picture(render.png) if render is not None and render.png is not None else None,
                "sub_scores": {k: round(v, 4) for k, v in verdict.sub_scores.items()} if verdict is not None else {},
                "feedback": verdict.feedback if verdict is not None else None,
            }
        return found

    def _picture(self, png: bytes) -> str:
        name = f"{hashlib.sha256(png).hexdigest()[:20]}.png"
        if name not in self._known:
            write_whole(self._run / PICTURES / name, png)
            self._known.add(name)
            self._used += len(png)
        return name


def _read(code: str | None, labels: Labels | None) -> str | None:
    """What the program says its picture shows, in a few words; None where it draws nothing that is known."""
    found = labels.attributes(code) if labels is not None and code is not None else None
    return found.read_out[:READ_CHARS] if found is not None else None


def _versions(played: Trajectory) -> Iterator[list[list[int]]]:
    """[[version, tokens], ...] of each turn's sampled tokens, in the order they were sampled."""
    sampled = iter([v for v, s in zip(played.versions, played.sampled, strict=True) if s])
    for turn in played.turns:
        mine = islice(sampled, turn.sampled)
        yield [[version, len(list(same))] for version, same in groupby(mine)]


def write_advantages(run: Path, step: int, advantages: dict[int, list[float]]) -> None:
    """Append what training step `step` (from 1) made of its groups: group -> one advantage a survivor."""
    rounded = {group: [round(a, 5) for a in found] for group, found in advantages.items()}
    with (run / ADVANTAGES).open("a") as out:
        out.write(json.dumps({"step": step, "groups": rounded}) + "\n")
