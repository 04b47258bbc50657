"""PolicyActor: token ids in, token ids out, with log-probabilities and weight versions; receives new weights.

Guarantees: every sampled token carries the version of the weights that sampled it; weights and version change together
while generation is paused (turns under way keep their state and go on with the new weights); the prefix cache and the
image-encoder cache are salted with the version, so no new turn starts over another version's cache; a prompt whose
placeholders and images differ in number raises before the engine sees it. Every wait has a deadline and a name. An
actor whose engine dies dies with it; Ray starts it again and repeats the turns that were under way, which wait for the
run's current weights: a restarted engine never samples with those it was built from.
"""

import asyncio
import hashlib
import io
import os
import shutil
import tempfile
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from PIL import Image

from actors.contracts import Outage, Sample
from actors.dialogue import STOPS
from actors.engine.admission import Admission
from actors.engine.build import HOST, build_engine, sync_backend
from actors.families.tokens import banned_ids, placeholder
from actors.restart import reconstructed
from configs.schema import Config

SHM = Path("/dev/shm")
LOOK_S = 0.005  # between two looks at whether the new weights are loaded
NOT_YET = -1  # version of an engine that was started again and has not got the run's weights


@dataclass(frozen=True)
class UpdateReport:
    """One weight update as the engine saw it. `pause_s`: how long generation stood still."""

    version: int
    pause_s: float
    running: int  # requests in flight


