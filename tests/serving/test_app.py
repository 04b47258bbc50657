"""The HTTP door before anything is started: what is missing or taken is one clear line."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from configs.load import ConfigError, load
from configs.runs import checkpoint_path, latest
from serving.app import free_port, newest_model

ROOT = Path(__file__).parents[2]


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: .*http\.port=PORT"):
            free_port("127.0.0.1", port)


def test_the_newest_finished_checkpoint_is_served(tmp_path: Path) -> None:
    config = load(None, [f"run.dir={tmp_path}"])
    with pytest.raises(ConfigError, match="train one first"):
        newest_model(config)
    run = tmp_path / "a"
    for step in (5, 10):
        checkpoint_path(run, step).mkdir(parents=True)
    (run / "checkpoints" / ".step_000015").mkdir()  # still being written
    (tmp_path / "latest").symlink_to("a")
    assert latest(run) == checkpoint_path(run, 10)
    assert newest_model(config) == str(checkpoint_path(run, 10))


def test_serving_without_a_checkpoint_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serving.app", "configs/tiny_chart.yaml", f"run.dir={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [
        f"error: no checkpoint under {tmp_path}/latest; train one first (make train) or name one: model=DIR"
    ]
