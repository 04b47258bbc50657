"""How much of the reward's variance inside a group attributes explain: what GRPO learns from is that variance alone.

Of each group of a run's record, members whose programs ran are compared with each other: similarity of the render, and
which attributes are right (labels that the reward never saw). R^2 of similarity on the attributes, both less their
group's mean; alone and all together. What is left is what a policy is paid for without getting any attribute right.

    RRVF_RUN=runs/latest python -m tests.bench group_variance
    RRVF_RUN=... RRVF_BEFORE=DIR python -m tests.bench group_variance      the same renders, judged by a checkout of DIR
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from configs.load import ConfigError, recorded
from training.data.image_sets import training_and_evaluation
from training.data.labels import labels_of
from training.jobs.train import CACHE

GROUPS = 400  # the first of the record; the policy is nearest to its start there
JUDGE = """
import json, pathlib, sys
try:
    from serving.judge.perceptual import compare
except ImportError:
    from serving.perceptual import compare
pairs = json.load(sys.stdin)
json.dump([compare(pathlib.Path(a).read_bytes(), pathlib.Path(b).read_bytes()).score for a, b in pairs], sys.stdout)
"""


@dataclass(frozen=True)
class Member:
    """One program that ran: its group, its judge's similarity, which attributes are right, and the two pictures."""

    group: int
    similarity: float
    right: tuple[float, ...]
    pictures: tuple[str, str]


def members(run: Path) -> tuple[tuple[str, ...], list[Member]]:
    """Attributes' names, and members of groups in which at least two programs ran in one turn."""
    config = recorded(run / "config.yaml")
    labels = labels_of(config.data.domain)
    images, _ = training_and_evaluation(config, CACHE)
    if labels is None or not images.facts:
        raise ConfigError(f"{run}: its pictures have no labels; take a run of data.images=drawn")
    names = tuple(name for name in labels.names if not name.startswith("all"))
    found = []
    for line in _lines(run):
        shown, group = labels.shown_by(images.facts[line["prompt"]]), []
        for member in line["members"]:
            turns = member.get("turns", [])
            if len(turns) == 1 and turns[0]["picture"] and turns[0]["score"] is not None:
                hits = labels.hits(shown, labels.attributes(turns[0]["code"]))
                both = (str(run / "pictures" / line["target"]), str(run / "pictures" / turns[0]["picture"]))
                group.append(Member(line["group"], turns[0]["score"], tuple(hits[n] for n in names), both))
        found += group if len(group) > 1 else []
    return names, found


def _lines(run: Path) -> Iterator[dict]:  # type: ignore[type-arg]
    rows = [json.loads(line) for path in run.glob("trajectories/*.jsonl") for line in path.open()]
    yield from sorted((row for row in rows if row.get("members")), key=lambda row: row["group"])[:GROUPS]


def centred(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(n, k) less the mean of each one's group."""
    _, place, count = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(count), rows.shape[1]))
    np.add.at(sums, place, rows)
    return rows - (sums / count[:, None])[place]


def explained(similarity: np.ndarray, right: np.ndarray) -> float:
    """R^2 of (n,) on (n, k), both centred."""
    total = float(similarity @ similarity)
    fit, *_ = np.linalg.lstsq(right, similarity, rcond=None)
    left = similarity - right @ fit
    return 1 - float(left @ left) / total if total else 0.0


def figures(names: tuple[str, ...], found: list[Member], similarity: list[float]) -> dict[str, float]:
    groups = np.array([m.group for m in found])
    right = centred(np.array([m.right for m in found]), groups)
    scores = centred(np.array(similarity)[:, None], groups)[:, 0]
    shares = {name: round(explained(scores, right[:, [n]]), 3) for n, name in enumerate(names)}
    spread = round(float(np.sqrt(np.mean(scores**2))), 4)
    return {"all attributes": round(explained(scores, right), 3), **shares, "spread of similarity": spread}


def main(out: Path) -> dict[str, object]:
    if not (given := os.environ.get("RRVF_RUN")):
        pytest.skip("it looks at a run that is over: RRVF_RUN=FOLDER")
    names, found = members(Path(given).resolve())
    result: dict[str, object] = {
        "members": len(found),
        "groups": len({m.group for m in found}),
        "as rewarded": figures(names, found, [m.similarity for m in found]),
    }
    if before := os.environ.get("RRVF_BEFORE"):
        done = subprocess.run(
            [sys.executable, "-c", JUDGE], input=json.dumps([m.pictures for m in found]), cwd=before, text=True,
            capture_output=True, check=True, env=os.environ | {"PYTHONPATH": before}, timeout=3600,
        )  # fmt: skip
        result["before"] = figures(names, found, json.loads(done.stdout))
    for name, row in result.items():
        print(f"{name}: {row}")
    return result
