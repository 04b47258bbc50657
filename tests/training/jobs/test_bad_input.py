"""What cannot be evaluated ends with status 2 and one line that names the fault, before a model is asked."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tests.training.jobs.test_published import answers, block, charts, clone
from training.evaluate import main

Make = Callable[[Path], list[str]]
NOWHERE = "http://127.0.0.1:1/v1"


def folder(path: Path, **files: str | bytes) -> Path:
    """A folder of files; `__` in a name is a dot."""
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (path / name.replace("__", ".")).write_bytes(data)
    return path


def saved(path: Path, text: str | bytes, *more: str) -> list[str]:
    """ChartMimic by an answers file of this text."""
    file = folder(path / "answers", a__jsonl=text) / "a.jsonl"
    return ["chartmimic", "--data", str(charts(path / "data", 1)), "--answers", str(file), *more]


def good(path: Path, *more: str) -> list[str]:
    return saved(path, json.dumps({"id": "bar_0", "response": block("x = 1")}), *more)


def plot2code(path: Path, metadata: str) -> list[str]:
    return ["plot2code", "--model", "m", "--data", str(folder(path / "test", metadata__jsonl=metadata))]


def parquet(path: Path, **columns: list[object]) -> list[str]:
    path.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path / "a.parquet")
    return ["websight", "--model", "m", "--data", str(path)]


def tsv(path: Path, head: str) -> list[str]:
    return ["chartmimic", "--model", "m", "--data", str(folder(path / "d", ChartMimic__tsv=head))]


BAD: dict[str, tuple[Make, str]] = {
    "no such benchmark": (lambda p: ["nothing", "--model", "m", "--data", "."], "no benchmark 'nothing'"),
    "no folder": (lambda p: ["chartmimic", "--model", "m", "--data", "absent"], "absent: not there; chartmimic: DIR"),
    "an empty folder": (lambda p: ["design2code", "--model", "m", "--data", str(folder(p / "d"))], "no case in it"),
    "another column": (lambda p: tsv(p, "index\tquestion\n1\tx"), "no column ground_truth_figure_code"),
    "a table of missing files": (
        lambda p: tsv(p, "input_figure\tground_truth_figure_code\na.png\ta.py"), "row 1: a.py: not there",
    ),
    "the customized task": (
        lambda p: ["chartmimic", "--model", "m", "--data", str(folder(p / "customized_600", bar_1__py="x"))],
        "customized mimic asks for another chart",
    ),
    "rows without code": (lambda p: plot2code(p, '{"url": "x"}'), ":1: no `code`"),
    "a torn row": (lambda p: plot2code(p, '{"code": "x'), ":1: not JSON"),
    "an array for lines": (lambda p: plot2code(p, '[{"code": "x"}]'), "an array, not an object a line"),
    "the Plotly subset": (lambda p: plot2code(p, json.dumps({"code": "import plotly.express as px"})), "with Plotly"),
    "the R subset": (lambda p: plot2code(p, json.dumps({"code": "library(plotly)\nx"})), "with Plotly or in R"),
    "a missing picture": (lambda p: plot2code(p, '{"code": "x"}'), "ground_truth_image_0.png: not there"),
    "no parquet": (
        lambda p: ["websight", "--model", "m", "--data", str(folder(p / "d", a__parquet=b"x" * 99))],
        "not to be read as websight",
    ),
    "parquet of other columns": (lambda p: parquet(p / "d", a=["x"]), "no column image, text"),
    "rows without a picture": (lambda p: parquet(p / "d", image=["x"], text=["y"]), "row 0 has no picture or no page"),
    "pairs of nothing": (
        lambda p: ["pairs", "--model", "m", "--data", str(folder(p / "d", index__jsonl='{"id": 1}'))],
        ":1: neither image nor reference",
    ),
    "no answers": (
        lambda p: ["chartmimic", "--data", str(charts(p / "data", 1)), "--answers", str(p / "none.jsonl")],
        "none.jsonl: not there",
    ),
    "an empty answers file": (lambda p: saved(p, ""), "no answer in it"),
    "answers in another encoding": (lambda p: saved(p, b'{"id": "\xe9"}'), "not UTF-8 text"),
    "answers of other cases": (lambda p: saved(p, '{"id": "x", "response": "y"}'), "names x..., the cases are bar_0"),
    "answers without a name": (lambda p: saved(p, '{"response": "y"}'), ":1: without a name of its case (id)"),
    "answers without a text": (lambda p: saved(p, '{"id": "bar_0"}'), ":1: without an answer (response)"),
    "a dead endpoint": (
        lambda p: ["chartmimic", "--data", str(charts(p / "data", 1)), "--model", NOWHERE], "nobody answers there",
    ),
    "a dead judge": (
        lambda p: good(p, "--judge", NOWHERE, "--questions", str(clone(p / "clone"))), "nobody answers there",
    ),
    "a judge that is none": (lambda p: good(p, "--judge", "x"), "--judge x: neither perceptual nor an address"),
    "questions for nobody": (
        lambda p: good(p, "--questions", str(clone(p / "clone"))), "--questions: who answers them? --judge URL",
    ),
    "a clone without the question": (
        lambda p: good(p, "--judge", NOWHERE, "--questions", str(folder(p / "clone"))), "No such file or directory",
    ),
    "a prompt that is empty": (
        lambda p: good(p, "--prompts", str(folder(p / "c", p__txt=" ") / "p.txt")), "p.txt: empty",
    ),
    "no CLIP there": (lambda p: good(p, "--clip", "/absent"), "--clip /absent: no folder there"),
    "no model there": (
        lambda p: ["chartmimic", "--data", str(charts(p / "data", 1)), "--model", "/no/model"], "no model there",
    ),
    "no such setting": (lambda p: good(p, "engine.wrong=1"), "engine.wrong"),
    "no case at all": (lambda p: good(p, "--limit", "0"), "--limit 0: at least one case"),
    "a file for a folder": (lambda p: good(p, "--out", str(p / "answers" / "a.jsonl")), "--out "),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    make, fault = BAD[name]
    assert main(["--out", str(tmp_path / "out"), *make(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and fault in lines[-1], lines
    assert sum(line.startswith("error: ") for line in lines) == 1


def test_an_empty_answer_counts_as_one_that_fails(tmp_path: Path) -> None:
    """It is no bad input: the model answered nothing."""
    data, out = charts(tmp_path / "data", 1), tmp_path / "out"
    file = answers(tmp_path / "a.jsonl", {"bar_0": ""})
    assert main(["chartmimic", "--answers", str(file), "--data", str(data), "--out", str(out)]) == 0
    found = json.loads((out / "summary.json").read_text())
    assert found["n"] == 1 and found["scores"]["code_pass"]["exec"] == 0.0
