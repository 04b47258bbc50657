"""How the four calls of vLLM's transfer protocol reach several policy actors (the transfer itself needs GPUs)."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from actors import local_ray
from actors.contracts import Outage
from actors.engine.policy import UpdateReport
from configs.schema import Config
from training.learner import model
from training.learner.model import load_policy, named_shapes, named_weights
from training.learner.weight_sync_gpu import DeviceTransfer, Engines


@ray.remote
class Actor:
    """Stands where a policy actor stands and notes what it is asked."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked: list[tuple[str, Any]] = []

        self.joined = False

    def connected(self) -> bool:
        return self.joined

    def connect(self, info: dict[str, Any]) -> None:
        self.joined = True
        self.asked.append(("connect", info))

    def disconnect(self) -> None:
        self.joined = False
        self.asked.append(("disconnect", None))

    def die(self) -> None:
        os._exit(1)

    def begin(self) -> None:
        self.asked.append(("begin", None))

    def write(self, info: Any) -> None:
        if info == "never":
            time.sleep(60)
        self.asked.append(("write", info))

    def commit(self, version: int) -> UpdateReport:
        self.asked.append(("commit", version))
        return UpdateReport(version, 0.1 * self.number, self.number)

    def seen(self) -> list[tuple[str, Any]]:
        return self.asked


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    local_ray.start(2)
    yield
    ray.shutdown()


def test_every_replica_gets_its_own_ranks_and_the_same_calls(cluster: None) -> None:
    actors = [Actor.remote(n) for n in range(3)]  # type: ignore[attr-defined]
    engines = Engines(actors, gpus=2)
    engines.version, engines.deadline = 7, time.monotonic() + 60
    engines.init_weight_transfer_engine({"world_size": 1 + engines.ranks, "rank_offset": 1})
    engines.start_weight_update()
    engines.update_weights({"names": ["a"]})
    engines.finish_weight_update()
    seen = ray.get([a.seen.remote() for a in actors])
    assert [calls[0] for calls in seen] == [("connect", {"world_size": 7, "rank_offset": 1 + 2 * n}) for n in range(3)]
    assert all(calls[1:] == [("begin", None), ("write", {"names": ["a"]}), ("commit", 7)] for calls in seen)
    assert [r.running for r in engines.reports] == [0, 1, 2]


def test_a_replica_that_died_is_left_out_and_taken_in_again_when_it_is_back(cluster: None, tmp_path: Path) -> None:
    """A transfer group with a rank that is gone hangs; a replica that comes back has no connection."""
    actors = [Actor.options(max_restarts=-1).remote(n) for n in range(3)]  # type: ignore[attr-defined]
    engines = Engines(actors, gpus=2)
    engines.deadline = time.monotonic() + 120
    ray.get([a.seen.remote() for a in actors])  # up, as a run's engines are before the first transfer

    def connect() -> list[int]:
        """What a sender does before it sends; the offsets that the replicas were given."""
        if not engines.take_stock():
            engines.init_weight_transfer_engine({"world_size": 1 + engines.ranks, "rank_offset": 1})
        calls = ray.get([a.seen.remote() for a in engines._policies])
        return [[info["rank_offset"] for what, info in one if what == "connect"][-1] for one in calls]

    assert connect() == [1, 3, 5] and engines.ranks == 6
    assert engines.take_stock(), "nothing changed: nothing is connected anew"
    ray.kill(actors[1])
    wait_for(lambda: is_dead(actors[1]))  # Ray kills when it gets to it; until then the actor answers as ever
    assert connect() == [1, 3] and engines.ranks == 4
    assert [what for what, _ in ray.get(actors[2].seen.remote())] == ["connect", "disconnect", "connect"]
    with pytest.raises(ray.exceptions.RayError):
        ray.get(actors[0].die.options(max_task_retries=0).remote())
    wait_for(lambda: ray.get(actors[0].seen.remote()) == [])
    assert connect() == [1, 3], "started again by Ray, it is connected with the others"
    ray.kill(actors[0])
    ray.kill(actors[2])
    wait_for(lambda: is_dead(actors[0]) and is_dead(actors[2]))
    engines.deadline = time.monotonic() + 1
    with pytest.raises(Outage, match="none of 3 policy actors answers"):
        engines.take_stock()


def is_dead(actor: Any) -> bool:
    try:
        ray.get(actor.connected.remote(), timeout=10)
    except ray.exceptions.RayActorError:
        return True
    return False


def wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(ray.exceptions.RayError):
            if check():
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_silent_replica_ends_the_transfer_at_its_deadline(cluster: None) -> None:
    engines = Engines([Actor.remote(0)], gpus=1)  # type: ignore[attr-defined]
    engines.deadline = time.monotonic() + 1
    with pytest.raises(ray.exceptions.GetTimeoutError):
        engines.update_weights("never")  # type: ignore[arg-type]


@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_announced_is_what_is_sent(rank: int, tiny_model: Path) -> None:
    """NCCL cuts its buckets by the announced shapes: another order would load one tensor into another."""
    config = Config()
    config.learner.lora_rank = rank
    policy = load_policy(tiny_model, config, [])
    sent = [(name, tuple(value.shape)) for name, value in named_weights(policy, torch.bfloat16)]
    assert sent == named_shapes(policy) and len(sent) > 10


def test_what_is_gathered_is_of_the_type_that_is_sent(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gathered in float32 and cast afterwards it would be twice the bytes between ranks."""
    gathered: list[torch.dtype] = []

    def note(value: torch.Tensor) -> torch.Tensor:
        gathered.append(value.dtype)
        return value

    monkeypatch.setattr(model, "_gathered", note)
    policy = load_policy(tiny_model, Config(), [])
    assert next(policy.parameters()).dtype == torch.float32
    sent = list(named_weights(policy, torch.bfloat16))
    assert gathered == [torch.bfloat16] * len(sent)


def test_weights_are_read_after_the_optimizers_step_and_their_memory_is_given_back(
    cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transfer reads on streams of its own: an optimizer's step still running would tear the weights."""
    calls: list[str] = []

    class Trainer:
        """Stands where vLLM's side of the transfer stands."""

        def send_weights(self) -> None:
            calls.append("send")

    engines = Engines([Actor.remote(0)], gpus=1)  # type: ignore[attr-defined]
    transfer = DeviceTransfer(engines, source=None, rank=1)  # type: ignore[arg-type]
    monkeypatch.setattr(transfer, "_connect", Trainer)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: calls.append(name))
    transfer.send(1, 60)
    assert calls == ["synchronize", "send", "empty_cache"]
