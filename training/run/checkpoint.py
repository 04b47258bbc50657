"""Checkpoints: a Hugging Face folder that loads and serves as it is, with the learner's state beside it.

Guarantees: RUN/checkpoints/step_NNNNNN appears complete or not at all (written under another name, flushed, renamed);
writing happens in the background; a failed write (full disk) is one line and leaves the previous checkpoints alone.
Kept are the last `keep` and the best by reward. Every rank writes its own shard of the learner's state; any number of
ranks reads it. Rank 0 alone removes anything: a rank that fails leaves a note, and rank 0 gives that checkpoint up.

    model*.safetensors, config.json, tokenizer and processor files    as from `save_pretrained`
    learner_R_of_W.pt    trained parameters in float32, AdamW moments, RNG: rank R's shard
    queue.bin            the replay queue's snapshot; with the groups that RUN/ledger.jsonl held then it is the ledger
    state.json           step, reward, and the folder or hub name of the first weights
"""

import contextlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

log = logging.getLogger(__name__)
FOLDER = "checkpoints"
WEIGHTS = (".safetensors", ".bin", ".safetensors.index.json", ".bin.index.json", ".pt", ".pth", ".gguf")
OURS = ("queue.bin", "state.json")


def all_checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path for path in (run / FOLDER).glob("step_*") if (path / "state.json").is_file())


def latest(run: Path) -> Path | None:
    found = all_checkpoints(run)
    return found[-1] if found else None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """step, reward, base."""
    return json.loads((checkpoint / "state.json").read_text())


def model_folder(model: str) -> Path:
    """Where a folder's or a hub name's config.json lies on this host."""
    if Path(model).is_dir():
        return Path(model)
    from transformers.utils import cached_file

    return Path(str(cached_file(model, "config.json"))).parent


class Writer:
    """Writes one checkpoint at a time, in a thread, for one rank of `ranks`."""

    def __init__(self, run: Path, model: str, keep: int, rank: int, ranks: int, limit_s: float = 600.0) -> None:
        """`limit_s`: how long rank 0, its own part written, waits for the slowest rank's shard."""
        self._limit_s = limit_s
        self._root = run / FOLDER
        # Read now: the folder may be a checkpoint of this run that is pruned later.
        self._beside = _files_beside(model_folder(model)) if rank == 0 else {}
        if rank == 0:
            self._remove_unfinished()  # of a run that was killed while it wrote; the other ranks write after rank 0
        self._keep = keep
        self._rank, self._ranks = rank, ranks
        self._thread: threading.Thread | None = None
        self.error: str | None = None  # of the last write
        self.written: Path | None = None  # the last one that was

    def start(
        self,
        step: int,
        shard: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        queue: bytes,
        state: Mapping[str, Any],
    ) -> None:
        """Begin to write; all tensors must be copies. `weights` and `queue` (empty: supervised learning has none) are
        read on rank 0 alone."""
        self.wait()
        self._thread = threading.Thread(
            target=self._write, args=(step, shard, weights, queue, dict(state) | {"step": step}), name="checkpoint"
        )
        self._thread.start()

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(
        self, step: int, shard: Mapping[str, Any], weights: Mapping[str, Tensor], queue: bytes, state: dict[str, Any]
    ) -> None:
        name = f"step_{step:06d}"
        building = self._root / f".{name}"
        try:
            if self._rank == 0:
                self._remove_unfinished(but=building)  # of a step that was given up
            building.mkdir(parents=True, exist_ok=True)
            part = building / f"learner_{self._rank}_of_{self._ranks}.pt"
            torch.save(dict(shard), part.with_suffix(".part"))
            _flush_file(part.with_suffix(".part"))
            part.with_suffix(".part").rename(part)
            if self._rank == 0:
                self._write_model(building, weights)
                if queue:
                    (building / "queue.bin").write_bytes(queue)
                (building / "state.json").write_text(json.dumps(state, indent=2) + "\n")
                self._await_shards(building)
                _flush(building)
                if (self._root / name).exists():
                    shutil.rmtree(self._root / name)
                building.rename(self._root / name)
                _flush_folder(self._root)
                self._prune()
            self.error, self.written = None, self._root / name
        except (OSError, RuntimeError, SafetensorError) as error:  # torch reports a full disk as RuntimeError
            before = f"the run goes on with {self.written.name}" if self.written else "the run goes on without one"
            self.error = f"checkpoint of step {step} was not written ({_reason(error)}); {before}"
            log.error(self.error)
            if self._rank == 0:
                shutil.rmtree(building, ignore_errors=True)
            else:
                self._leave_note(building, _reason(error))

    def _leave_note(self, building: Path, reason: str) -> None:
        """Tell rank 0 that this rank's shard will not come; on a full disk an empty note still says so."""
        with contextlib.suppress(OSError):
            (building / f"learner_{self._rank}_of_{self._ranks}.part").unlink(missing_ok=True)
            note = building / f"learner_{self._rank}_of_{self._ranks}.failed"
            note.touch()
            note.write_text(reason)

    def _remove_unfinished(self, but: Path | None = None) -> None:
        for left in self._root.glob(".step_*"):
            if left != but:
                shutil.rmtree(left, ignore_errors=True)

    def _write_model(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        from huggingface_hub import save_torch_state_dict

        for name, content in self._beside.items():
            (folder / name).write_bytes(content)
        save_torch_state_dict(dict(weights), folder)

    def _await_shards(self, folder: Path) -> None:
        deadline = time.monotonic() + self._limit_s
        while (found := len(list(folder.glob(f"learner_*_of_{self._ranks}.pt")))) < self._ranks:
            for note in folder.glob("learner_*.failed"):
                raise OSError(f"rank {note.name.split('_')[1]}: {note.read_text() or 'its shard was not written'}")
            if time.monotonic() > deadline:
                limit = f"{self._limit_s:g} s (run.checkpoint_s)"
                raise TimeoutError(f"{found} of {self._ranks} ranks wrote their shard within {limit}")
            time.sleep(0.05)

    def _prune(self) -> None:
        there = all_checkpoints(self._root.parent)
        best = max(there, key=lambda path: read_state(path).get("reward") or float("-inf"))
        for path in there[: -self._keep]:
            if path != best:
                shutil.rmtree(path, ignore_errors=True)


def _files_beside(folder: Path) -> dict[str, bytes]:
    """Tokenizer, processor and configuration: all of a model's files but its weights and ours."""
    there = [path for path in folder.iterdir() if path.is_file() and not path.name.endswith(WEIGHTS)]
    return {path.name: path.read_bytes() for path in there if path.name not in OURS}


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error).splitlines() or [type(error).__name__])[0]


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        _flush_file(path)
    _flush_folder(folder)


