"""What many tests share: one untrained embedded policy on disk, and pictures to look at."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from PIL import Image, ImageDraw
from xdist.scheduler import LoadFileScheduling

from configs.schema import Prompts

ROOT = Path(__file__).parents[1]
settings.register_profile("any machine", deadline=None)  # an example has no time limit: machines are busy
settings.load_profile("any machine")
SHARED = ("tests/serving/live/",)  # folders whose files share what they started: one worker has them, one after another
LONGEST = (
    "tests/training/jobs/test_train.py",
    "tests/serving/live/",
    "tests/nodes/test_jobs.py",
    "tests/nodes/test_recipes.py",
)
# files, folders and tests that start processes: Ray, vLLM, browsers, jails, commands; `make check` leaves them out
PROCESSES = (
    "actors/engine/test_build.py", "actors/engine/test_living.py", "actors/engine/test_policy.py",
    "actors/replay/test_queue.py", "actors/rollout/test_unforeseen.py", "actors/test_outside.py",
    "actors/test_policy_load.py", "domains", "gpu",
    "nodes", "serving/jailed", "serving/judge/test_mllm_engine.py", "serving/judge/test_own.py",
    "serving/judge/test_ranking.py", "serving/judge/test_service.py", "serving/pages", "serving/render",
    "serving/live", "serving/test_app.py", "serving/viewer/test_app.py", "test_hostile.py",
    "test_pages.py::test_commands_exist", "training/base/test_pages.py", "training/base/test_repairs.py",
    "training/base/test_start.py", "training/data", "training/families/test_circle.py", "training/jobs",
    "training/learner/test_loop.py", "training/learner/test_update.py", "training/learner/test_weight_sync_gpu.py",
    "training/metrics", "training/run/test_checkpoint.py", "training/run/test_dashboard.py",
    "training/run/test_gpu_plan.py", "training/run/test_ledger_summary.py", "training/run/test_metrics_log.py",
    "training/run/test_preflight.py", "training/run/test_verify.py",
)  # fmt: skip
PROGRAMS = ("python", "bwrap", "node", "serve", "ray", "chrome")  # that those start


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only the tests that start no process")


def _starts_no_process(event: str, arguments: tuple) -> None:
    """Python tells of every process that it starts: PROCESSES is complete."""
    if event == "subprocess.Popen" and Path(os.fsdecode(arguments[0])).name.startswith(PROGRAMS):
        raise AssertionError(f"a quick test starts {arguments[0]}: its file belongs into PROCESSES")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is left out is not imported either."""
    place = collection_path.relative_to(ROOT / "tests").as_posix() if collection_path != ROOT / "tests" else ""
    return True if config.getoption("--quick") and place in PROCESSES else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take longest begin first, so that two workers end together."""
    items.sort(key=lambda item: next((n for n, name in enumerate(LONGEST) if item.nodeid.startswith(name)), 9))
    if config.getoption("--quick"):
        away = [item for item in items if item.nodeid.removeprefix("tests/").startswith(PROCESSES)]
        config.hook.pytest_deselected(items=away)
        sys.addaudithook(_starts_no_process)
        items[:] = [item for item in items if item not in away]


class Folders(LoadFileScheduling):
    """Tests of one file, or of one folder of SHARED, to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in SHARED if nodeid.startswith(folder)), super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Folders:
    return Folders(config, log)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained embedded policy in Hugging Face layout."""
    from training.data.tiny_policy import build

    path = tmp_path_factory.mktemp("policy") / "untrained"
    build(path, seed=11)  # one whose greedy answers are text: many untrained ones say nothing or half a character
    return path


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """picture(colour, size): a PNG with a coloured box on white."""

    def draw(colour: str = "red", size: tuple[int, int] = (168, 140)) -> bytes:
        image = Image.new("RGB", size, "white")
        ImageDraw.Draw(image).rectangle((size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2), fill=colour)
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()

    return draw


@pytest.fixture(scope="session")
def prompts() -> Prompts:
    return Prompts(system="tool", direct_system="direct", user="draw", last_turn=" last")
