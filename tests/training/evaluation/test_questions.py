"""Published questions and prompts, read from files laid out as in the benchmarks' clones."""

import json
from pathlib import Path

import pytest

from configs.load import ConfigError
from training.evaluation.questions import JUDGES, PROMPTS, filled, judge, prompt


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    files = {
        JUDGES["chartmimic"]: json.dumps({"instruction": "Mark it.\nScore: ${n}", "system_msg": ""}),
        PROMPTS["chartmimic"]: json.dumps({"instruction": "Use figsize=({width}, {height})."}),
        JUDGES["plot2code"]: "import client\nmessages = [{'type': 'text', 'text': 'You are a helpful one.'},\n"
        "  {'type': 'text', 'text': 'A much longer question, with \"Rating: [[5]]\".'}]\nclient.ask(messages)\n",
        PROMPTS["plot2code"]: "direct_prompt = 'One ' + \\\n  'two ' + \\\n  'three'\nother = 'x'\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_questions_are_word_for_word_those_of_the_clone(clone: Path) -> None:
    mimic, plot = judge("chartmimic", clone), judge("plot2code", clone)
    assert (mimic.system, mimic.text, mimic.most) == ("", "Mark it.\nScore: ${n}", 100)
    assert (
        plot.system == "You are a helpful one." and plot.text.startswith("A much longer question") and plot.most == 10
    )
    assert prompt("plot2code", clone) == "One two three"
    assert filled(prompt("chartmimic", clone), 960, 540, True) == "Use figsize=(8, 4.5)."
    (clone / "page.txt").write_text("Score: n, please\n")
    assert judge("websight", clone / "page.txt").text == "Score: n, please"


@pytest.mark.parametrize(
    ("benchmark", "answer", "mark"),
    [
        ("chartmimic", "Comments:\n- Layout: 10\n\nScore: 87", 87),
        ("chartmimic", "Score: 12\nno\n**Score: 90.5/100**", 90.5),
        ("chartmimic", "Score: 800", None),
        ("chartmimic", "nothing to say", None),
        ("plot2code", "close. Rating: [[7]]", 7),
        ("plot2code", "Rating: 7", None),
    ],
)
def test_marks_are_read_as_the_original_reads_them(
    clone: Path, benchmark: str, answer: str, mark: float | None
) -> None:
    assert judge(benchmark, clone).mark(answer) == mark


def test_what_is_not_there_is_one_line(clone: Path) -> None:
    (clone / JUDGES["chartmimic"]).write_text("[]")
    (clone / "bad.py").write_text("x = (")
    (clone / "mute.py").write_text("x = 1")
    (clone / "empty.txt").write_text(" ")
    for benchmark, path, fault in (
        ("chartmimic", clone, 'not an object with "instruction"'),
        ("plot2code", clone / "bad.py", "not Python"),
        ("plot2code", clone / "mute.py", "no message in it"),
        ("websight", clone / "empty.txt", "empty"),
        ("websight", clone, "websight published none; name a text file"),
        ("websight", clone / "none.txt", "No such file or directory"),
        ("design2code", clone, "design2code has no judge"),
    ):
        with pytest.raises(ConfigError, match=fault) as caught:
            judge(benchmark, path)
        assert "\n" not in str(caught.value)
