"""What a run says before it starts anything, of machines that are not this one."""

import os
from pathlib import Path

import pytest

from configs.load import load
from training.learner.ranks import grow_segments
from training.run import preflight

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize(
    ("name", "build", "says"),
    [
        ("tiny_chart", "gpu", "engine.gpus=0 needs vLLM's build for CPUs, and the one for GPUs is installed here"),
        ("chart_3b_1gpu", "cpu", "engine.gpus=1 needs vLLM's build for GPUs: pip install -e '.[gpu]'"),
        ("tiny_chart", "cpu", None),
        ("chart_3b_1gpu", "gpu", None),
    ],
)
def test_the_other_build_of_vllm_is_one_line(
    name: str, build: str, says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM chooses its platform by what is installed, and would fail minutes later in an engine's log."""
    monkeypatch.setattr(preflight, "vllm_build", lambda: build)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _, problems = preflight.plan(load(CONFIGS / f"{name}.yaml", []))
    found = [line for line in problems if "vLLM's build" in line]
    assert len(found) == (says is not None) and all(line.startswith(says or "") for line in found)


def test_the_allocator_grows_its_segments_unless_a_user_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:64")
    grow_segments()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "max_split_size_mb:64"
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    grow_segments()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
