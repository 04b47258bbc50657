"""One answer of a model to one case of a benchmark, graded as that benchmark does.

Guarantees: a program that does not run, and an answer without a program, score 0 and count; what cannot be measured
here (no judge, no mark in its answer, no CLIP model) is None, never a number; an outage leaves as `Outage`, so no score
is ever made of it. Programs and pages run in the jail and the offline browser of `serving/`.
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
from serving.render.service import Renders
from training.evaluation.answers import program
from training.evaluation.benchmarks import Benchmark, Case
from training.evaluation.models import EndpointAnswers
from training.evaluation.questions import Question
from training.metrics import design2code, plot2code
from training.metrics.chartmimic import Scorer, is_graph
from training.metrics.clip import Clip, picture

PAGE_BYTES = 8_000_000  # pictures of a page stand in it
WHOLE = 16_384  # pixels: what Chromium draws at most
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


def patient(render: Render, *, pages: bool = False, official: bool = False) -> Render:
    """Limits for judging programs rather than for training on them; `pages` are pictured whole, as Design2Code does.
    `official`: with their scripts and the machine's fonts, as the originals draw them."""
    sandbox = render.sandbox
    return replace(
        render,
        full_width=pages,
        max_height=WHOLE if pages else render.max_height,
        javascript=official or render.javascript,
        machine_fonts=official or render.machine_fonts,
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
        *,
        question: Question | None = None,
        official: bool = False,
    ) -> None:
        """`question`: a published one, which `rater` answers in the place of `judge`. `official`: with the originals'
        faults. Raises sandbox.MissingLayer, BrowserMissing."""
        self._benchmark, self._question, self._official = benchmark, question, official
        self._pages = benchmark.domain == "web" and benchmark.name in ("design2code", "pairs")
        self._judge, self._rater, self._clip = judge, rater, clip
        limits = patient(render, pages=self._pages, official=official)
        self._renderer = Renders(limits)
        lows = benchmark.domain == "chart" and benchmark.name in ("chartmimic", "coldstart", "pairs")
        self._scorer = Scorer(limits, official=official) if lows else None
        self._plots = plot2code.Scorer(limits, official=official) if benchmark.name == "plot2code" else None

    async def target(self, case: Case) -> bytes | None:
        """The picture to answer, PNG; None where there is only a reference and it does not render. Raises ValueError
        for a picture that no model takes, OSError where it is not there, Outage."""
        if case.image is None:
            return (await self._reference(case.reference or "")).png
        return normalise(case.image if isinstance(case.image, bytes) else case.image.read_bytes(), MAX_PIXELS)

    async def grade(self, case: Case, target: bytes, text: str) -> Graded:
        """Grade a model's words about a case. Raises Outage."""
        name = self._benchmark.name
        code = program(name, self._benchmark.domain, text, official=self._official)
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
            failure, executed = failure or found.failure, bool(found.code_pass.exec)
            if found.reference:
                void = f"its reference program does not run here ({found.reference})"
                return Graded(case.name, code, executed, failure, {}, {}, shot, void)
        if name == "plot2code":
            scores |= await self._plot2code(case, code, target, shot)
        elif self._pages and case.reference:
            scores |= (paged := await self._design2code(case, code))
            if not paged:
                void = "its reference page does not render here"
                return Graded(case.name, code, executed, failure, {}, {}, shot, void)
        elif name == "websight":
            scores["clip"] = await asyncio.to_thread(self._clip_similarity, target, shot) if self._clip else None
        if name not in ("plot2code", "design2code"):
            scores["judge"] = await self._judged(target, shot)
        return Graded(case.name, code, executed, failure, scores, partial, shot)

    async def _render(self, source: str) -> RenderResult:
        for name, data in self._benchmark.files.items():
            inlined = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
            source = re.sub(rf"(?<![\w./-])(?:\./)?{re.escape(name)}(?=[\"'\s)>&?#]|$)", inlined, source)
        return await self._renderer.render(source, self._benchmark.domain)

    async def _reference(self, source: str) -> RenderResult:
        """Its render. Raises Outage where it took too long or died, which another try need not meet."""
        result = await self._render(source)
        if result.kind in ("timeout", "crashed"):
            raise Outage("render", f"a reference: {result.message}")
        return result

    async def _judged(self, target: bytes, shot: bytes | None) -> float | None:
        if self._question is not None and self._rater is not None:
            mark = await self._asked(self._question, target, shot) if shot is not None else 0.0
            return None if mark is None else mark / self._question.most
        if self._judge is None:
            return None
        return (await self._judge.compare(target, shot, self._benchmark.domain)).score if shot is not None else 0.0

    async def _asked(self, question: Question, target: bytes, shot: bytes) -> float | None:
        assert self._rater is not None
        return question.mark(
            await self._rater.ask([target, shot], question.text, system=question.system, text_first=True)
        )

    def _clip_similarity(self, target: bytes, shot: bytes | None) -> float:
        assert self._clip is not None
        return self._clip.similarity(picture(target), picture(shot)) if shot is not None else 0.0

    async def _plot2code(
        self, case: Case, code: str | None, target: bytes, shot: bytes | None
    ) -> dict[str, float | None]:
        """`pass` decides which cases the means are over: by our way of execution, or by the original's."""
        found: dict[str, float | None] = {"pass": float(plot2code.passes(shot)), "pass_in_function": 0.0,
                                          "text_match": None, "rating": None}  # fmt: skip
        if code is None or case.reference is None or self._plots is None:
            return found
        scored = await self._plots.score(case.reference, code)
        found["pass_in_function"] = float(scored.passed)
        if self._official:
            found["pass"] = found["pass_in_function"]
        if found["pass"]:
            found["text_match"] = scored.text
            if self._rater is not None and shot is not None:
                if self._question is not None:
                    found["rating"] = await self._asked(self._question, target, shot)
                else:
                    answer = await self._rater.ask([target, shot], plot2code.QUESTION)
                    found["rating"] = plot2code.parse_rating(answer)
        return found

    async def _design2code(self, case: Case, code: str | None) -> dict[str, float | None]:
        async def shoot(page: str) -> bytes | None:
            return (await self._reference(page)).png if page == case.reference else (await self._render(page)).png

        clip = self._clip.similarity if self._clip is not None else None
        scores = await design2code.score(case.reference or "", code, shoot, clip)
        return {**asdict(scores), "final": scores.final} if scores is not None else {}

    async def close(self) -> None:
        for part in (self._renderer, self._scorer, self._plots):
            if part is not None:
                await part.close()


def _graph(case: Case) -> bool:
    return is_graph(case.image) if isinstance(case.image, Path) else case.name.startswith("graph")


def row(graded: Graded, file: str) -> dict[str, Any]:
    """The line of samples.jsonl; `file`: its picture, relative to the folder."""
    kept = {k: v for k, v in asdict(graded).items() if k != "picture"}
    return {**kept, "pictures": file}
