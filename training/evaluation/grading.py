"""One answer of a model to one case of a benchmark, graded as that benchmark does.

Guarantees: a program that does not run, and an answer without a program, score 0 and count; what cannot be measured
here (no judge, no CLIP model) is None, never a number; an outage leaves as `Outage`, so no score is ever made of it.
Programs and pages run in the jail and the offline browser of `serving/`.
"""

import asyncio
import base64
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from actors.contracts import Judge, Outage, RenderResult
from actors.images import normalise
from configs.schema import Render
from serving.render.chart_tracer import ChartTracer
from serving.render.charts import ChartRenderer
from serving.render.web import WebRenderer
from training.evaluation.benchmarks import Benchmark, Case
from training.evaluation.models import EndpointAnswers, code_of
from training.metrics import design2code, plot2code
from training.metrics.chartmimic import Scorer, is_graph
from training.metrics.clip import Clip, picture

PAGE_BYTES = 8_000_000  # pictures of a page stand in it
MAX_PIXELS = 20_000_000  # of a target; larger ones are scaled down


@dataclass(frozen=True)
class Graded:
    """Scores by name, None where not measured; `picture`: PNG of the render; `void`: why the case cannot be graded."""

    name: str
    code: str | None
    executed: bool
    failure: str
    scores: dict[str, float | None]
    partial: dict[str, float]  # chartmimic: the same without the filter of programs that run
    picture: bytes | None
    void: str = ""


def patient(render: Render) -> Render:
    """Limits for judging programs rather than for training on them."""
    sandbox = render.sandbox
    return replace(
        render,
        sandbox=replace(
            sandbox, cpu_s=max(60, sandbox.cpu_s), wall_s=max(240, sandbox.wall_s), max_source_bytes=PAGE_BYTES
        ),
    )


