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
from configs.load import ConfigError, load
from training.evaluation.heldout import Evaluation, Row
from training.jobs import experiment
from training.jobs.experiment import ARMS, TURNS
from training.jobs.experiment_report import report

FACTS = {"kind": "bar", "title": "Sales", "colour": "red", "values": [3, 5]}


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(out, "PNG")
    return out.getvalue()


def evaluation(folder: Path, ran: int, modes: tuple[str, ...]) -> Evaluation:
    """Four pictures a set, of which the first `ran` programs run, are .4 alike and read every value."""
    found: Evaluation = {}
    for name in ("heldout", "third"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        rows = []
        for n in range(4):
            path = folder / name / f"{n}.png"
            path.write_bytes(png("white"))
            good = n < ran
            read = {"value": float(good), "count": 1.0}
            shot = png("red") if good else None
            rows.append(Row(str(path), good, 0.4 * good, "<t>", "x", shot, 9, read, {"value": 0.0, "count": 0.5}))
        found[name] = dict.fromkeys(modes, rows)
    return found


def leave(folder: Path, name: str, ran: int, modes: tuple[str, ...] = ("greedy", "sampled")) -> None:
    """What an arm leaves behind."""
    run = folder / name
    run.mkdir(parents=True)
    lines = [{"step": s, "reward": s, "exec_rate": 0.5, "similarity": 0.2, "turns": s} for s in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / experiment.AFTER).write_bytes(pickle.dumps(evaluation(folder / "images", ran, modes)))


def checkpoint(run: Path, step: int) -> None:
    made = run / "checkpoints" / f"step_{step:06d}"
    made.mkdir(parents=True)
    (made / "state.json").write_text(json.dumps({"step": step}))


def test_true_programs_and_the_bases_own_pictures_are_those_of_the_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.jobs.experiment_report import true_programs

    monkeypatch.setattr(experiment, "CACHE", tmp_path)
    for file, image in (("tiny_chart", (300, 200)), ("tiny_web", (294, 252))):
        config = load(f"configs/{file}.yaml", ["data.count=4"])
        own = experiment.own(config, "heldout", 3)
        assert [Image.open(path).size for path in own.paths] == [image] * 3 and own.domain == config.data.domain
        assert true_programs(config, own) == pytest.approx(1.0)
        (tmp_path / file).mkdir()
        rows = [json.loads(line) for line in experiment.pairs("labels", tmp_path / file, config, own).open()]
        assert len(rows) == 4 and "<answer>" in rows[0]["turns"][0]["text"]
    with pytest.raises(ConfigError, match=r"the experiment needs labels: data.domain=svg has no shipped pictures"):
        experiment.begin(tmp_path / "x", load("configs/tiny_svg.yaml", []))


def test_the_table_holds_every_arm_with_its_spread(tmp_path: Path) -> None:
    from training.data.image_sets import ImageSet

    leave(tmp_path, "base", 1, ("greedy", "sampled", "best of 8"))
    for seed in (0, 1):
        for arm in (*ARMS, *TURNS):
            leave(tmp_path, f"{arm.name}-{seed}", 3 + seed if arm.name == "rrvf" else 2)
    (tmp_path / "best-rate.json").write_text(json.dumps({"rates": {"0.0002": 0.5}, "best": "0.0002"}))
    picture = tmp_path / "images" / "heldout" / "0.png"
    sets = [ImageSet(name, (str(picture),), (FACTS,)) for name in ("heldout", "third")]
    text = report(tmp_path, load("configs/tiny_chart.yaml", []), 2, sets)
    found = json.loads((tmp_path / "results.json").read_text())
    held = found["results"]["heldout"]["sampled"]
    assert held["base"]["runs"] == {"mean": 0.25, "sd": None} and held["base"]["n"] == 4
    assert held["rrvf"]["value"]["mean"] == 0.875 and held["rrvf"]["value"]["chance"] == 0
    assert found["differences"]["third"]["greedy"]["rrvf - base"]["value"][0] == 0.625
    mean, low, high = found["differences"]["heldout"]["greedy"]["rrvf - runs"]["similarity"]
    assert mean == pytest.approx(0.15) and low <= mean <= high
    assert "| rrvf | 0.875 ± 0.177 |" in text and "| chance | - | - | 0.000 | 0.500 |" in text
    assert "| best of 8, n = 4 |" in text and "- best: learning rate 0.0002" in text
    assert all(arm.meaning in text for arm in ARMS)
    assert "- turns a trajectory: rrvf 1.50, runs 1.50, exchanged 1.50\n" in text and TURNS[0].meaning not in text
    text = report(tmp_path, load("configs/tiny_chart.yaml", []), 2, sets, (*ARMS, *TURNS))
    assert TURNS[0].meaning in text and "- rrvf - direct: similarity +0.150" in text and "turns 1.50\n" in text
    for name in ("curves.png", "pictures.png"):
        assert Image.open(tmp_path / name).width > 400


def test_arms_are_chosen_by_name_in_the_order_of_the_table() -> None:
    assert [arm.name for arm in experiment.chosen(["turns", "rrvf"])] == ["rrvf", "turns"]
    with pytest.raises(ConfigError, match="--arms x,y: there are rrvf, runs"):
        experiment.chosen(["x", "rrvf", "y"])
    with pytest.raises(ConfigError, match="needs rrvf"):
        experiment.chosen(["direct"])


def test_what_is_finished_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(experiment, "_run", lambda *arguments: started.append(arguments))
    checkpoint(tmp_path / "rrvf-0", 4)
    assert experiment.learn_from_pictures("c.yaml", [], tmp_path / "rrvf-0", 4).endswith("step_000004")
    assert not started
    with pytest.raises(Outage, match="rrvf-0 was stopped before its end"):
        experiment.learn_from_pictures("c.yaml", [], tmp_path / "rrvf-0", 6)
    assert started == [("training.train", "--resume", str(tmp_path / "rrvf-0"))]
    with pytest.raises(Outage, match="rrvf-1 was stopped before its end"):
        experiment.learn_from_pictures("c.yaml", ["x=1"], tmp_path / "rrvf-1", 6)
    assert started[1:] == [("training.train", "c.yaml", "x=1", "run.name=rrvf-1")]


def test_a_supervised_arm_takes_the_rate_that_is_best_on_the_validation_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    def run(module: str, *arguments: str) -> None:
        name = next(a for a in arguments if a.startswith("run.name=")).removeprefix("run.name=")
        rates.append(float([a for a in arguments if a.startswith("learner.lr=")][-1].removeprefix("learner.lr=")))
        checkpoint(tmp_path / name, 4)

    def measure(config: object, model: str, folder: Path, *rest: object) -> Evaluation:
        rows = evaluation(tmp_path / "images", 3 if f"{experiment.RATES[1]:g}" in folder.name else 2, ("greedy",))
        return {"validation": rows["heldout"]}

    monkeypatch.setattr(experiment, "_run", run)
    monkeypatch.setattr(experiment, "measure", measure)
    config = load("configs/tiny_chart.yaml", ["run.steps=4"])
    for seed in (0, 1):
        run_folder = tmp_path / f"labels-{seed}"
        newest = experiment.learn_from_pairs("c.yaml", [], run_folder, config, tmp_path / "pairs.jsonl")
        assert newest.startswith(str(run_folder))
    assert rates == [*experiment.RATES, experiment.RATES[1], experiment.RATES[1]], "tried once, then the best a seed"


def test_rejection_sampling_keeps_the_judges_best_of_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.data.image_sets import ImageSet

    def row(path: str, text: str, similarity: float) -> Row:
        return Row(path, similarity > 0, similarity, text, "x", None, 9, {}, {})

    modes = {f"sample {n}": [row("a", f"a{n}", 0.1 * n), row("b", f"b{n}", 0.3), row("c", f"c{n}", 0)] for n in (1, 2)}
    monkeypatch.setattr(experiment, "measure", lambda *rest: {"train": modes})
    images = ImageSet("train", ("a", "b", "c"))
    chosen = experiment.own_best(load("configs/tiny_chart.yaml", []), images, tmp_path)
    assert chosen == [("a", "a2")], "b's answers are all alike, none of c's runs"


@pytest.mark.parametrize(
    ("whole", "number", "status", "lines"),
    [
        (True, signal.SIGINT, 130, "stopped; start again to go on\n"),
        (False, signal.SIGTERM, 130, "stopped; start again to go on\n"),
        (False, signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_an_arm_saves_when_the_experiment_is_interrupted_or_killed(
    tmp_path: Path, whole: bool, number: signal.Signals, status: int, lines: str
) -> None:
    """By a terminal, which signals the group, and by `kill`, which signals the experiment alone."""
    (tmp_path / "slow_arm.py").write_text(
        "import signal, sys, time\n"
        "stop = []\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, lambda *rest: stop.append(1))\n"
        "print('begun', flush=True)\n"
        "while not stop: time.sleep(0.05)\n"
        "time.sleep(1)\n"
        "open('saved', 'w').write(str(len(stop)))\n"
    )
    code = "from configs.command import run\nfrom training.jobs.experiment import _run\n"
    code += "raise SystemExit(run(lambda: _run('slow_arm'), hint='start again to go on'))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "python -m slow_arm\n" and process.stdout.readline() == "begun\n"
    (os.killpg if whole else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=120)  # also the arm's, whose end it waits for
    assert process.returncode == status and errors == lines
    assert (tmp_path / "saved").read_text() == "1", "one interrupt is one, and its end is waited for"


def test_one_folder_holds_one_experiment(tmp_path: Path) -> None:
    for _ in range(2):
        experiment.begin(tmp_path / "x", load("configs/tiny_chart.yaml", ["run.steps=60"]))
    with pytest.raises(ConfigError, match="begun with other settings"):
        experiment.begin(tmp_path / "x", load("configs/tiny_chart.yaml", ["run.steps=61"]))
    with pytest.raises(ConfigError, match="needs labels"):
        experiment.begin(tmp_path / "y", load("configs/tiny_chart.yaml", ["data.images=folder"]))
    assert not (tmp_path / "y").exists()  # the folder is free for settings that serve


def test_pairs_are_pictures_with_the_programs_they_stand_for(tmp_path: Path) -> None:
    from training.data.image_sets import ImageSet
    from training.data.synthetic_charts import draw
    from training.jobs.sft import read

    config = load("configs/tiny_chart.yaml", ["data.count=3"])
    picture = tmp_path / "x.png"
    picture.write_bytes(png("white"))
    images = ImageSet("train", (str(picture),), (FACTS,))
    examples = read(experiment.pairs("labels", tmp_path, config, images))
    assert [draw(n, 0, "train").program in e.turns[0].text for n, e in enumerate(examples)] == [True] * 3
    [shifted] = read(experiment.pairs("shifted", tmp_path, config, images))
    assert "plt.bar([1,2],[3,5],color='red')" in shifted.turns[0].text and shifted.image == str(picture)
