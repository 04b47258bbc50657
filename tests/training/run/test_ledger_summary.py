"""The summary of a run's ledger."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from actors.replay.ledger import Entry
from training.ledger import main
from training.run.ledger_summary import account

BASE = Entry(0, 0, "w", "running", 0)
DONE = ("done", "done")


def entries() -> list[Entry]:
    """Five groups: two trained, one stale, one that failed, one under way."""
    return [
        replace(BASE, state="consumed", step=1, oldest=0, newest=1, tokens=100, reward=0.5, members=DONE),
        replace(BASE, group=1, prompt=1, state="consumed", step=1, oldest=1, tokens=300, reward=0.7, members=DONE),
        replace(BASE, group=2, prompt=2, state="stale", reason="oldest token 3 versions old", tokens=600, members=DONE),
        replace(BASE, group=3, prompt=3, state="failed", reason="1 of 2 survived", members=("done", "engine")),
        replace(BASE, group=4, prompt=2, reissue=1),
    ]


def test_every_group_is_counted_once_and_the_waste_is_what_was_not_trained() -> None:
    found = account(entries())
    assert found.dispatched == found.consumed + sum(found.dropped.values()) + sum(found.pending.values()) == 5
    assert found.dropped == {"stale": 1, "zero_variance": 0, "failed": 1, "lost": 0}
    assert found.reasons == {"stale: oldest token N versions old": 1, "failed: N of N survived": 1}
    assert found.wasted == pytest.approx(0.6) and not found.errors
    assert (found.prompts, found.most_trained) == (4, 1)


def test_the_bias_is_dropped_against_trained() -> None:
    found_entries = [*entries(), replace(entries()[2], group=5, tokens=800)]
    [tokens, reward] = [c for c in account(found_entries).bias if c.dropped_as == "stale"]
    assert (tokens.figure, tokens.trained, tokens.dropped) == ("tokens", 200, 700)
    assert tokens.gap_ci95 == pytest.approx((500 - 1.96 * 20000**0.5, 500 + 1.96 * 20000**0.5))
    assert reward.figure == "reward" and reward.trained == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda e: [*e, replace(e[0], state="running", step=-1)], "group 0 appears 2 times"),
        (lambda e: [*e[:1], replace(e[1], members=("done",)), *e[2:]], "group 1 resolved 1 members of 2"),
        (lambda e: [replace(e[0], oldest=2), *e[1:]], "group 0 was trained in step 1 with tokens of version 2"),
        (lambda e: [*e[:2], replace(e[2], step=1), *e[3:]], "group 2 is stale and was trained in step 1"),
    ],
)
def test_a_ledger_that_contradicts_itself_is_named(
    wrong: Callable[[list[Entry]], list[Entry]], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = wrong(entries())
    (tmp_path / "ledger.jsonl").write_text("".join(json.dumps(asdict(e)) + "\n" for e in rows))
    assert main([str(tmp_path)]) == 1
    assert f"error: {expected}" in capsys.readouterr().out


def test_the_command_prints_json_and_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "no ledger there yet" in capsys.readouterr().err
    (tmp_path / "ledger.jsonl").write_text("".join(json.dumps(asdict(e)) + "\n" for e in entries()))
    assert main([str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["wasted"] == pytest.approx(0.6)
    assert main([str(tmp_path)]) == 0
    assert "5 dispatched = 2 consumed" in capsys.readouterr().out
