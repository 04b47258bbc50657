"""Where figures go beside metrics.jsonl: pictures to TensorBoard, and the line where Weights & Biases is absent."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.contracts import RenderResult
from actors.trajectory import Group, Reward, Trajectory, Turn
from configs.load import load
from training.run.metrics_log import MetricsLog, sheet
from training.run.preflight import plan


def png(colour: str, size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def member(reward: float, drawn: bytes | None) -> Trajectory:
    render = RenderResult(drawn is not None, 0.1, drawn, kind=None if drawn else "syntax")
    turn = Turn("", "answer", "code", render, None, 1, (0.0, 0.0, 0.0))
    target = (png("blue", (320, 160)),)
    return Trajectory((1,), (True,), (0.0,), (0,), target, (turn,), "answer", Reward(reward, reward, 1, 0))


GROUP = Group(0, 0, (member(0.1, None), member(0.9, png("green", (80, 160))), member(0.5, png("red", (160, 160)))))


def test_a_sheet_shows_the_target_and_renders_by_reward() -> None:
    pixels = np.asarray(sheet(GROUP))
    middle = [tuple(pixels[40, 164 * place + 40]) for place in range(4)]
    assert middle[0] == (0, 0, 255) and middle[1] == (0, 128, 0) and middle[2] == (255, 0, 0)
    assert middle[3] == (211, 211, 211), "grey where the program did not run"


def test_pictures_reach_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    journal = MetricsLog(tmp_path, load(None, []), 0)
    journal.write({"step": 1, "reward": 0.5})
    journal.show(1, [GROUP, GROUP])
    journal.show(2, [])
    journal.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    [shown] = board.Images("groups")
    assert shown.step == 1 and (shown.width, shown.height) == (4 * 164, 2 * 164)
    assert board.Scalars("reward")[0].value == 0.5


def test_weights_and_biases_without_the_package_is_one_line_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    [problem] = plan(load("configs/tiny_chart.yaml", ["run.wandb=true"]))[1]
    assert "pip install wandb" in problem and "\n" not in problem
    assert plan(load("configs/tiny_chart.yaml", []))[1] == []
