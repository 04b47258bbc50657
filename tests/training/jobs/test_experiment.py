"""The experiment: what it leaves out when it goes on, and its table by hand."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from actors.contracts import Outage
from training.evaluation.heldout import Row
from training.jobs import experiment
from training.jobs.experiment_report import report

KINDS = ("bar", "barh", "bar", "barh")


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(out, "PNG")
    return out.getvalue()


def evaluation(folder: Path, ran: int, similarity: float) -> dict[str, dict[str, list[Row]]]:
    """Four pictures a set, of which the first `ran` programs run."""
    found: dict[str, dict[str, list[Row]]] = {}
    for name in ("heldout", "third"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        lines = [{"file": f"{n}.png", "kind": kind, "title": "x"} for n, kind in enumerate(KINDS)]
        (folder / name / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        rows = []
        for n in range(4):
            path = folder / name / f"{n}.png"
            path.write_bytes(png("white"))
            rows.append(
                Row(str(path), n < ran, similarity * (n < ran), "x", png("red") if n < ran else None, n < ran, False, 9)
            )
        found[name] = {"sampled": rows, "greedy": rows}
    return found


def leave(folder: Path, seed: int, ran: dict[str, int]) -> None:
    """What both arms of a seed leave behind."""
    for run, curve, lines in (
        (
            "rrvf",
            "metrics.jsonl",
            [{"step": s, "step_s": 2.0, "reward": s, "exec_rate": 0.5, "similarity": 0.2} for s in (1, 2)],
        ),
        ("sft", "sft.jsonl", [{"step": s, "step_s": 1.0, "loss": 1 / s} for s in (1, 2)]),
    ):
        (folder / f"{run}-{seed}").mkdir(parents=True)
        (folder / f"{run}-{seed}" / curve).write_text("".join(json.dumps(line) + "\n" for line in lines))
    for run, when, arm in (("rrvf", "before", "base"), ("sft", "after", "SFT"), ("rrvf", "after", "RRVF")):
        kept = folder / f"{run}-{seed}" / f"evaluation_{when}.pkl"
        kept.write_bytes(pickle.dumps(evaluation(folder / "images", ran[arm], 0.4)))
    worth = {"runs": 1.0, "similarity": 0.5, "repeated": 0.0}
    rows = {"n": 3, "similarity_before": 0.25, "correct": worth, "empty": worth, "shuffled": worth}
    (folder / f"rrvf-{seed}" / "feedback_use.json").write_text(
        json.dumps({"tried": 5, "tool_calls": 3, "first attempt ran": rows})
    )


def test_the_table_holds_every_arm_with_its_spread(tmp_path: Path) -> None:
    from configs.load import load

    leave(tmp_path, 0, {"base": 1, "SFT": 2, "RRVF": 3})
    leave(tmp_path, 1, {"base": 1, "SFT": 2, "RRVF": 4})
    text = report(tmp_path, load("configs/tiny_chart.yaml", []), seeds=2)
    found = json.loads((tmp_path / "results.json").read_text())
    held = found["results"]["held-out images"]["sampled"]
    assert held["base"]["exec_rate"] == {"mean": 0.25, "sd": 0.0, "seeds": [0.25, 0.25]}
    assert held["RRVF"]["exec_rate"]["seeds"] == [0.75, 1.0] and held["RRVF"]["n"] == [4, 4]
    third = found["results"]["third renderer"]["greedy"]
    assert third["base"]["exec_rate"]["mean"] == 0.25 and third["RRVF"]["exec_rate"]["seeds"] == [0.75, 1.0]
    assert found["training_s"] == {"SFT": [2.0, 2.0], "RRVF": [4.0, 4.0]}
    assert "| held-out images | sampled | RRVF | 8 | 87.5 ± 17.7% |" in text and "| ran | 6 | 25.0% | correct |" in text
    for name in ("curves.png", "pictures.png"):
        assert Image.open(tmp_path / name).width > 400


def test_what_is_finished_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, ...]] = []
    stopped = False

    def run(module: str, *arguments: str) -> None:
        started.append((module, *arguments))
        folder = Path(arguments[1]) if arguments[0] == "--resume" else tmp_path / arguments[-1].split("=")[1]
        if not stopped:
            folder.mkdir(exist_ok=True)
            (folder / "evaluation_after.pkl").touch()

    monkeypatch.setattr(experiment, "_run", run)
    leave(tmp_path, 0, {"base": 1, "SFT": 2, "RRVF": 3})
    done = tmp_path / "rrvf-0"
    experiment.learn_from_pictures("c.yaml", [], done)
    assert started == [("training.train", "c.yaml", "run.name=rrvf-0")]
    assert not (done / "metrics.jsonl").exists()  # no summary: begun anew
    leave_checkpoint = tmp_path / "rrvf-1" / "checkpoints" / "step_000005"
    leave_checkpoint.mkdir(parents=True)
    (leave_checkpoint / "state.json").write_text("{}")
    experiment.learn_from_pictures("c.yaml", [], tmp_path / "rrvf-1")
    assert started[1:] == [("training.train", "--resume", str(tmp_path / "rrvf-1"))]
    (tmp_path / "rrvf-1" / "summary.json").touch()
    (tmp_path / "rrvf-1" / "evaluation_after.pkl").touch()
    experiment.learn_from_pictures("c.yaml", [], tmp_path / "rrvf-1")
    assert len(started) == 2
    stopped = True
    with pytest.raises(Outage, match="rrvf-2 was stopped before its end"):
        experiment.learn_from_pictures("c.yaml", [], tmp_path / "rrvf-2")


def test_an_arm_that_was_stopped_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is stopped saves and ends with status 0, as one that is finished does."""
    from configs.load import load

    measured: list[Path] = []
    monkeypatch.setattr(experiment, "measure", lambda config, model, folder, *rest: measured.append(folder))
    monkeypatch.setattr(experiment, "training_and_evaluation", lambda *rest: (None, []))
    steps = 3

    def run(module: str, *arguments: str) -> None:
        checkpoint = tmp_path / "sft-0" / "checkpoints" / f"step_{steps:06d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.json").write_text(json.dumps({"step": steps}))

    monkeypatch.setattr(experiment, "_run", run)
    config = load("configs/tiny_chart.yaml", ["data.count=2", "run.steps=4"])
    with pytest.raises(Outage, match="sft-0 was stopped before its end"):
        experiment.learn_from_labels("c.yaml", [], tmp_path / "sft-0", config)
    assert not measured
    steps = 4
    experiment.learn_from_labels("c.yaml", [], tmp_path / "sft-0", config)
    assert measured == [tmp_path / "sft-0"]


