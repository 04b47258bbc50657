"""Trajectories on disk, to be looked at: one JSON line a group, pictures beside it by content hash.

Guarantees: a picture is written once a run, however many turns show it; a record says everything that happened in a
turn (text, code, failure, words and scores of the judge, tokens, weight versions, seconds): a viewer needs no cluster.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.trajectory import Group, Trajectory, Turn


def write(run: Path, step: int, groups: Sequence[Group], advantages: Sequence[Sequence[float]] | None = None) -> None:
    """Append `groups` of training step `step` to RUN/trajectories.jsonl; `advantages` one per member where known."""
    with (run / "trajectories.jsonl").open("a") as out:
        for number, group in enumerate(groups):
            known = advantages[number] if advantages is not None else [None] * len(group.trajectories)
            members = [_member(run, t, a) for t, a in zip(group.trajectories, known, strict=True)]
            target = _picture(run, group.trajectories[0].images[0]) if group.trajectories else None
            record = {"step": step, "group": group.group, "prompt": group.prompt, "target": target, "members": members}
            out.write(json.dumps(record) + "\n")


def _member(run: Path, trajectory: Trajectory, advantage: float | None) -> dict[str, Any]:
    versions = [v for v in trajectory.versions if v >= 0]
    return {
        "reward": asdict(trajectory.reward),
        "advantage": advantage,
        "ending": trajectory.ending,
        "tokens": len(trajectory.token_ids),
        "versions": [min(versions), max(versions)] if versions else [],
        "turns": [_turn(run, turn) for turn in trajectory.turns],
    }


def _turn(run: Path, turn: Turn) -> dict[str, Any]:
    render, verdict = turn.render, turn.verdict
    return {
        "kind": turn.kind,
        "text": turn.text,
        "code": turn.code,
        "failure": f"{render.kind}: {render.message}" if render is not None and not render.ok else None,
        "picture": _picture(run, render.png) if render is not None and render.png is not None else None,
        "score": verdict.score if verdict is not None else None,
        "sub_scores": dict(verdict.sub_scores) if verdict is not None else {},
        "feedback": verdict.feedback if verdict is not None else None,
        "sampled": turn.sampled,
        "seconds": list(turn.seconds),
    }


def _picture(run: Path, png: bytes) -> str:
    name = f"pictures/{hashlib.sha256(png).hexdigest()[:20]}.png"
    path = run / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png)
    return name
