"""Evaluations in the benchmarks' own layouts, with their published questions asked of a live endpoint."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from aiohttp import web
from PIL import Image

from tests.training.jobs.stand_in import sizes, stand_in, texts
from tests.training.metrics.test_clip import tiny_clip
from training.evaluate import main
from training.evaluation.questions import JUDGES, PROMPTS

QUESTION = "Mark the second picture.\n\nScore: ${n out of 100}\n"
GOOD = "import matplotlib.pyplot as plt\nplt.figure(figsize=(4, 3))\nplt.bar(['a', 'b'], [1, 2])\nplt.title('Sales')\n"
RED = GOOD.replace("[1, 2]", "[1, 2], color='red'")


def clone(root: Path) -> Path:
    """The files of the benchmarks' clones that hold questions and prompts, with texts of our own."""
    files = {
        JUDGES["chartmimic"]: json.dumps({"instruction": QUESTION, "system_msg": ""}),
        PROMPTS["chartmimic"]: json.dumps({"instruction": "Use figsize=({width}, {height})."}),
        JUDGES["plot2code"]: "messages = [{'type': 'text', 'text': 'You are a helpful judge.'},\n"
        "  {'type': 'text', 'text': 'How alike are the two? Answer in the form Rating: [[5]].'}]\n",
        PROMPTS["plot2code"]: "direct_prompt = 'Write the ' + \\\n  'code.'\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def charts(root: Path, count: int) -> Path:
    """ChartMimic's layout; picture n is 100 + n pixels wide."""
    root.mkdir()
    for number in range(count):
        Image.new("RGB", (100 + number, 80), "white").save(root / f"bar_{number}.png")
        (root / f"bar_{number}.py").write_text(GOOD)
    return root


def answers(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": name, "response": text}) + "\n" for name, text in texts.items()))
    return path


def block(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}\n```"


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


def test_chartmimics_question_fills_the_published_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, data, out = clone(tmp_path / "clone"), charts(tmp_path / "direct_600", 3), tmp_path / "out"
    saved = answers(tmp_path / "a.jsonl", {"bar_0": block(GOOD), "bar_1": block(RED), "bar_2": block("1 / 0")})
    monkeypatch.setenv("RRVF_JUDGE_KEY", "secret")
    with stand_in(lambda body: f"Comments:\n- Layout: 20\n\nScore: {90 if sizes(body)[0][0] == 100 else 60}") as judge:
        url, asked = judge
        command = ["chartmimic", "--answers", str(saved), "--data", str(data), "--out", str(out), "--judge", url]
        assert main([*command, "--judge-model", "gpt-4o", "--questions", str(theirs)]) == 0
        assert main([*command, "--judge-model", "gpt-4o", "--resume"]) == 2  # with our own question
        assert "questions=" in capsys.readouterr().err
    assert len(asked) == 2  # a program that does not run is 0 without asking
    for body in asked:
        assert [m["role"] for m in body["messages"]] == ["user"] and body["model"] == "gpt-4o"
        assert texts(body) == [QUESTION, "", ""] and sizes(body)[1] == (400, 300)
    cells = summary(out)["scores"]["code_pass"]
    assert cells["judge"] == 50.0 and cells["overall"] == pytest.approx((cells["average"] + 50) / 2, abs=0.01)
    assert isinstance(summary(out)["scores"]["no_filter"]["judge"], str)  # half a picture is not judged
    page, latex = (out / "summary.md").read_text(), (out / "table.tex").read_text()
    assert f"Judge: gpt-4o; the published question, read from {theirs}." in page and "secret" not in page
    row = next(line for line in page.splitlines() if line.startswith("| **a** (here)"))
    assert row.count("[") == 7 and "| 50.00 [0.00, 90.00] |" in row
    low, high = (next(row for row in latex.splitlines() if name in row) for name in (r"95\% from &", r"\quad to &"))
    assert low.split(" & ")[-2] == "0.00" and high.split(" & ")[-2] == "90.00"


def test_plot2codes_question_stands_before_the_two_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs, data, out = clone(tmp_path / "clone"), tmp_path / "python_matplotlib" / "test", tmp_path / "out"
    data.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (100 + number, 80), "white").save(data / f"ground_truth_image_{number}.png")
    (data / "metadata.jsonl").write_text((json.dumps({"code": GOOD}) + "\n") * 4)
    programs = [block(GOOD), block(RED), "Sorry.", block(GOOD)]

    def reply(body: dict[str, Any]) -> str:
        width = sizes(body)[0][0]
        if len(sizes(body)) == 1:  # the model under test
            assert texts(body)[1:] == ["Write the code."]
            return programs[width - 100]
        return "Both are pretty." if width == 103 else f"They agree in much. Rating: [[{9 if width == 100 else 6}]]"

    with stand_in(reply) as (url, asked):
        command = ["plot2code", "--model", url, "--data", str(tmp_path), "--out", str(out), "--judge", url]
        assert main([*command, "--questions", str(theirs), "--prompts", str(theirs)]) == 0
    assert f"judge: stand-in, the first model that {url} lists" in capsys.readouterr().err
    assert summary(out)["judge_model"] == "stand-in" and "Judge: stand-in; " in (out / "summary.md").read_text()
    judged = [body for body in asked if len(sizes(body)) == 2]
    assert {body["model"] for body in judged} == {"stand-in"}
    assert len(judged) == 3
    for body in judged:
        assert body["messages"][0] == {"role": "system", "content": "You are a helpful judge."}
        assert texts(body)[0].startswith("How alike") and texts(body)[1:] == ["", ""]
    cells = summary(out)["scores"]["all"]
    assert cells["rating_pass"] == 7.5 and cells["rating"] == 5.62 and cells["pass_rate"] == 75.0
    assert summary(out)["unmarked"] == ["ground_truth_image_3"]
    assert (
        "No mark in the judge's answer, left out of its mean: ground_truth_image_3 (1 of 4)"
        in (out / "summary.md").read_text()
    )
    answers = tmp_path / "answers.jsonl"
    rows = [{"id": f"ground_truth_image_{n}", "response": program} for n, program in enumerate(programs)]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked_nobody = ["--answers", str(answers), "--data", str(tmp_path), "--out", str(tmp_path / "two")]
    assert main(["plot2code", *asked_nobody, "--judge", "perceptual"]) == 0
    assert summary(tmp_path / "two")["unmarked"] == [], "a judge that gives no rating leaves no case out"


@pytest.mark.parametrize("version", ["data", "v0.2"])
def test_websight_end_to_end_in_a_clone_of_both_versions(
    tmp_path: Path, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page, out = "<html><body><h1>{}</h1><p>Some text of a page.</p></body></html>", tmp_path / "out"
    for name in ("data", "v0.2"):
        (tmp_path / "WebSight" / name).mkdir(parents=True)
        columns: dict[str, list[Any]] = {"image": [], "text": []}
        for number in range(3):
            png = io.BytesIO()
            Image.new("RGB", (100 + number, 80), "white").save(png, "PNG")
            columns["image"].append({"bytes": png.getvalue(), "path": None})
            columns["text"].append(page.format(f"{name} {number}"))
        if name == "v0.2":
            columns["llm_generated_idea"] = ["an idea"] * 3
        pyarrow.parquet.write_table(
            pyarrow.table(columns), tmp_path / "WebSight" / name / "train-00000-of-00001.parquet"
        )
    (tmp_path / "question.txt").write_text("How alike? Answer with Score: n")

    def reply(body: dict[str, Any]) -> str:
        if len(sizes(body)) == 2:
            return "**Score:** 75/100"
        number = sizes(body)[0][0] - 100
        return block(page.format(number), "html") if number < 2 else "I cannot."

    with stand_in(reply) as (url, _):
        command = ["websight", "--model", url, "--out", str(out), "--judge", url, "--clip", str(tiny_clip(tmp_path))]
        command += ["--questions", str(tmp_path / "question.txt"), "--data"]
        assert main([*command, str(tmp_path / "WebSight")]) == 2
        assert "holds several versions of WebSight; name one of" in capsys.readouterr().err
        assert main([*command, str(tmp_path / "WebSight" / version)]) == 0
    found = summary(out)
    assert found["n"] == 3 and found["scores"]["all"]["exec"] == 66.67 and found["scores"]["all"]["judge"] == 50.0
    assert isinstance(found["scores"]["all"]["clip"], float)
    text = (out / "summary.md").read_text()
    assert "## WebSight, 500 pages (Table 3)" in text and "of the whole pages; the paper names no model" in text
    assert "| RRVF | 88.29 | 91.50 |" in text and "| 50.00 [" in text


def test_an_endpoint_that_fails_at_some_cases_costs_those_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused for ever, no JSON, no choices, cut off: each case is named and open; what is answered is scored."""
    monkeypatch.setattr("training.evaluation.models.RETRIES", 1)
    monkeypatch.setattr("serving.http.retry.PAUSE_S", 0.2)  # of a circuit that more than half of the cases open
    faults: dict[int, web.Response] = {}

    def reply(body: dict[str, Any]) -> str | web.Response:
        number = sizes(body)[0][0] - 100
        faulty = {
            1: lambda: web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "1"}),
            2: lambda: web.Response(text="<html>gateway</html>"),
            3: lambda: web.json_response({"choices": []}),
            4: lambda: web.json_response({"choices": [{"message": {"content": "x"}, "finish_reason": "abort"}]}),
            5: lambda: web.Response(status=500, body=b"\xff\x00"),
        }
        return block(GOOD) if number not in faulty or faults.get(0) else faulty[number]()

    data, out = charts(tmp_path / "data", 8), tmp_path / "out"
    with stand_in(reply) as (url, _):
        command = ["chartmimic", "--model", url, "--data", str(data), "--out", str(out)]
        assert main(command) == 1
        printed = capsys.readouterr()
        found = summary(out)
        assert found["n"] == 3 and found["scores"]["code_pass"]["exec"] == 100.0
        assert sorted(line.split(":")[0] for line in found["open"]) == [f"bar_{n}" for n in range(1, 6)]
        text = (out / "summary.md").read_text()
        for words in ("HTTP 429", "something else than it should", "gave an answer up (abort)", "HTTP 500"):
            assert words in text and words in printed.out
        assert "5 cases are left open; go on with --resume" in printed.err and "of 8, about" in printed.err
        faults[0] = web.Response()
        assert main([*command, "--resume"]) == 0
    assert summary(out)["n"] == 8 and summary(out)["open"] == []


def test_a_case_without_a_mark_of_the_judge_is_named_and_keeps_its_other_scores(tmp_path: Path) -> None:
    theirs, data, out = clone(tmp_path / "clone"), charts(tmp_path / "data", 2), tmp_path / "out"
    saved = answers(tmp_path / "a.jsonl", {"bar_0": block(GOOD), "bar_1": block(GOOD)})
    with stand_in(lambda body: "Score: 80" if sizes(body)[0][0] == 100 else "I'd rather not.") as (url, _):
        command = ["chartmimic", "--answers", str(saved), "--data", str(data), "--out", str(out), "--judge", url]
        assert main([*command, "--questions", str(theirs)]) == 0
    found = summary(out)
    assert found["n"] == 2 and found["unmarked"] == ["bar_1"] and found["open"] == []
    assert found["scores"]["code_pass"]["judge"] == 80.0 and found["scores"]["code_pass"]["text"] == 100.0
    assert "No mark in the judge's answer, left out of its mean: bar_1 (1 of 2)" in (out / "summary.md").read_text()


def test_an_error_that_no_one_foresaw_costs_its_own_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.metrics import chartmimic

    compare = chartmimic.compare

    def broken(golden: Any, generated: Any, **how: Any) -> Any:
        if generated.axes == 2:
            raise ZeroDivisionError
        return compare(golden, generated, **how)

    monkeypatch.setattr(chartmimic, "compare", broken)
    data, out = charts(tmp_path / "data", 2), tmp_path / "out"
    two = "import matplotlib.pyplot as plt\nplt.subplots(1, 2)"
    saved = answers(tmp_path / "a.jsonl", {"bar_0": block(GOOD), "bar_1": block(two)})
    assert main(["chartmimic", "--answers", str(saved), "--data", str(data), "--out", str(out)]) == 1
    assert summary(out)["n"] == 1 and summary(out)["open"] == ["bar_1: ZeroDivisionError"]
    assert "Traceback" in capsys.readouterr().err


def test_hostile_answers_cost_their_own_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from training.evaluation import grading

    plain = grading.patient
    monkeypatch.setattr(
        grading,
        "patient",
        lambda render, **how: replace(found := plain(render, **how), sandbox=replace(found.sandbox, wall_s=6, cpu_s=3)),
    )
    programs = {
        "bar_0": GOOD, "bar_1": "while True: pass", "bar_2": "import os\nos._exit(0)",
        "bar_3": "import matplotlib.pyplot as plt\nplt.figure(figsize=(10001, 0.03)).savefig('x')",
        "bar_4": "x = []\nwhile True: x.append(bytearray(50_000_000))", "bar_5": "open('/etc/passwd').read()",
        "bar_6": RED,
    }  # fmt: skip
    data, out = charts(tmp_path / "data", len(programs)), tmp_path / "out"
    saved = answers(tmp_path / "a.jsonl", {name: block(code) for name, code in programs.items()})
    assert main(["chartmimic", "--answers", str(saved), "--data", str(data), "--out", str(out)]) == 0
    rows = {row["name"]: row for row in map(json.loads, (out / "samples.jsonl").read_text().splitlines())}
    ran = [True, False, False, True, False, False, True]  # a strip of 10,001 inches runs to its end; no picture is kept
    assert summary(out)["n"] == 7 and summary(out)["scores"]["code_pass"]["exec"] == round(300 / 7, 2)
    assert [rows[f"bar_{n}"]["executed"] for n in range(7)] == ran
    assert all(row["executed"] == bool(row["scores"]["exec"]) for row in rows.values())
    assert rows["bar_6"]["scores"]["text"] == 1.0 and all(rows[f"bar_{n}"]["failure"] for n in range(1, 6))


def test_a_page_of_20_000_pixels_costs_its_own_case(tmp_path: Path) -> None:
    page, data, out = "<html><body><p>One text of a page</p></body></html>", tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for number in range(2):
        (data / f"{number}.html").write_text(page)
    tall = "<html><body style='margin:0'><div style='height:20000px;background:red'>x</div><p>end</p></body></html>"
    saved = answers(tmp_path / "a.jsonl", {"0": block(tall, "html"), "1": block(page, "html")})
    assert main(["design2code", "--answers", str(saved), "--data", str(data), "--out", str(out)]) == 0
    rows = {row["name"]: row for row in map(json.loads, (out / "samples.jsonl").read_text().splitlines())}
    assert summary(out)["n"] == 2 and rows["1"]["scores"]["text"] == 1.0
    assert rows["0"]["scores"]["exec"] == 1.0 and rows["0"]["scores"]["block"] < 0.5