def test_an_interrupt_waits_for_the_arm_to_save(tmp_path: Path) -> None:
    """As a terminal does it: both processes get the signal."""
    (tmp_path / "slow_arm.py").write_text(
        "import signal, sys, time\n"
        "stop = []\n"
        "signal.signal(signal.SIGINT, lambda *rest: stop.append(1))\n"
        "print('begun', flush=True)\n"
        "while not stop: time.sleep(0.05)\n"
        "time.sleep(1)\n"
        "open('saved', 'w').close()\n"
    )
    hear = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
    code = f"{hear}from training.jobs.experiment import _run\n_run('slow_arm')"
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "python -m slow_arm\n" and process.stdout.readline() == "begun\n"
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert (tmp_path / "saved").exists() and told.rstrip().endswith("KeyboardInterrupt")


def test_one_folder_holds_one_experiment(tmp_path: Path) -> None:
    from configs.load import ConfigError, load

    for _ in range(2):
        experiment.begin(tmp_path / "x", load("configs/tiny_chart.yaml", ["run.steps=60"]))
    with pytest.raises(ConfigError, match="begun with other settings"):
        experiment.begin(tmp_path / "x", load("configs/tiny_chart.yaml", ["run.steps=61"]))
    with pytest.raises(ConfigError, match="needs labels"):
        experiment.begin(tmp_path / "y", load("configs/tiny_chart.yaml", ["data.images=folder"]))
    assert not (tmp_path / "y").exists()  # the folder is free for settings that serve


def test_pairs_are_labelled_charts_with_their_programs(tmp_path: Path) -> None:
    from configs.load import load
    from training.data.synthetic_charts import draw
    from training.jobs.sft import read

    config = load("configs/tiny_chart.yaml", ["data.count=3"])
    examples = read(experiment.write_pairs(tmp_path / "pairs.jsonl", config))
    assert [draw(n, 0, "train").program in e.turns[0].text for n, e in enumerate(examples)] == [True] * 3
