"""Every recipe in miniature: the same YAML with a tiny model and CPUs in place (`+cpu`), two steps on one cluster."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.nodes.rig import ROOT, Rig

RECIPES = ("chart_7b", "chart_7b_8gpu", "chart_3b_1gpu", "chart_qwen3vl", "web_7b")
FEW = ("data.count=16", "queue.drop_zero_variance=false", "render.concurrency=1")


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    folder = Path(f"/tmp/rrvf-recipes-{os.getpid()}")
    made = Rig(folder, f"recipes-{os.getpid()}", cpus=8)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_makes_two_steps_in_miniature(name: str, rig: Rig, picture: Callable[..., bytes]) -> None:
    images = "data.images=drawn"
    if name == "web_7b":
        pages = rig.shared / "pages"
        pages.mkdir()
        for number, colour in enumerate(("red", "green", "blue", "black", "gray", "gold")):
            (pages / f"{number}.png").write_bytes(picture(colour))
        images = f"data.images={pages}"
    command = [sys.executable, "-m", "training.train", f"configs/{name}.yaml", "+cpu", images, *FEW]
    done = subprocess.run(
        [*command, f"cluster.address={rig.address}", f"run.dir={rig.shared}/runs"],
        cwd=ROOT, env=rig.environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    run = rig.shared / "runs" / name
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2] and all(row["skipped"] == 0 for row in rows)
    assert len(list((run / "checkpoints").glob("step_*/state.json"))) == 2
