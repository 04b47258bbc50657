"""Supervised learning: which tokens are taught, in what order, and a real run of the learner that lowers the loss."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.dialogue import Codec
from configs.load import ConfigError, load
from configs.schema import Prompts
from tests.training.tiny import picture
from training.jobs.sft import Example, TargetTurn, order, read, row
from training.learner.image_inputs import Pixels
from training.sft import main


def write(folder: Path, *rows: dict) -> Path:
    (folder / "1.png").write_bytes(picture(1))
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_pairs_and_traces_are_read(tmp_path: Path) -> None:
    turns = [{"text": "a", "feedback": "b", "taught": False}, {"text": "c"}]
    path = write(tmp_path, {"image": "1.png", "code": "draw()"}, {"image": "1.png", "turns": turns})
    path.write_text(path.read_text() + "\r\n", encoding="utf-8-sig")  # as some editors write it
    image = str(tmp_path / "1.png")
    assert read(path) == [
        Example(image, (TargetTurn("<think></think><answer>\ndraw()</answer>"),)),
        Example(image, (TargetTurn("a", "b", False), TargetTurn("c"))),
    ]


@pytest.mark.parametrize(
    "line, expected",
    [
        ({"image": "1.png"}, "no pair and no trace"),
        ({"image": "2.png", "code": "x"}, "there is no image"),
        ({"image": "1.png", "turns": []}, "without turns"),
        ({"image": "1.png", "turns": [{"words": "a"}]}, "no pair and no trace"),
        ({"image": "1.png", "turns": [{"text": 5}]}, "`text`, `code` and `feedback` are texts"),
        ({"image": "torn.png", "code": "x"}, "not a readable image"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: dict, expected: str) -> None:
    (tmp_path / "torn.png").write_bytes(picture(1)[:60])
    with pytest.raises(ConfigError, match=expected) as caught:
        read(write(tmp_path, {"image": "1.png", "code": "x"}, line))
    assert ":2:" in str(caught.value)


def test_bad_files_and_folders_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"image": "é"}'.encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        read(latin)
    pairs = write(tmp_path, {"image": "1.png", "code": "x"})
    assert main(["configs/tiny_chart.yaml", str(pairs), "--resume", str(tmp_path)]) == 2
    assert "not a run's folder" in capsys.readouterr().err
    assert not (tmp_path / "config.yaml").exists()


def test_every_epoch_has_every_example_once_in_another_order() -> None:
    drawn = [i for step in range(6) for i in order(9, 3, step, seed=1)]
    first, second = drawn[:9], drawn[9:]
    assert sorted(first) == sorted(second) == list(range(9)) and first != second
    assert order(9, 3, 4, seed=1) == drawn[12:15]


def test_loss_is_on_what_is_taught(policy_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(picture(1))
    codec = Codec.load(str(policy_folder), Prompts(user="Draw."))
    pad = codec.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    learner = SimpleNamespace(pixels=Pixels(codec.processor.image_processor), limits=SimpleNamespace(image_token=pad))
    turns = (
        TargetTurn("<think>wrong</think>", "no", False),
        TargetTurn("<think>right</think>", "yes"),
        TargetTurn("<answer>\nx</answer>"),
    )
    made, shown = row(Example(str(tmp_path / "1.png"), turns), codec, learner, 1_000_000)
    taught = codec.decode([int(i) for i in made.ids[made.sampled]])
    assert taught == "<think>right</think><answer>\nx</answer>"
    assert "no" in codec.decode([int(i) for i in made.ids]) and list(shown) == list(made.images)


def test_the_learner_learns_what_it_is_shown_and_resumes(policy_folder: Path, tmp_path: Path) -> None:
    data = write(tmp_path, {"image": "1.png", "code": "import x\nx.draw(1)"})
    settings = [
        "configs/tiny_chart.yaml", str(data), f"policy.path={policy_folder}", f"run.dir={tmp_path}", "run.name=sft",
        "sft.batch=2", "run.checkpoint_every=1000", "learner.lr=3e-3", "learner.warmup_steps=0",
        "cluster.logical_cpus=2",
    ]  # fmt: skip

    command = [sys.executable, "-m", "training.sft", *settings]
    env = {**os.environ, "RAY_AUTH_MODE": "disabled"}

    def go(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], capture_output=True, text=True, timeout=300, env=env)

    (tmp_path / "sft").mkdir()  # what a start that failed leaves behind
    begin = [*command, "run.steps=100000", "--resume", str(tmp_path / "sft")]
    first = subprocess.Popen(begin, stdout=subprocess.PIPE, text=True, env=env)
    assert first.stdout is not None
    printed = ""
    while "step    2/" not in printed:  # the test's own limit ends this where no step comes
        line = first.stdout.readline()
        assert line, printed
        printed += line
    first.send_signal(signal.SIGINT)
    printed += first.communicate(timeout=120)[0]
    assert first.returncode == 0 and "stopped cleanly; go on with: --resume" in printed, printed
    assert "has no checkpoint yet: starting it anew" in printed
    [kept] = (tmp_path / "sft" / "checkpoints").glob("step_*")
    done = int(kept.name.split("_")[1])
    again = go("run.steps=4")
    assert again.returncode == 2 and "exists" in again.stderr
    more = go(f"run.steps={done + 4}", "--resume", str(tmp_path / "sft"))
    assert more.returncode == 0, more.stdout + more.stderr
    assert f"step {done + 4:4d}/{done + 4}" in more.stdout
    lines = [json.loads(line) for line in (tmp_path / "sft" / "sft.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, done + 5))
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert load(tmp_path / "sft" / "config.yaml").sft.batch == 2
    assert (tmp_path / "sft" / "checkpoints" / f"step_{done + 4:06d}" / "model.safetensors").exists()
