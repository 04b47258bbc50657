"""The feedback study, by hand: who is told what, and the reckoning. The whole of it runs in test_experiment.py."""

from actors.dialogue import Dialogue
from training.feedback_use import Attempt, Second, _shuffled, summary


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
