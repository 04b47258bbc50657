"""Examples of a domain: pairs, and lessons with the judge's real feedback."""

import json
import random
from pathlib import Path

import pytest

from configs.load import ConfigError
from tests.domains.test_domains import OUTSIDE as FEW
from training.data import examples
from training.jobs.sft import read


def test_lessons_show_first_attempts_with_what_the_judge_said(tmp_path: Path) -> None:
    folder = examples.write(tmp_path, "svg", "train", 12, 3, lessons=10, max_chars=160)
    assert folder == examples.write(tmp_path, "svg", "train", 12, 3, lessons=10, max_chars=160)
    pairs = [json.loads(line) for line in (folder / examples.INDEX).read_text().splitlines()]
    rows = [json.loads(line) for line in (folder / examples.LESSONS).read_text().splitlines()]
    assert rows[:12] == pairs and len(rows) == 22
    assert len(read(folder / examples.LESSONS)) == 22  # as training.sft takes them
    right = wrong = 0
    for pair, row in zip(pairs, rows[12:], strict=False):
        first, last = row["turns"]
        assert last["text"] == f"<think></think><answer>\n{pair['code']}</answer>"
        assert 0 < len(first["feedback"]) <= 160
        if first["taught"]:
            right += 1
            assert pair["code"] in first["text"] and first["feedback"] == "It looks the same."
        else:
            wrong += 1
            assert pair["code"] not in first["text"]
    assert right and wrong


def test_a_fault_depends_on_its_source_and_changes_one_place() -> None:
    source = "<svg viewBox='0 0 9 6'><circle cx='5' cy='3' r='2' fill='red'/></svg>"
    made = [examples.faulty(source, random.Random(n)) for n in range(60)]
    assert made == [examples.faulty(source, random.Random(n)) for n in range(60)]
    assert {len(text) - len(source) for text in made} == {0, -1} and source in made and len(set(made)) > 20
    assert examples.faulty("ab", random.Random(1)) in ("ab", "a", "b")  # without a digit


def test_a_domain_with_few_examples_gives_what_it_has() -> None:
    found = {split: examples.sources(FEW, split, 2000, 0) for split in ("train", "heldout")}  # type: ignore[arg-type]
    assert 500 < len(found["train"]) < 1000 and 20 < len(found["heldout"]) < 100
    assert not set(found["train"]) & set(found["heldout"])
    with pytest.raises(ConfigError, match="the domain web draws no examples"):
        examples.sources("web", "train", 3, 0)
