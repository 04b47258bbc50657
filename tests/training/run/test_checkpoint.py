"""A checkpoint loads as a Hugging Face folder, resumes exactly, survives a full disk and is pruned to last and best."""

import errno
import json
import multiprocessing
import os
import pickle
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from configs.schema import Config
from tests.training import tiny
from training.learner.model import named_weights
from training.learner.ranks import Ranks
from training.learner.update import Learner
from training.run import checkpoint
from training.run.checkpoint import Writer

ALONE = Ranks.join(0)

QUEUE = pickle.dumps(json.dumps({"entries": [{"group": 0}]})) + pickle.dumps({})  # as QueueState.snapshot


def config() -> Config:
    made = Config()
    made.learner.lr, made.learner.token_budget = 1e-3, 600
    return made


def train(learner: Learner, first: int, stop: int) -> list[float]:
    losses = []
    for step in range(first, stop):
        shards = learner.plan(tiny.groups(2, 3, seed=step))[0] if learner.ranks.rank == 0 else None
        losses.append(learner.train(learner.ranks.scatter(shards), step, step)["loss"] or 0.0)
    return losses


def save(learner: Learner, run: Path, model: Path, step: int, reward: float = 0.0, keep: int = 2) -> Writer:
    ranks = learner.ranks
    writer = Writer(run, str(model), keep, ranks.rank, ranks.size)
    weights = {name: value.clone() for name, value in named_weights(learner.policy, torch.float32)}
    shard = checkpoint.shard_of(learner.policy, learner.optimizer)
    writer.start(step, shard, weights, QUEUE, {"reward": reward, "base": str(model)})
    writer.wait()
    return writer


def weights_of(learner: Learner) -> Tensor:
    return torch.cat([value.flatten() for _, value in named_weights(learner.policy, torch.float32)])


@pytest.fixture(scope="module")
def saved(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float], Tensor]:
    """A checkpoint after two steps, and how the run went on for two more without a stop."""
    run = tmp_path_factory.mktemp("run")
    learner = Learner(str(policy_folder), config(), ALONE)
    train(learner, 0, 2)
    writer = save(learner, run, policy_folder, 2)
    assert writer.error is None and writer.written is not None
    return writer.written, train(learner, 2, 4), weights_of(learner)


def test_a_checkpoint_is_a_hugging_face_folder(saved: tuple[Path, Any, Any], policy_folder: Path) -> None:
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    folder = saved[0]
    assert folder.name == "step_000002" and checkpoint.latest(folder.parent.parent) == folder
    _, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ours, theirs = (AutoProcessor.from_pretrained(path) for path in (folder, policy_folder))
    assert ours.chat_template == theirs.chat_template
    assert ours.tokenizer.get_vocab() == theirs.tokenizer.get_vocab()
    assert (folder / "queue.bin").read_bytes() == QUEUE
    assert checkpoint.read_state(folder) == {"step": 2, "reward": 0.0, "base": str(policy_folder)}


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(saved: tuple[Path, list[float], Tensor]) -> None:
    folder, losses, weights = saved
    learner = Learner(str(folder), config(), ALONE)
    checkpoint.restore(folder, learner.policy, learner.optimizer)
    assert train(learner, 2, 4) == losses
    assert torch.equal(weights_of(learner), weights)


def test_without_its_moments_it_would_go_elsewhere(saved: tuple[Path, list[float], Tensor]) -> None:
    learner = Learner(str(saved[0]), config(), ALONE)
    train(learner, 2, 4)
    assert not torch.allclose(weights_of(learner), saved[2], atol=1e-5)