def _flush_file(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def shard_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Copies of this rank's trained parameters and optimizer state, by name, on the host."""
    params, moments = {}, {}
    for name, parameter in _trained(model).items():
        params[name] = _local(parameter)
        moments[name] = {key: _local(value) for key, value in optimizer.state[parameter].items()}
    return {"params": params, "moments": moments, "rng": torch.get_rng_state()}


def restore(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's trained parameters, optimizer state and RNG into a model built the same way, on any number of
    ranks. Raises ValueError when the parameters do not match."""
    files = sorted(checkpoint.glob("learner_*.pt"), key=lambda path: int(path.name.split("_")[1]))
    shards = [torch.load(path, map_location="cpu", mmap=True, weights_only=True) for path in files]
    trained = _trained(model)
    if not shards or set(shards[0]["params"]) != set(trained):
        raise ValueError(f"{checkpoint} does not hold the parameters that this config trains")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(_joined([s["params"][name] for s in shards], parameter))
            saved = [s["moments"][name] for s in shards]
            optimizer.state[parameter] = {
                # `step` too: a fused optimizer takes it on the parameter's device alone
                key: _joined([m[key] for m in saved], parameter)
                if value.dim()
                else value.to(parameter.device, copy=True)
                for key, value in saved[0].items()
            }
    torch.set_rng_state(shards[0]["rng"])


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _local(value: Tensor) -> Tensor:
    held = value.to_local() if isinstance(value, DTensor) else value
    return held.detach().cpu().clone()


def _joined(parts: list[Tensor], like: Tensor) -> Tensor:
    """The whole tensor from its shards (FSDP2 cuts dimension 0 in rank order), sharded as `like` is."""
    whole = torch.cat(parts).to(like.device) if len(parts) > 1 else parts[0].to(like.device)
    return distribute_tensor(whole, like.device_mesh, like.placements) if isinstance(like, DTensor) else whole.clone()