class PolicyEngine:
    """One vLLM engine behind the Policy contract; `PolicyActor` is this class as a Ray actor."""

    def __init__(self, model: str, config: Config, base: str | None = None, version: int = 0) -> None:
        """`model`: the weights to begin with, and their `version`; `base`: what an actor that Ray starts again is built
        from: a checkpoint that a run was resumed from may be pruned by then, and it waits for the run's weights."""
        from transformers import AutoProcessor

        self._config = config
        chosen = base if base is not None and reconstructed() else model
        self._engine = build_engine(
            chosen,
            config.engine,
            dtype=config.policy.dtype,
            images=config.rollout.max_turns + 1,
            seed=config.run.seed,
            sync=sync_backend(config.engine),
        )
        tokenizer = self._engine.get_tokenizer()
        self._pad = tokenizer.convert_tokens_to_ids(placeholder(AutoProcessor.from_pretrained(chosen)))
        self._bias = dict.fromkeys(banned_ids(tokenizer), -100.0)
        self._version = version if not reconstructed() else NOT_YET
        self._running = 0
        self._tokens = 0
        self._busy_s = 0.0
        self._busy_since = 0.0
        self._updating = asyncio.Lock()
        self._open = asyncio.Event()  # closed while weights are written
        if self._version != NOT_YET:
            self._open.set()
        self._paused_at = 0.0
        self._connected = False
        self._admission = Admission(self._engine)

    @property
    def vllm(self) -> Any:
        """vLLM's AsyncLLM, for requests of another form than `sample`; each belongs inside `use`."""
        return self._engine

    @property
    def bias(self) -> dict[int, float]:
        """Logit bias by token id that keeps tokens from being sampled which corrupt a history."""
        return self._bias

    @asynccontextmanager
    async def use(self) -> AsyncIterator[int]:
        """A request in flight, begun when no weights are being exchanged: gives the version that cache keys must carry.
        Raises Outage("engine", ...) after `engine.turn_s` of waiting."""
        self._enter()
        try:
            try:
                async with asyncio.timeout(self._config.engine.turn_s):
                    await self._open.wait()
            except TimeoutError:
                raise Outage("engine", f"no weights within {self._config.engine.turn_s:g} s (engine.turn_s)") from None
            yield self._version
        finally:
            self._leave()

    async def ready(self) -> int:
        """Process id, once the engine answers."""
        await self._engine.check_health()
        return os.getpid()

    async def sample(
        self,
        prompt_ids: Sequence[int],
        images: Sequence[bytes],
        max_tokens: int,
        temperature: float | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> Sample:
        """Continue a prompt until a closing tag, the end of the message or `max_tokens`.

        `prompt_ids` hold one placeholder per image of `images` (PNG bytes). `temperature` None takes the run's. `heard`
        is given the text so far whenever it has grown.
        Raises ValueError for a mismatch, Outage("engine", ...) after `engine.turn_s` or where the engine gave it up.
        """
        from vllm import SamplingParams
        from vllm.exceptions import VLLMServerError
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        if (pads := list(prompt_ids).count(self._pad)) != len(images):
            raise ValueError(f"{pads} image placeholders for {len(images)} images")
        params = SamplingParams(
            temperature=self._config.sampling.temperature if temperature is None else temperature,
            max_tokens=max_tokens,
            logprobs=0,
            stop=list(STOPS),
            include_stop_str_in_output=True,
            skip_special_tokens=False,
            logit_bias=self._bias,
            output_kind=RequestOutputKind.FINAL_ONLY if heard is None else RequestOutputKind.CUMULATIVE,
        )
        output = None
        self._enter()
        try:
            async with asyncio.timeout(self._config.engine.turn_s):
                await self._open.wait()
                version = self._version
                prompt = self._prompt(prompt_ids, images, version)
                async for output in self._admission.generate(prompt, params):
                    if heard is not None:
                        heard(output.outputs[0].text)
        except TimeoutError:
            raise Outage("engine", f"no turn within {self._config.engine.turn_s:g} s (engine.turn_s)") from None
        except EngineDeadError:
            if ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None:
                os._exit(1)  # Ray starts this actor again, with an engine
            raise Outage("engine", "the engine process has died") from None
        except VLLMServerError as error:  # of this request alone; another may go through
            raise Outage("engine", " ".join(str(error).split())[:300]) from error
        finally:
            self._leave()
        assert output is not None and output.prompt_token_ids is not None
        done = output.outputs[0]
        if done.finish_reason not in ("stop", "length"):
            raise Outage("engine", f"a turn was ended by the engine ({done.finish_reason}), not by the policy")
        ids = tuple(done.token_ids)
        self._tokens += len(ids)
        logprobs = tuple(step[i].logprob for step, i in zip(done.logprobs or [], ids, strict=True))  # type: ignore[index]
        versions = _versions(done.weight_versions, len(ids), version)
        cut = done.finish_reason == "length"
        return Sample(ids, logprobs, versions, len(output.prompt_token_ids), "length" if cut else "stop")

    def _prompt(self, ids: Sequence[int], images: Sequence[bytes], version: int) -> Any:
        """vLLM's prompt; every cache key carries the version, so nothing computed by older weights is reused."""
        return {
            "prompt_token_ids": list(ids),
            "multi_modal_data": {"image": [_decode(png) for png in images]},
            "multi_modal_uuids": {"image": [f"{hashlib.sha256(png).hexdigest()}@{version}" for png in images]},
            "cache_salt": str(version),
        }

    async def update(self, blob: np.ndarray, crc32: int, version: int) -> UpdateReport:
        """Load a safetensors image (uint8 array) as weights `version`, on a CPU engine. It is loaded beside the weights
        in use; generation pauses for the exchange alone. Raises Outage("sync", ...) after `learner.sync_s`."""
        if version < self._version:
            return UpdateReport(self._version, 0.0, self._running)  # a late repetition; newer weights are there
        path = SHM / f"rrvf-{os.getpid()}-{version}-{uuid.uuid4().hex[:8]}.safetensors"
        done = Path(f"{path}.done")
        try:
            async with self._updating, asyncio.timeout(self._config.learner.sync_s):
                if await asyncio.to_thread(zlib.crc32, blob.data) != crc32:
                    raise Outage("sync", f"weights of version {version} arrived damaged")
                if sync_backend(self._config.engine) == HOST:
                    return await self._read(blob, version)
                await asyncio.to_thread(path.write_bytes, blob.data)
                if not self._connected:
                    await self.connect({})
                await self._engine.start_weight_update()
                await self.write({"path": str(path), "crc32": crc32})
                while not done.exists():
                    await asyncio.sleep(LOOK_S)
                if message := done.read_text():
                    raise Outage("sync", f"weights {version}: {message}")
                await self._pause()
                return await self.commit(version)
        except TimeoutError:
            limit = self._config.learner.sync_s
            raise Outage("sync", f"weights {version} were not loaded within {limit:g} s (learner.sync_s)") from None
        finally:
            path.unlink(missing_ok=True)
            done.unlink(missing_ok=True)

    async def _read(self, blob: np.ndarray, version: int) -> UpdateReport:
        """The blob as a checkpoint's folder that a GPU engine loads; under `_updating`."""
        folder = Path(tempfile.mkdtemp(prefix="rrvf-", dir=SHM))
        try:
            await asyncio.to_thread((folder / "model.safetensors").write_bytes, blob.data)
            return await self._exchange(str(folder), version)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def connected(self) -> bool:
        """Whether this engine, in this life, has met the learner's side of the transfer."""
        return self._connected

    async def disconnect(self) -> None:
        """Leave the transfer group; the next `connect` joins another."""
        self._connected = False
        await self._engine.shutdown_weight_transfer_engine()

    async def connect(self, init_info: dict[str, Any]) -> None:
        """Meet the learner's side of the transfer, as `init_info` of the backend says."""
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        await self._engine.init_weight_transfer_engine(WeightTransferInitRequest(init_info=init_info))
        self._connected = True

    async def begin(self) -> None:
        """Pause generation, with turns under way kept, and make the model ready to be written."""
        await self._pause()
        await self._engine.start_weight_update()

    async def _pause(self) -> None:
        self._open.clear()
        await self._admission.settled()
        await self._engine.pause_generation(mode="keep", clear_cache=False)
        self._paused_at = time.perf_counter()  # the step under way has ended: from here on nothing is generated

    async def write(self, update_info: Any) -> None:
        """Take some tensors (or the way to them), as the backend sends them; between `begin` and `commit`."""
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        await self._engine.update_weights(WeightTransferUpdateRequest(update_info))

    async def commit(self, version: int) -> UpdateReport:
        """Make what was written weights `version`, and go on generating."""
        running = self._running
        await self._engine.finish_weight_update(str(version))
        self._version = version
        await self._engine.resume_generation()
        self._open.set()
        return UpdateReport(version, time.perf_counter() - self._paused_at, running)

    async def load(self, folder: str, version: int) -> UpdateReport:
        """Take the weights of a checkpoint's folder, in an engine that `update` has never written to: turns under way
        end first, new ones wait. Raises Outage("sync", ...) after `learner.sync_s`; it then stays closed."""
        limit = self._config.learner.sync_s
        async with self._updating:
            try:
                async with asyncio.timeout(limit):
                    return await self._exchange(folder, version)
            except TimeoutError:
                raise Outage("sync", f"{folder} was not loaded within {limit:g} s (learner.sync_s)") from None

    async def _exchange(self, folder: str, version: int) -> UpdateReport:
        self._open.clear()
        self._paused_at = time.perf_counter()
        running = self._running
        await self._admission.settled()
        await self._engine.pause_generation(mode="wait", clear_cache=True)
        await self._engine.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        await self._engine.resume_generation()
        self._version = version
        self._open.set()
        return UpdateReport(version, time.perf_counter() - self._paused_at, running)

    async def stats(self) -> dict[str, float]:
        """Version, requests in flight, tokens sampled, and seconds in which at least one request was in flight."""
        busy = self._busy_s + (time.perf_counter() - self._busy_since if self._running else 0.0)
        return {"version": self._version, "running": self._running, "tokens": self._tokens, "busy_s": busy}

    async def close(self) -> None:
        self._engine.shutdown()

    def _enter(self) -> None:
        if self._running == 0:
            self._busy_since = time.perf_counter()
        self._running += 1

    def _leave(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._busy_s += time.perf_counter() - self._busy_since


PolicyActor = ray.remote(PolicyEngine)


class PolicyClient:
    """The Policy contract over PolicyActors: a session's turns all go to one actor (its prefix cache is there); one
    that joins takes its share of the sessions, all others stay where they are.

    Raises Outage("engine", ...) when that actor is gone; the next session may land elsewhere.
    """

    def __init__(self, actors: Sequence[Any], turn_s: float, temperature: float | None = None) -> None:
        self._actors = list(actors)
        self._deadline = turn_s + 30.0  # the engine's own deadline comes first and says more
        self._temperature = temperature

    def join(self, actor: Any) -> None:
        """One more actor from now on; one that is there already stays once."""
        if actor not in self._actors:
            self._actors.append(actor)

    def _of(self, session: str) -> Any:
        """Rendezvous hashing (Thaler and Ravishankar, 1998)."""
        return self._actors[max(range(len(self._actors)), key=lambda n: zlib.crc32(f"{session}/{n}".encode()))]

    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        actor = self._of(session)
        try:
            async with asyncio.timeout(self._deadline):
                return await actor.sample.remote(list(prompt_ids), list(images), max_tokens, self._temperature)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except (ray.exceptions.RayError, TimeoutError) as error:
            raise Outage("engine", f"{type(error).__name__} while sampling {session}") from error


def _decode(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def _versions(spans: Any, count: int, fallback: int) -> tuple[int, ...]:
    """Version of each of `count` tokens from vLLM's spans; `fallback` where the engine has none (never updated)."""
    versions = [fallback] * count
    for span in spans or ():
        if str(span.version).isdigit():
            for i in range(span.start, min(span.end, count)):
                versions[i] = int(span.version)
    return tuple(versions)
