"""One served application for all tests of this folder: it takes most of a minute to come up, and ends with them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.live import Live, free_port, served


@pytest.fixture(scope="package")
def front() -> str:
    """The origin of a page elsewhere that may use the server."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="package")
def live(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, front: str) -> Iterator[Live]:
    """The shipped inference YAML with an untrained policy, few tokens a turn and little room in work."""
    args = {
        "model": str(tiny_model),
        "run.dir": str(tmp_path_factory.mktemp("runs")),
        "inference.watch": False,
        "engine.max_model_len": 512,
        "sampling.max_tokens": 48,
        "http.max_in_flight": 8,
        "http.body_s": 3,
        "http.origins": front,
    }
    with served(tmp_path_factory.mktemp("live"), args) as running:
        yield running
