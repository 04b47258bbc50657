"""Answers that exist already, in the files in which people keep them, and what cannot be read."""

import json
from pathlib import Path

import pytest

from configs.load import ConfigError
from training.evaluation.answers import program
from training.evaluation.saved import SavedAnswers

CODE = "import matplotlib.pyplot as plt\nplt.plot([1])"
ANSWER = f"```python\n{CODE}\n```"
CHAT = {"choices": [{"message": {"content": ANSWER}}]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ours.jsonl", json.dumps({"id": "bar_1", "response": ANSWER})),
        ("bom.jsonl", "\ufeff" + json.dumps({"id": "bar_1", "response": ANSWER})),
        ("crlf.jsonl", json.dumps({"name": "bar_1", "answer": ANSWER}) + "\r\n\r\n"),
        ("array.json", json.dumps([{"id": "bar_1", "output": ANSWER}])),
        ("array.jsonl", json.dumps([{"id": "bar_1", "output": ANSWER}], indent=1)),
        ("object.json", json.dumps({"bar_1": ANSWER, "bar_2": ""})),
        ("chartmimic_results.json", json.dumps({"file": "/data/ori_500/bar_1.pdf", "response": json.dumps(CHAT)})),
        ("claude_results.json", json.dumps({"file": "/data/bar_1.pdf", "response": CHAT})),
        ("generated_code.jsonl", json.dumps({"question_id": "ground_truth_image_bar_1.png", "code": CODE})),
        ("sharegpt.json", json.dumps([{"id": "bar_1", "conversations": [
            {"from": "human", "value": "<image>"}, {"from": "gpt", "value": "wait"},
            {"from": "gpt", "value": ANSWER}]}])),
        ("messages.jsonl", json.dumps({"image": "x/bar_1.png", "messages": [
            {"role": "user", "content": "draw"}, {"role": "assistant", "content": ANSWER}]})),
    ],
)  # fmt: skip
def test_answers_are_found_by_the_name_of_their_case(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    answers = SavedAnswers(tmp_path / name)
    assert program("chartmimic", "chart", answers.of("bar_1")) == CODE
    answers.expect(["bar_9", "bar_1"])
    with pytest.raises(LookupError):
        answers.of("bar_3")


def test_result_folders_of_the_benchmarks(tmp_path: Path) -> None:
    charts, pages = tmp_path / "direct_checker", tmp_path / "predictions"
    for folder in (charts, pages):
        folder.mkdir()
    (charts / "bar_1.py").write_text(CODE)
    (charts / "count.json").write_text("{}")
    page = "<!DOCTYPE html><html><body>x</body></html>"
    (pages / "17.html").write_text(page)
    (pages / "rick.jpg").write_bytes(b"x")
    assert program("chartmimic", "chart", SavedAnswers(charts).of("bar_1")) == CODE
    assert program("design2code", "web", SavedAnswers(pages).of("17")) == page


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("none.jsonl", None, ": not there"),
        ("empty.jsonl", b"", ": no answer in it"),
        ("blank.jsonl", b"\n \n", ": no answer in it"),
        ("torn.jsonl", b'{"id": "a", "response": "x"}\n{"id": "b", "resp', ":2: not JSON"),
        ("latin.jsonl", b'{"id": "\xe9"}', ": not UTF-8 text"),
        ("nameless.jsonl", b'{"response": "x"}', ":1: without a name of its case (id); it has response"),
        ("mute.jsonl", b'{"id": "a", "prompt": "x"}', ":1: without an answer (response); it has id, prompt"),
        ("deep.jsonl", b"[" * 100_000, ":1: not JSON"),
        ("numbers.json", b"[1, 2]", ":1: without a name of its case (id); it has response"),
        ("user.json", b'[{"id": "a", "messages": [{"role": "user", "content": "x"}]}]', ":1: without an answer"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, data: bytes | None, fault: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        SavedAnswers(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(f"--answers {tmp_path / name}{fault}") and "\n" not in message


def test_a_folder_of_several_tables_and_foreign_names_are_refused(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"id": "x", "response": "y"}')
    with pytest.raises(ConfigError, match=r"name one of its files: a\.jsonl, b\.jsonl"):
        SavedAnswers(tmp_path)
    with pytest.raises(ConfigError, match=r"names x\.\.\., the cases are bar_1, bar_2\.\.\."):
        SavedAnswers(tmp_path / "a.jsonl").expect(["bar_1", "bar_2"])


def test_an_answer_that_is_null_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "x", "response": null}')
    assert SavedAnswers(tmp_path / "a.jsonl").of("x") == ""
