"""The feedback study, by hand: who is told what, and the reckoning."""

from pathlib import Path
from typing import Any

import pytest

from actors.dialogue import Dialogue
from training import cluster, feedback_use
from training.feedback_use import Attempt, Second, _shuffled, measure, summary


def test_everybody_gets_somebody_elses_words() -> None:
    texts = [f"said of {n}" for n in range(9)]
    other = _shuffled(texts, seed=3)
    assert sorted(other) == sorted(texts)
    assert all(a != b for a, b in zip(texts, other, strict=True))
    assert other == _shuffled(texts, seed=3) != _shuffled(texts, seed=4)


def attempt(ran: bool) -> Attempt:
    return Attempt("s", b"", Dialogue(None), ran, 0.5 * ran, "words")  # type: ignore[arg-type]


def test_the_gain_is_paired_and_apart_by_first_attempt() -> None:
    attempts = [attempt(True), attempt(True), attempt(False)]
    good, bad, failed = Second(True, 0.8, False), Second(True, 0.2, True), Second(False, 0.0, False)
    found = {"correct": [good, good, good], "empty": [bad, good, failed], "shuffled": [bad, bad, good]}
    result = summary(attempts, found, tried=5)
    assert (result["tried"], result["tool_calls"]) == (5, 3)
    ran, broken = result["first attempt ran"], result["first attempt failed"]
    assert (ran["n"], broken["n"], ran["likeness_before"]) == (2, 1, 0.5)
    assert ran["empty"] == {"runs": 1.0, "likeness": 0.5, "repeated": 0.5}
    assert ran["correct - shuffled: likeness"] == [0.6, 0.6, 0.6]
    mean, low, high = ran["correct - empty: likeness"]
    assert abs(mean - 0.3) < 1e-9 and low < 0 < high
    assert broken["correct - empty: ran"][0] == 1.0 and broken["correct - shuffled: ran"][0] == 0.0


def test_the_books_of_a_run_outlive_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's queue begins a journal of its own: not in the place of the run's."""
    from configs.load import load
    from training.data import ImageSet

    class Cluster:
        def __init__(self, config: Any, folder: Path, *rest: Any) -> None:
            self.folder = folder

        def __enter__(self) -> Any:
            (self.folder / "queue.jsonl").write_text("begun anew")
            return self

        def __exit__(self, *rest: Any) -> None: ...

        def world(self, temperature: float) -> None: ...

    async def study(*rest: Any) -> dict[str, Any]:
        return {"tried": 3}

    monkeypatch.setattr(cluster, "Cluster", Cluster)
    monkeypatch.setattr(cluster, "connect", lambda *rest: None)
    monkeypatch.setattr(feedback_use, "study", study)
    (tmp_path / "queue.jsonl").write_text("the books")
    assert measure(load("configs/tiny_chart.yaml", []), "m", tmp_path, ImageSet("held", ())) == {"tried": 3}
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("queue.jsonl", "the books")]
