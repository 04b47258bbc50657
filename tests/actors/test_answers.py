"""The forms in which models write programs and pages."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actors.answers import blocks, program, programs
from actors.contracts import Domain
from actors.dialogue import parse_turn
from serving.judge.mllm_answer import parse as verdict
from serving.judge.mllm_pair import parse_preference

CODE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])"
PAGE = "<!DOCTYPE html>\n<html><body><p>x</p></body></html>"
CUT = "<html><body><p>x"


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{CODE}\n```",
        f"```py\n{CODE}\n```",
        f"```Python\n{CODE}\n```",
        f"```PYTHON \n{CODE}\n```",
        f"``` python\n{CODE}\n```",
        f'```python3 title="chart.py"\n{CODE}\n```',
        f"```{{.python}}\n{CODE}\n```",
        f"```python:chart.py\n{CODE}\n```",
        f"````python\n{CODE}\n````",
        f"~~~python\n{CODE}\n~~~",
        f"~~~\n{CODE}\n~~~",
        f"```\n{CODE}\n```",
        f"   ```python\n{CODE}\n   ```",
        f"Here it is: ```python\n{CODE}\n```",
        f"```python\n{CODE}```",
        f"```python\n{CODE}\n",  # cut off, or its end left away
        f"```python\r\n{CODE}\r\n```\r\n".replace("\n", "\r\n").replace("\r\r", "\r"),
        f"so:\n```python\n{CODE}\n```\nand another\n```python\nimport os\n```",
        f"```bash\npip install matplotlib\n```\n```python\n{CODE}\n```",
        f"<think>a draft ```python\nimport os\n```</think>\n```python\n{CODE}\n```",
        f"a draft ```python\nimport os\n```</think>\n```python\n{CODE}\n```",  # the prompt opened it
        f"<think>x</think><answer>\n```python\n{CODE}\n```\n</answer>",
        f"<answer>```python\n{CODE}\n```</answer>",
        f"<answer>\n{CODE}\n</answer>",
        f"<ANSWER>\n{CODE}\n</ANSWER>",
        f"<think>x</think><answer>\n```python\n{CODE}",
        f"<answer>import os</answer> no, better: <answer>\n{CODE}\n</answer>",
        f"<answer>Only this:\n```text\nnothing\n```\n```py\n{CODE}\n```</answer>",
        CODE,
    ],
)
def test_a_program_is_found_in_every_form(text: str) -> None:
    assert program(text, "chart") == CODE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"```html\n{PAGE}\n```", PAGE),
        (f"```HTML\n{PAGE}\n```", PAGE),
        (f"```htm\n{PAGE}\n```", PAGE),
        (f"~~~html\n{PAGE}\n~~~", PAGE),
        (f"Sure:\n{PAGE}\nThat is all.", PAGE),
        (PAGE, PAGE),
        (PAGE.lower(), PAGE.lower()),
        (f"<think>{CUT}</think>{PAGE}", PAGE),
        (f"<answer>{PAGE}</answer>", PAGE),
        (CUT, CUT),
        (f"```html\n{CUT}", CUT),
        ("```html\n<p>x</p>\n```", "<p>x</p>"),
    ],
)
def test_a_page_is_found_in_every_form(text: str, expected: str) -> None:
    assert program(text, "web") == expected


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("", "chart"),
        ("I cannot do that.", "chart"),
        ("```json\n{}\n```", "chart"),
        ("print(1)", "chart"),
        (f"<think>```python\n{CODE}\n```</think>", "chart"),
        (f"<think>```python\n{CODE}\n```", "chart"),  # it ended while it thought
        ("<answer></answer>", "chart"),
        ("```python\n```", "chart"),
        ("a page would be nice", "web"),
    ],
)
def test_what_is_no_answer_has_no_program(text: str, domain: Domain) -> None:
    assert program(text, domain) is None


def test_backquotes_within_a_program_do_not_end_it() -> None:
    inner = 'text = """\n- `a` and ```b``` here\n"""\nimport os'
    assert blocks(f"```python\n{inner}\n```") == [("python", inner)]
    assert programs("```py\na\n```\n```text\nb\n```\n```python\nc\n```", "chart") == ["a", "c"]


def test_training_reads_the_same_forms_within_its_tags() -> None:
    for fence in ("```py", "```Python", "~~~", '```python3 title="x"', "```html"):
        text = f"<think>t</think><answer>\n{fence}\n{CODE}\n{fence[:3]}\n</answer>"
        assert parse_turn(text) == ("answer", CODE)
    assert parse_turn(f"<answer>{CODE}</answer>") == ("malformed", None)  # the format's own reward asks for thoughts


LONG = 400_000  # in time by the square of it, hours
ENDLESS = {
    "spaces": " " * LONG + "x", "lines_of_spaces": (" " * 2000 + "\n") * (LONG // 2000) + "x", "digits": "1" * LONG,
    "backquotes_in_a_block": "```python\n" + "`" * LONG + "x", "tildes": "~" * LONG + "`", "quotes": "> " * LONG,
    "fences": "```x``` " * (LONG // 8), "thoughts": "<think>" * (LONG // 7), "answers": "<answer>" * (LONG // 8),
    "doctypes": "<!doctype " * (LONG // 10), "comments": "<!---->" * (LONG // 7), "half_comments": "<!--" * (LONG // 4),
    "declarations": "<?xml " * (LONG // 6), "roots_in_comments": "<!-- <html <svg -->" * (LONG // 19),
    "ends_without_end": "<html><svg>" + "</html </svg " * (LONG // 13),
}  # fmt: skip


@contextmanager
def deadline() -> Iterator[None]:
    """What takes for ever fails instead of stopping the suite; a regular expression is interrupted as well."""

    def late(*_: Any) -> None:
        raise AssertionError("it takes for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(300)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ENDLESS)
def test_no_text_of_a_model_stops_its_reader(name: str) -> None:
    """C1: texts that a pattern with two ways to read a place takes hours for."""
    with deadline():
        for domain in ("chart", "web", "svg"):
            program(ENDLESS[name], domain)
        parse_turn(f"<think>x</think><answer>{ENDLESS[name]}</answer>")
        for read in (lambda text: verdict(text, "chart"), parse_preference):
            with pytest.raises(ValueError):
                read(ENDLESS[name])  # type: ignore[operator]


@pytest.mark.parametrize("name", ["thinking", "reasoning", "think"])
def test_thoughts_that_do_not_end_stop_no_reader_of_a_judges_answer(name: str) -> None:
    with deadline(), pytest.raises(ValueError):
        verdict(f"<{name}>" * (LONG // 8), "chart")


@pytest.mark.parametrize("body", ['{"arguments":' * 20_000, "{" * 20_000, '{"arguments": {"code": ' + "[" * 50_000])
def test_json_that_is_too_deep_is_a_malformed_turn(body: str) -> None:
    """C1: what a model writes raises nothing."""
    assert parse_turn(f"<think>x</think><answer>{body}</answer>") == ("malformed", None)
    assert program(f"<answer>{body}</answer>", "chart") is None


def test_a_page_begins_before_its_comments_also_where_they_hold_a_root() -> None:
    page = "<!DOCTYPE html>\n<!--[if IE]><html class=ie><![endif]-->\n<!--x--><html><p>y</p></html>"
    assert program(f"Here: {page} so", "web") == page
    assert program("A comment is <!-- so. <html><!--x--></html>", "web") == "<html><!--x--></html>"
    assert program("<?xml version='1.0'?> <!--a--> <svg></svg>", "svg") == "<?xml version='1.0'?> <!--a--> <svg></svg>"
    assert program("a > b <html></html>", "web") == "<html></html>"
