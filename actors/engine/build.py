"""Building vLLM's AsyncLLM, on CPUs and on GPUs, for policy, judge and inference alike.

Guarantees: one construction for every use; log-probabilities are those of the sampling distribution
(`processed_logprobs`), sampling settings come from us alone and never from a model's generation_config, and the
environment that vLLM reads at import is set before it is imported.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING, Any

from configs.schema import Engine

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


SHARED_MEMORY = "rrvf_shm"  # our own transfer engine (actors.engine.weight_engine), for engines on CPUs


HOST = "host"  # a GPU engine reads them as a checkpoint from shared memory; no transfer engine of vLLM's


def sync_backend(config: Engine) -> str:
    """How new weights reach an engine of these settings: SHARED_MEMORY, HOST or nccl."""
    if config.gpus == 0:
        return SHARED_MEMORY
    return "nccl" if config.sync == "auto" else config.sync


def prepare_environment(config: Engine) -> None:
    """Set what vLLM reads at import. On a CPU: no compilation (it costs 16 s at the first call), a fixed thread
    count and no core binding, because the cores are shared with renderers and the learner."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    if config.gpus == 0:
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        os.environ["OMP_NUM_THREADS"] = str(config.threads)
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # else vLLM puts one more process under its core


@contextmanager
def buffered_logs_kept() -> Iterator[None]:
    """Handlers that buffer (Ray Serve's) keep their target: vLLM's set-up of logging closes all that it finds, and one
    without a target holds every later record for ever, with its exception and all that hangs on that."""
    loggers = [log for log in logging.root.manager.loggerDict.values() if isinstance(log, logging.Logger)]
    buffers = [h for log in (logging.root, *loggers) for h in log.handlers if isinstance(h, MemoryHandler)]
    kept = [(handler, handler.target) for handler in buffers]
    try:
        yield
    finally:
        for handler, target in kept:
            handler.setTarget(target)


@contextmanager
def preload_kept() -> Iterator[None]:
    """What vLLM has its own processes preload on a CPU is not left to those that anybody starts later: `ld.so` takes no
    path with a blank, and says so on the stderr of each."""
    before = os.environ.get("LD_PRELOAD")
    try:
        yield
    finally:
        os.environ.pop("LD_PRELOAD", None)
        if before is not None:
            os.environ["LD_PRELOAD"] = before


@buffered_logs_kept()
@preload_kept()
def build_engine(model: str, config: Engine, *, dtype: str, images: int, seed: int, sync: str | None) -> "AsyncLLM":
    """An AsyncLLM for `model` (hub name or folder) that takes up to `images` pictures a prompt.

    `sync`: how new weights arrive (`sync_backend`), or None for an engine that is never updated. Raises
    ValueError with one line when the model cannot be loaded. Takes 15-20 s for a tiny model on a CPU.
    """
    prepare_environment(config)
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    options: dict[str, Any] = {
        "model": model,
        "dtype": dtype,
        "seed": seed,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "enable_prefix_caching": config.prefix_caching,
        "enforce_eager": config.enforce_eager,
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",
        "limit_mm_per_prompt": {"image": images, "video": 0},
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        # with free white space JSON may go on with blanks for ever
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if sync is not None and sync != HOST:
        options["weight_transfer_config"] = {"backend": sync}
    if config.gpus == 0:
        options |= {
            "distributed_executor_backend": "uni",
            "block_size": 32,
            "kv_cache_memory_bytes": config.kv_cache_mb * 2**20,
            "skip_mm_profiling": True,
            "mm_processor_cache_gb": 0.25,  # vLLM's default lets every process grow by 4 GiB of pictures
        }
    else:
        options |= {
            "tensor_parallel_size": config.gpus,
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "max_num_batched_tokens": config.max_num_batched_tokens,  # vLLM's default for an AsyncLLM is 2,048
        }
    try:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**options))
    except (OSError, ValueError) as error:
        raise ValueError(f"{model} cannot be served: {str(error).splitlines()[0]}") from error
