"""What many tests share: one untrained embedded policy on disk, and pictures to look at."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from configs.schema import Prompts

ROOT = Path(__file__).parents[1]
LONGEST = ("test_train.py", "test_live.py")
# files and folders whose tests start processes: Ray, vLLM, browsers, jails, commands; `make check` leaves them out
PROCESSES = (
    "actors/engine/test_policy.py", "actors/test_policy_load.py", "actors/replay/test_queue.py", "serving/jailed",
    "serving/render", "serving/judge/test_service.py", "serving/judge/test_mllm_engine.py", "serving/pages",
    "serving/viewer/test_app.py", "serving/test_app.py", "serving/test_live.py", "serving/test_malformed.py",
    "serving/test_serve_yaml.py", "training/jobs", "training/metrics", "training/run/test_checkpoint.py",
    "training/run/test_dashboard.py", "training/run/test_ledger_summary.py", "training/learner/test_loop.py",
    "training/learner/test_update.py", "training/learner/test_weight_sync_gpu.py", "training/data",
    "nodes",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only the tests that start no process")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take longest begin first, so that two workers end together."""
    items.sort(key=lambda item: next((n for n, name in enumerate(LONGEST) if item.location[0].endswith(name)), 9))
    if config.getoption("--quick"):
        places = [ROOT / "tests" / name for name in PROCESSES]
        away = [item for item in items if any(item.path.is_relative_to(place) for place in places)]
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in away]


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
