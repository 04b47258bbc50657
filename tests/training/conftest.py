"""One policy with random weights on disk for all tests of the learner."""

from pathlib import Path

import pytest
import torch

from tests.training import tiny

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_model(tmp_path_factory.mktemp("learner") / "policy")