class Grader:
    """Everything that grading one benchmark needs; safe to use for many cases at once."""

    def __init__(
        self,
        benchmark: Benchmark,
        render: Render,
        judge: Judge | None,
        rater: EndpointAnswers | None,
        clip: Clip | None,
    ) -> None:
        """Raises sandbox.MissingLayer, BrowserMissing."""
        self._benchmark = benchmark
        self._judge, self._rater, self._clip = judge, rater, clip
        limits = patient(render)
        self._renderer = WebRenderer(limits) if benchmark.domain == "web" else ChartRenderer(limits)
        self._scorer = Scorer(limits) if benchmark.name in ("chartmimic", "coldstart") else None
        self._tracers = [ChartTracer(limits) for _ in range(2)] if benchmark.name == "plot2code" else []

    async def target(self, case: Case) -> bytes | None:
        """The picture to answer, PNG; None where there is only a reference and it does not render. Raises ValueError
        for a picture that no model takes, OSError where it is not there, Outage."""
        if case.image is None:
            return (await self._reference(case.reference or "")).png
        return normalise(case.image if isinstance(case.image, bytes) else case.image.read_bytes(), MAX_PIXELS)

    async def grade(self, case: Case, target: bytes, text: str) -> Graded:
        """Grade a model's words about a case. Raises Outage."""
        name = self._benchmark.name
        code = program(self._benchmark, text)
        result = await self._render(code) if code else None
        executed = result is not None and result.ok
        shot = result.png if executed and result is not None else None
        failure = "no program in the answer" if result is None else f"{result.kind}: {result.message}" * (not executed)
        scores: dict[str, float | None] = {"exec": float(executed)}
        partial: dict[str, float] = {}
        if self._scorer is not None and case.reference is not None:
            found = await self._scorer.score(case.reference, code, graph=_graph(case))
            scores |= asdict(found.code_pass)
            partial = {k: v for k, v in asdict(found.no_filter).items() if k != "exec"}
            failure = failure or found.failure
            if found.reference:
                void = f"its reference program does not run here ({found.reference})"
                return Graded(case.name, code, executed, failure, {}, {}, shot, void)
        if name == "plot2code":
            scores |= await self._plot2code(case, code, target, shot)
        elif name == "design2code":
            scores |= await self._design2code(case, code, target, shot)
        elif name == "websight":
            scores["clip"] = await asyncio.to_thread(self._likeness, target, shot) if self._clip else None
        if name not in ("plot2code", "design2code"):
            scores["judge"] = await self._judged(target, shot)
        return Graded(case.name, code, executed, failure, scores, partial, shot)

    async def _render(self, source: str) -> RenderResult:
        for name, data in self._benchmark.files.items():
            inlined = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
            source = re.sub(rf"(?:\./)?{re.escape(name)}", inlined, source)
        return await self._renderer.render(source)

    async def _reference(self, source: str) -> RenderResult:
        """Its render. Raises Outage where it took too long or died, which another try need not meet."""
        result = await self._render(source)
        if result.kind in ("timeout", "crashed"):
            raise Outage("render", f"a reference: {result.message}")
        return result

    async def _judged(self, target: bytes, shot: bytes | None) -> float | None:
        if self._judge is None:
            return None
        return (await self._judge.compare(target, shot, self._benchmark.domain)).score if shot is not None else 0.0

    def _likeness(self, target: bytes, shot: bytes | None) -> float:
        assert self._clip is not None
        return self._clip.similarity(picture(target), picture(shot)) if shot is not None else 0.0

    async def _plot2code(
        self, case: Case, code: str | None, target: bytes, shot: bytes | None
    ) -> dict[str, float | None]:
        found: dict[str, float | None] = {"pass": float(plot2code.passes(shot)), "text_match": None, "rating": None}
        if found["pass"] and code is not None and case.reference is not None and shot is not None:
            golden = await self._tracers[0].trace(case.reference, "plot2code")
            traced = await self._tracers[1].trace(code, "plot2code")
            if golden.ran:  # else it cannot be measured here
                good = traced.ran and not traced.tampered
                found["text_match"] = plot2code.text_match(golden, traced) if good else 0.0
            if self._rater is not None:
                words = await self._rater.ask([target, shot], plot2code.QUESTION)
                found["rating"] = plot2code.parse_rating(words)
        return found

    async def _design2code(
        self, case: Case, code: str | None, target: bytes, shot: bytes | None
    ) -> dict[str, float | None]:
        seen = design2code.pixels(target)
        blank = design2code.blank()
        other = design2code.pixels(shot) if shot is not None else blank

        async def shoot(page: str) -> bytes | None:
            return (await self._render(page)).png

        async def shoot_reference(page: str) -> bytes | None:
            return (await self._reference(page)).png

        golden = await design2code.blocks(case.reference or "", seen, shoot_reference)
        generated = await design2code.blocks(code, other, shoot) if code and shot is not None else []

        def compared() -> design2code.Scores:
            clip = None
            if self._clip is not None:
                views = design2code.without_text(seen, golden), design2code.without_text(other, generated)
                clip = self._clip.similarity(*views)
            return design2code.compare(golden, generated, clip)

        scores = await asyncio.to_thread(compared)  # long for long pages, and others' deadlines go on
        return {**asdict(scores), "final": scores.final}

    async def close(self) -> None:
        for part in (self._renderer, self._scorer, *self._tracers):
            if part is not None:
                await part.close()


def program(benchmark: Benchmark, text: str) -> str | None:
    """The program or page in a model's words, where the benchmark looks for it; None where there is none."""
    code = code_of(text, benchmark.domain)
    if benchmark.name == "plot2code" and "<answer>" not in text and (code is None or plot2code.BLOCK.search(text)):
        return plot2code.extract(text)
    return code


def _graph(case: Case) -> bool:
    return is_graph(case.image) if isinstance(case.image, Path) else case.name.startswith("graph")


def row(graded: Graded, file: str) -> dict[str, Any]:
    """The line of samples.jsonl; `file`: its picture, relative to the folder."""
    kept = {k: v for k, v in asdict(graded).items() if k != "picture"}
    return {**kept, "pictures": file}
