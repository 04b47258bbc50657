"""What `--resume --verify` finds in a checkpoint."""

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from actors.replay.ledger import Entry
from configs.load import ConfigError
from configs.schema import Config
from training.jobs.train import check_archive
from training.run.verify import verify
from training.train import main

CONFIG = Config()
CONFIG.queue.groups_per_step = 1


def entries() -> list[Entry]:
    trained = Entry(0, 0, "w", "consumed", 0, oldest=0, newest=0, step=0, tokens=9, members=("done",))
    return [
        trained,
        replace(trained, group=1, prompt=1, state="ready", step=-1, newest=1),
        Entry(2, 2, "w", "running", 1),
    ]


def write(folder: Path, entries: list[Entry], held: set[int]) -> Path:
    """A checkpoint after one step."""
    folder.mkdir(parents=True)
    rows = [asdict(e) for e in entries]
    ledger = {"entries": rows[1:], "archive": len(json.dumps(rows[0])) + 1, "issued": 3}
    (folder / "queue.bin").write_bytes(pickle.dumps(json.dumps(ledger)) + pickle.dumps(dict.fromkeys(held)))
    (folder.parents[1] / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "state.json").write_text(json.dumps({"step": 1, "base": "x"}))
    (folder / "learner_0_of_1.pt").touch()
    return folder


def test_a_sound_checkpoint_is_described(tmp_path: Path) -> None:
    lines, problems = verify(write(tmp_path / "checkpoints" / "step_000001", entries(), {1}), CONFIG)
    assert not problems
    assert lines[0] == "step_000001: 1 steps, 1 groups trained, 3 dispatched"
    assert lines[1] == "1 groups are ready and go on; 1 were being played and are issued again"


@pytest.mark.parametrize(
    ("change", "held", "expected"),
    [
        (lambda b: b, {1, 2}, r"not stored, or the reverse: \[2\]"),
        (lambda b: b, set(), r"not stored, or the reverse: \[1\]"),
        (lambda b: [replace(b[0], step=3), *b[1:]], {1}, "step 0 consumed 0 groups, it must have 1"),
        (lambda b: [*b[:1], replace(b[1], newest=2), *b[2:]], {1}, r"groups \[1\] have tokens of weights later"),
        (lambda b: [*b, replace(b[0], state="running", step=-1)], {1}, "group 0 appears 2 times"),
        (lambda b: b[:2], {1}, "the ledger has 2 groups, 3 were dispatched"),
    ],
)
def test_a_contradiction_is_named_and_nothing_is_started(
    change: Callable[[list[Entry]], list[Entry]],
    held: set[int],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "checkpoints" / "step_000001", change(entries()), held)
    (tmp_path / "config.yaml").write_text("queue: {groups_per_step: 1}\n")
    assert main(["--resume", str(tmp_path), "--verify"]) == 2
    import re

    assert re.search(expected, capsys.readouterr().err)


def test_a_run_whose_ledger_lost_groups_is_not_taken_up(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoints" / "step_000001", entries(), {1})
    check_archive(tmp_path, checkpoint / "queue.bin")
    (tmp_path / "ledger.jsonl").write_bytes((tmp_path / "ledger.jsonl").read_bytes()[:20])
    with pytest.raises(ConfigError, match=r"ledger.jsonl has 20 bytes, the checkpoint relies on \d+: a part"):
        check_archive(tmp_path, checkpoint / "queue.bin")
    assert "a part of the ledger is gone" in verify(checkpoint, CONFIG)[1][0]
