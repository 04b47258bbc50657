"""What an engine is built with, and what building it leaves of the process around it."""

import logging
import logging.config
import os
from logging.handlers import MemoryHandler
from pathlib import Path

import pytest

from actors.engine.build import buffered_logs_kept, build_engine, preload_kept
from configs.schema import Engine


def test_a_buffering_log_goes_on_after_another_library_set_up_logging(tmp_path: Path) -> None:
    log = logging.getLogger("test_engine")
    file = logging.FileHandler(tmp_path / "log.txt")
    buffer = MemoryHandler(1, target=file)
    log.addHandler(buffer)
    try:
        with buffered_logs_kept():
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        log.error("still logged")
        assert not buffer.buffer, "records would be held for ever"
        assert "still logged" in (tmp_path / "log.txt").read_text()
    finally:
        log.removeHandler(buffer)
        file.close()


@pytest.mark.parametrize("before", [None, "/lib/mine.so"])
def test_what_vllm_has_its_processes_preload_is_not_left_to_others(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    if before is not None:
        monkeypatch.setenv("LD_PRELOAD", before)
    with preload_kept():
        os.environ["LD_PRELOAD"] = "/a path/libtcmalloc.so"
    assert os.environ.get("LD_PRELOAD") == before


def test_a_gpu_engine_computes_as_many_tokens_a_step_as_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """vLLM's own default for an AsyncLLM is 2,048: a prompt with a picture would take several steps."""
    import vllm.engine.arg_utils
    from vllm.v1.engine.async_llm import AsyncLLM

    monkeypatch.setattr(vllm.engine.arg_utils, "AsyncEngineArgs", dict)  # the GPU is not here: its arguments are enough
    monkeypatch.setattr(AsyncLLM, "from_engine_args", lambda arguments: arguments)
    built = build_engine(str(tmp_path), Engine(gpus=1), dtype="bfloat16", images=4, seed=0, sync="nccl")
    assert built["max_num_batched_tokens"] == 8192  # type: ignore[index]
    assert built["weight_transfer_config"] == {"backend": "nccl"}  # type: ignore[index]
