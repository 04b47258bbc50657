"""The whole circle with a real engine, for a family without an adapter."""

from pathlib import Path

import pytest

from tests.training.families.models import build
from training.check_model import main

STEPS = ("prompt", "parity", "one step", "weight sync", "checkpoint")


@pytest.mark.parametrize("family", ["pixtral"])
def test_a_family_passes_the_circle(family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(family, tmp_path / family)
    code = main([str(tmp_path / family), "engine.kv_cache_mb=64"])
    shown = capsys.readouterr().out
    assert code == 0 and all(step in shown for step in STEPS), shown


def test_what_is_no_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "NO" in capsys.readouterr().out
