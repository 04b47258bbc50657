"""The learner is waited for while it makes steps, and no longer."""

import threading
import time
from pathlib import Path

from training.run.watchdog import LINE, watch


def test_a_learner_that_makes_steps_is_waited_for_and_every_line_is_seen(tmp_path: Path) -> None:
    curve, seen = tmp_path / "metrics.jsonl", []

    def steps() -> None:
        for number in range(6):
            time.sleep(0.5)
            with curve.open("a") as file:
                file.write(f"{number}\n")

    assert watch(steps, curve, 2.5, lambda: seen.append(curve.read_text() if curve.exists() else "")) is None
    assert seen[-1] == "0\n1\n2\n3\n4\n5\n" and len(seen) > 4


def test_one_that_makes_none_is_given_up_by_its_deadline(tmp_path: Path) -> None:
    for_good = threading.Event()
    started = time.monotonic()
    assert watch(for_good.wait, tmp_path / "none", 1, lambda: None) == "no step in 1 s (see learner.step_s)"
    assert time.monotonic() - started < 60
    for_good.set()


def test_what_it_raised_is_one_line(tmp_path: Path) -> None:
    def fails() -> None:
        raise RuntimeError("a trace\n  of many lines\nthe reason " + "x " * LINE + "\n")

    line = watch(fails, tmp_path / "none", 60, lambda: None)
    assert line is not None and line.startswith("the reason x") and line.endswith(" ...") and len(line) <= LINE + 4
