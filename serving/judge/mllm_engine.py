"""Our own vision-language judge: vLLM's AsyncLLM as a Ray Serve deployment, and the way to ask it.

Guarantees: an answer follows the schema of its question as far as MAX_TOKENS carry (structured output, no free white
space); a replica whose engine has died fails its health check and is replaced; a caller that gives up aborts its
request in the engine.
"""

import io
import uuid
from typing import Any

from PIL import Image
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException

from actors.contracts import Outage
from actors.engine.build import build_engine
from configs.schema import Engine
from configs.schema import Judge as Settings
from serving.http.retry import Transient
from serving.judge.mllm_question import MAX_TOKENS, Question

HEALTH_S = 10.0


class MllmEngine:
    """One engine of `judge.gpus` GPUs (tensor parallel), or on the CPU with none."""

    def __init__(self, config: Settings) -> None:
        from transformers import AutoProcessor

        self._template = AutoProcessor.from_pretrained(config.model).apply_chat_template
        engine = Engine(
            gpus=config.gpus,
            max_model_len=config.max_model_len,
            max_num_seqs=config.concurrency,
            enforce_eager=config.gpus == 0,
        )
        self._engine = build_engine(
            config.model, engine, dtype="auto", images=2 + (config.mode == "pairwise"), seed=0, sync=None
        )

    async def complete(self, question: Question) -> str:
        """The model's answer as text. Raises Outage where the engine died or gave up, ValueError where it refuses."""
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.v1.engine.exceptions import EngineDeadError

        params = SamplingParams(
            temperature=question.temperature,
            seed=question.seed,
            max_tokens=MAX_TOKENS,
            structured_outputs=StructuredOutputsParams(json=question.schema),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        pictures = [Image.open(io.BytesIO(png)).convert("RGB") for _, png in question.shown]
        prompt: Any = {"prompt": self._prompt(question), "multi_modal_data": {"image": pictures}}
        output = None
        try:
            async for output in self._engine.generate(prompt, params, uuid.uuid4().hex):  # noqa: B007
                pass
        except EngineDeadError:
            raise Outage("judge", "the judge's engine has died") from None
        except VLLMClientError as error:  # no ValueError of Python's
            raise ValueError(str(error)) from None
        assert output is not None
        if output.outputs[0].finish_reason not in ("stop", "length"):
            raise Outage("judge", f"the judge's engine gave an answer up ({output.outputs[0].finish_reason})")
        return output.outputs[0].text

    def _prompt(self, question: Question) -> str:
        user = [
            part for heading, _ in question.shown for part in ({"type": "text", "text": heading}, {"type": "image"})
        ]
        user.append({"type": "text", "text": question.closing})
        messages = [{"role": "system", "content": question.system}, {"role": "user", "content": user}]
        return self._template(messages, add_generation_prompt=True, tokenize=False)

    async def check_health(self) -> None:
        await self._engine.check_health()


class EngineClient:
    """Asks a MllmEngine through its Serve handle."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def ask(self, question: Question) -> str:
        """One request. Raises Transient for overload and for a replica that is gone, Outage for what stays wrong."""
        try:
            return await self._handle.complete.remote(question)
        except (Outage, BackPressureError, RayServeException) as error:
            raise Transient(_line(error)) from None
        except RayError as error:
            if isinstance(error, ValueError):  # the model cannot take this question, now or later
                raise Outage("judge", f"the judge's engine refuses: {_line(error)}") from None
            raise Transient(_line(error)) from None

    async def close(self) -> None:
        """Nothing of its own to close: the handle belongs to Serve."""


def _line(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {cause}".splitlines()[0][:300]


def engine_deployment(judge: Settings, place: dict[str, str]) -> Any:
    """The bound deployment of `judge.model`: tensor parallel over `judge.gpus`, `judge.replicas` to
    `judge.max_replicas` of it, by load, on nodes that the label selector `place` takes."""
    options: dict[str, Any] = {
        "name": "MllmEngine",
        "ray_actor_options": {"num_cpus": judge.cpus, "num_gpus": judge.gpus, "label_selector": place},
        "max_ongoing_requests": judge.concurrency,
        "max_queued_requests": judge.max_queued,
        "health_check_period_s": HEALTH_S,
        "health_check_timeout_s": 3 * HEALTH_S,
    }
    if judge.max_replicas > judge.replicas:
        options["autoscaling_config"] = {
            "min_replicas": judge.replicas,
            "max_replicas": judge.max_replicas,
            "target_ongoing_requests": max(1, judge.concurrency // 2),
        }
    else:
        options["num_replicas"] = judge.replicas
    return serve.deployment(MllmEngine).options(**options).bind(judge)  # type: ignore[attr-defined]