def two_ranks(rank: int, size: int, model: str, run: str, store: str) -> None:
    """Resume one rank's checkpoint on two, train two steps, save again."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    [folder] = checkpoint.all_checkpoints(Path(run))
    learner = Learner(str(folder), config(), Ranks.join(0))
    checkpoint.restore(folder, learner.policy, learner.optimizer)
    train(learner, 2, 3)
    save(learner, Path(run), Path(model), 3)
    torch.distributed.destroy_process_group()


def test_any_number_of_ranks_reads_any_number_of_shards(
    saved: tuple[Path, list[float], Tensor], policy_folder: Path, tmp_path: Path
) -> None:
    """One rank -> two ranks -> one rank, a step each: the weights of a run that never stopped."""
    folder, losses, weights = saved
    run = folder.parent.parent
    mp.spawn(two_ranks, (2, str(policy_folder), str(run), str(tmp_path / "store")), nprocs=2)
    newest = checkpoint.latest(run)
    assert newest is not None and newest.name == "step_000003"
    assert len(list(newest.glob("learner_*_of_2.pt"))) == 2
    learner = Learner(str(newest), config(), ALONE)
    checkpoint.restore(newest, learner.policy, learner.optimizer)
    assert train(learner, 3, 4) == pytest.approx(losses[1:], rel=1e-4)
    assert float((weights_of(learner) - weights).abs().max()) < 1e-4


def test_state_is_restored_to_the_device_of_its_parameter(saved: tuple[Path, Any, Any]) -> None:
    """A fused optimizer takes `step` where its parameter is, or ends the run at the first step after a resume."""
    learner = Learner(str(saved[0]), config(), ALONE)
    learner.policy.to("meta")
    optimizer = torch.optim.AdamW(learner.policy.parameters(), fused=False)
    checkpoint.restore(saved[0], learner.policy, optimizer)
    devices = {key: value.device.type for state in optimizer.state.values() for key, value in state.items()}
    assert devices == {"step": "meta", "exp_avg": "meta", "exp_avg_sq": "meta"}


def test_another_set_of_parameters_is_refused(saved: tuple[Path, Any, Any]) -> None:
    other = config()
    other.learner.lora_rank = 2
    learner = Learner(str(saved[0]), other, ALONE)
    with pytest.raises(ValueError, match="does not hold the parameters"):
        checkpoint.restore(saved[0], learner.policy, learner.optimizer)


def put(run: Path, model: Path, step: int, reward: float, keep: int = 2) -> Writer:
    """A checkpoint of next to nothing."""
    writer = Writer(run, str(model), keep, 0, 1)
    writer.start(step, {"params": {}}, {"w": torch.ones(2)}, QUEUE, {"reward": reward, "base": "x"})
    writer.wait()
    return writer


def test_the_last_and_the_best_are_kept(policy_folder: Path, tmp_path: Path) -> None:
    for step, reward in enumerate([0.1, 0.9, 0.3, 0.2, 0.4], 1):
        put(tmp_path, policy_folder, step, reward)
    assert [p.name for p in checkpoint.all_checkpoints(tmp_path)] == ["step_000002", "step_000004", "step_000005"]


def test_a_full_disk_is_one_line_and_costs_nothing_else(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = put(tmp_path, policy_folder, 1, 0.0)
    with monkeypatch.context() as patch:

        def full(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(torch, "save", full)
        writer.start(2, {}, {"w": torch.ones(2)}, QUEUE, {"reward": 0.0})
        writer.wait()
    assert writer.error == (
        "checkpoint of step 2 was not written (no space left on device); the run goes on with step_000001"
    )
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step_000001"]
    writer.start(3, {}, {"w": torch.ones(2)}, QUEUE, {"reward": 0.0})
    writer.wait()
    assert writer.error is None and checkpoint.latest(tmp_path) == tmp_path / "checkpoints" / "step_000003"


def test_a_half_written_folder_is_no_checkpoint(policy_folder: Path, tmp_path: Path) -> None:
    half = tmp_path / "checkpoints" / ".step_000004"
    half.mkdir(parents=True)
    (half / "state.json").write_text(json.dumps({"step": 4}))
    (tmp_path / "checkpoints" / "step_000003").mkdir()
    assert checkpoint.latest(tmp_path) is None
    put(tmp_path, policy_folder, 2, 0.0)
    newest = checkpoint.latest(tmp_path)
    assert newest is not None and newest.name == "step_000002"
    assert not half.exists()  # or its shards would be taken for ours


PHASES = ("shard", "model", "state", "shards of others", "rename", "prune")


def write_or_die(run: str, model: str, step: int, rank: int, phase: str | None, ready: Any) -> None:
    """One rank of two writes its part of a checkpoint and kills itself in `phase`."""

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if phase == "shard":

        def half(_: Any, path: Path) -> None:
            path.write_bytes(b"half")
            die()

        torch.save = half
    places = {"model": "_write_model", "shards of others": "_await_shards", "prune": "_prune"}
    if phase in places:
        setattr(Writer, places[phase], die)
    if phase == "state":
        checkpoint.json = SimpleNamespace(dumps=die)  # type: ignore[attr-defined]
    if phase == "rename":
        checkpoint._flush = die
    writer = Writer(Path(run), model, 2, rank, 2, limit_s=1.0)
    ready.wait(60)  # ranks write once all are set up
    writer.start(step, {"params": {}, "rank": rank}, {"w": torch.ones(2)}, QUEUE, {"reward": 0.0, "base": "x"})
    writer.wait()


def both(run: Path, model: Path, step: int, phase: str | None = None, rank: int = 0) -> list[int | None]:
    """Two ranks as processes of their own; `rank` dies in `phase`. Their exit codes."""
    fork = multiprocessing.get_context("fork")
    ready, ranks = fork.Barrier(2), []
    for number in (0, 1):
        died = phase if number == rank else None
        ranks.append(fork.Process(target=write_or_die, args=(str(run), str(model), step, number, died, ready)))
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(60)
    return [one.exitcode for one in ranks]


@pytest.mark.parametrize(("rank", "phase"), [*[(0, phase) for phase in PHASES], (1, "shard")])
def test_a_kill_in_any_phase_of_writing_costs_that_checkpoint_alone(
    rank: int, phase: str, policy_folder: Path, tmp_path: Path
) -> None:
    assert both(tmp_path, policy_folder, 1) == [0, 0]
    codes = both(tmp_path, policy_folder, 2, phase, rank)
    assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 0
    newest = checkpoint.latest(tmp_path)
    assert newest is not None and newest.name == ("step_000002" if phase == "prune" else "step_000001")
    assert both(tmp_path, policy_folder, 3) == [0, 0]  # the run taken up again
    for folder in checkpoint.all_checkpoints(tmp_path):
        shards = sorted(folder.glob("learner_*"))
        assert [torch.load(path)["rank"] for path in shards] == [0, 1]
    assert checkpoint.all_checkpoints(tmp_path)[-1].name == "step_000003"
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_a_rank_that_fails_removes_nothing_and_says_why(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    building = tmp_path / "checkpoints" / ".step_000001"
    building.mkdir(parents=True)
    (building / "learner_0_of_2.pt").write_bytes(b"of rank 0")
    with monkeypatch.context() as patch:

        def full(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(torch, "save", full)
        other = Writer(tmp_path, str(policy_folder), 2, 1, 2)
        other.start(1, {}, {}, b"", {})
        other.wait()
    assert other.error is not None and (building / "learner_0_of_2.pt").read_bytes() == b"of rank 0"
    first = Writer(tmp_path / "elsewhere", str(policy_folder), 2, 0, 2)
    first._root = tmp_path / "checkpoints"  # as if it had begun before the other failed
    first.start(1, {"params": {}}, {"w": torch.ones(2)}, QUEUE, {"reward": 0.0})
    first.wait()
    assert first.error is not None and "rank 1: no space left on device" in first.error


def test_the_source_may_vanish_while_the_run_goes_on(policy_folder: Path, tmp_path: Path) -> None:
    """A resumed run loads from a checkpoint that is pruned later."""
    import shutil

    source = tmp_path / "source"
    shutil.copytree(policy_folder, source)
    writer = Writer(tmp_path, str(source), 2, 0, 1)
    shutil.rmtree(source)
    writer.start(1, {}, {"w": torch.ones(2)}, QUEUE, {"reward": 0.0})
    writer.wait()
    assert writer.error is None
    assert (tmp_path / "checkpoints" / "step_000001" / "tokenizer.json").is_file()
