"""What many tests share: one untrained embedded policy on disk, and pictures to look at."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from configs.schema import Prompts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest begin first, so that two workers end together."""
    longest = ("test_train.py", "test_live.py")
    items.sort(key=lambda item: next((n for n, name in enumerate(longest) if item.location[0].endswith(name)), 9))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained embedded policy in Hugging Face layout."""
    from training.data.tiny_policy import build

    path = tmp_path_factory.mktemp("policy") / "untrained"
    build(path, seed=0)
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
