"""The loop under Ray Train with the real queue: steps, journal, checkpoints, a stop and a resume."""

import json
import os
import re
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from safetensors.torch import load, load_file, save_file

from actors import local_ray
from actors.contracts import Outage, Sample
from actors.engine.policy import UpdateReport
from actors.replay.queue import ReplayQueue
from configs.load import dump
from configs.schema import Config
from tests.training import plain, tiny
from tests.training.run.test_dashboard import gauges, named
from training import rerun
from training.learner.loop import _ask, train_loop
from training.run import checkpoint
from training.run.ledger_summary import read
from training.run.ray_env import runtime_env

GROUPS, MEMBERS = 2, 3


@ray.remote
class Receiver:
    """Stands where a policy actor stands: takes weights, remembers what it was sent, and answers with it, computed by
    plain transformers. `passed_over`: a part of names whose tensors it keeps as they were at first."""

    def __init__(self, model: Path, passed_over: str = "") -> None:
        self.got: list[tuple[int, int, float]] = []
        self._model, self._passed_over = model, passed_over
        self._weights: dict[str, Any] = {}

    def stats(self) -> dict[str, float]:
        return {"version": self.got[-1][0] if self.got else 0}

    def update(self, blob: Any, crc32: int, version: int) -> UpdateReport:
        assert zlib.crc32(blob.data) == crc32
        weights = load(blob.tobytes())
        self.got.append((version, len(weights), float(weights["lm_head.weight"].sum())))
        kept = {n: w for n, w in self._weights.items() if self._passed_over and self._passed_over in n}
        self._weights = weights | kept
        return UpdateReport(version, 0.001, 1)

    def sample(self, prompt: list[int], images: list[bytes], most: int) -> Sample:
        """Always the same tokens, with their log-probabilities under the weights that are here."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(self._model, folder, dirs_exist_ok=True)
            save_file(self._weights, Path(folder) / "model.safetensors", metadata={"format": "pt"})
            return plain.continued(folder, prompt, images, tuple(range(30, 30 + most)), self.got[-1][0])

    def seen(self) -> list[tuple[int, int, float]]:
        return self.got


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    env = {"OMP_NUM_THREADS": "1", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1", "PYTHONPATH": os.getcwd()}
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    local_ray.start(4, runtime_env=runtime_env(own=True) | {"env_vars": env})
    yield
    ray.shutdown()


def config(steps: int) -> Config:
    made = Config()
    made.run.steps, made.run.checkpoint_every = steps, 2
    made.queue.groups_per_step, made.queue.max_staleness, made.queue.take_s = GROUPS, 8, 60
    made.rollout.group_size = MEMBERS
    return made


class Feed:
    """Plays a rollout actor: made-up groups, determined by their number, as fast as they are admitted."""

    def __init__(self, settings: Config, run: Path, snapshot: Path | None) -> None:
        images, journal = [f"{i}.png" for i in range(16)], str(run / "queue.jsonl")
        self.queue = ReplayQueue.options(num_cpus=0, max_concurrency=64).remote(settings, images, snapshot, journal)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            ticket = ray.get(self.queue.admit.remote("feed"))
            if ticket is not None:
                [group] = tiny.groups(1, MEMBERS, seed=ticket.group)
                named = replace(group, group=ticket.group, prompt=ticket.prompt)
                ray.get(self.queue.put.remote(ticket, ["done"] * MEMBERS, named))

    def end(self) -> None:
        self._over.set()
        self._thread.join(20)


def fit(settings: Config, run: Path, model: Path, feed: Feed, receiver: Any, resume: Path | None = None) -> Any:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    loop = {
        "config": settings,
        "model": str(resume or model),
        "run": str(run),
        "start": int(resume.name.split("_")[1]) if resume else 0,
        "resume": str(resume) if resume else None,
        "queue": feed.queue,
        "policies": [receiver],
    }
    return TorchTrainer(
        train_loop,
        train_loop_config=loop,
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name="learner", storage_path=str(run / ".train")),
    ).fit()


def test_a_run_stops_on_request_resumes_and_trains_nothing_twice(
    cluster: None, policy_folder: Path, tmp_path: Path
) -> None:
    receiver = Receiver.options(num_cpus=0).remote(policy_folder)
    settings = config(steps=5)
    (tmp_path / "STOP").touch()
    feed = Feed(settings, tmp_path, None)
    fit(settings, tmp_path, policy_folder, feed, receiver)
    feed.end()
    first = checkpoint.latest(tmp_path)
    assert first is not None and first.name == "step_000001"

    (tmp_path / "STOP").unlink()
    (tmp_path / "metrics.jsonl").open("a").write('{"step": 2, "reward": 0}\n{"st')  # as a kill would leave it
    feed = Feed(settings, tmp_path, first / "queue.bin")
    result = fit(settings, tmp_path, policy_folder, feed, receiver, first)
    feed.end()
    ray.get(feed.queue.write_ledger.remote())

    trained = [(e.step, e.group, e.prompt) for e in read(tmp_path) if e.state == "consumed"]
    assert len(trained) == len({group for _, group, _ in trained}) == 5 * GROUPS
    assert len({prompt for _, _, prompt in trained}) == 5 * GROUPS  # within an epoch no prompt comes twice

    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        assert line["groups"] == GROUPS and line["trajectories"] == GROUPS * MEMBERS
        assert line["grad_norm"] > 0 and line["entropy"] > 0 and line["tokens_per_s"] > 0
        assert {"reward", "exec_rate", "similarity", "staleness_max", "behaviour_k3", "ess", "lr"} <= line.keys()
        assert {"wait_s", "update_s", "sync_s", "sync_pause_s", "checkpoint_error"} <= line.keys()
    shown = {name for name in named() if name.startswith("ray_rrvf_train_")}
    assert shown <= gauges("train", lines[-1]), "the dashboard shows a figure that no step has"
    assert lines[0]["same_version"] == 1.0 and lines[4]["same_version"] == 0.0

    names = [path.name for path in checkpoint.all_checkpoints(tmp_path)]
    assert names[-2:] == ["step_000004", "step_000005"]
    versions = [version for version, *_ in ray.get(receiver.seen.remote())]
    assert versions == [0, 1, 1, 2, 3, 4, 5]
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    on_disk = load_file(newest / "model.safetensors")
    sent = ray.get(receiver.seen.remote())[-1]
    assert sent[1:] == (len(on_disk), float(on_disk["lm_head.weight"].sum()))
    pointer = Path(result.checkpoint.path) / "pointer.json"
    assert json.loads(pointer.read_text())["path"] == str(newest)
    assert list((tmp_path / "tensorboard").glob("events*"))
    advantages = [json.loads(line) for line in (tmp_path / "advantages.jsonl").read_text().splitlines()]
    assert [row["step"] for row in advantages] == [1, 2, 3, 4, 5]
    for row in advantages:
        consumed = {str(group) for step, group, _ in trained if step == row["step"] - 1}
        assert set(row["groups"]) == consumed and all(len(a) == MEMBERS for a in row["groups"].values())
        assert all(abs(sum(a)) < 1e-3 for a in row["groups"].values()) and any(map(any, row["groups"].values()))


@pytest.mark.parametrize(
    ("part", "expected"), [("", ""), ("lm_head", "weights 1 of qwen2_5_vl: .* trained weights do not")]
)
def test_an_engine_that_passes_over_weights_ends_the_run_at_once(
    cluster: None, policy_folder: Path, tmp_path: Path, part: str, expected: str
) -> None:
    receiver = Receiver.options(num_cpus=0).remote(policy_folder, part)
    settings = config(steps=2)
    settings.learner.lr = 0.05
    feed = Feed(settings, tmp_path, None)
    failed = ""
    try:
        fit(settings, tmp_path, policy_folder, feed, receiver)
    except Exception as error:
        failed = str(getattr(error, "worker_failures", error))
    feed.end()
    assert re.search(expected, failed, re.S) and bool(failed) == bool(expected), failed


def test_a_recorded_run_trains_again_to_the_same_figures(
    cluster: None, policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(steps=3)
    settings.run.record = True
    feed = Feed(settings, tmp_path, None)
    fit(settings, tmp_path, policy_folder, feed, Receiver.options(num_cpus=0).remote(policy_folder))
    feed.end()
    (tmp_path / "config.yaml").write_text(dump(settings))
    assert rerun.main([str(tmp_path)]) == 0
    assert "3 steps; all figures as recorded" in capsys.readouterr().out
    assert rerun.main([str(tmp_path), "learner.lr=1e-3"]) == 1
    assert "other figures in steps [2, 3]" in capsys.readouterr().out


def test_the_queue_that_does_not_answer_is_an_outage(cluster: None) -> None:
    @ray.remote
    class Silent:
        async def take(self) -> None:
            import asyncio

            await asyncio.sleep(60)

        async def fail(self) -> None:
            raise Outage("queue", "no full batch")

    actor = Silent.options(num_cpus=0).remote()
    with pytest.raises(Outage, match=r"queue: no answer within 0\.2 s: take a batch"):
        _ask(actor.take.remote(), 0.2, "take a batch")
    with pytest.raises(Outage, match="no full batch"):
        _ask(actor.fail.remote(), 10, "take a batch")
    ray.kill(actor)
    with pytest.raises(Outage, match="the queue is gone"):
        _ask(actor.take.remote(), 10, "take a batch")
