"""A benchmark answered by a model in single turns: no tool, greedy, as in the paper, and the same for every model.

Guarantees: every case is graded once and counts once, programs that fail included; a sample is on disk before the next
is counted as done, so that --resume (after Ctrl-C, too) answers only what is missing; an evaluation is never mixed with
another's samples; a case whose answer an outage prevents, or whose grading meets an error that no one foresaw, is left
open and named in the summary, never scored, and costs no other case.
"""

import asyncio
import contextlib
import io
import json
import re
import sys
import traceback
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from actors.contracts import Outage
from actors.text import one_line
from configs.domains import find
from configs.load import ConfigError, load
from configs.schema import Config
from configs.schema import Judge as JudgeSettings
from serving.judge.mllm_endpoint import KEY as JUDGE_KEY
from serving.judge.service import VisualJudge
from training.evaluation import benchmarks, questions, scoreboard
from training.evaluation.benchmarks import Benchmark, Case
from training.evaluation.estimate import Estimate
from training.evaluation.grading import Grader, row
from training.evaluation.models import Answers, EndpointAnswers, connect
from training.evaluation.saved import SavedAnswers
from training.metrics.clip import Clip

SAMPLES = "samples.jsonl"
CONCURRENCY = 64  # questions under way; the engine batches them
TRIES = 2  # of a case whose grading meets an outage


@dataclass(frozen=True)
class Evaluation:
    """One evaluation as it runs: what is asked, who answers, who grades, and where it is written."""

    benchmark: Benchmark
    answers: Answers | SavedAnswers
    grader: Grader
    out: Path
    facts: dict[str, Any]
    prompt: str

    async def run(self, done: dict[str, dict[str, Any]]) -> list[str]:
        """Answer and grade what is not `done`. Returns a line for each case that stays open."""
        left = [case for case in self.benchmark.cases if case.name not in done]
        waiting = iter(left)
        open_: list[str] = []
        shown = Estimate(self.benchmark.name, len(self.benchmark.cases), len(done))
        with shown, (self.out / SAMPLES).open("a") as file:

            async def worker() -> None:
                for case in waiting:
                    try:
                        found = await self._one(case)
                    except Exception as error:
                        if getattr(error, "exit_status", 1) == 2:  # this machine lacks what every case needs
                            raise
                        if not isinstance(error, (Outage, OSError, ValueError, LookupError)) and not open_:
                            traceback.print_exc()
                        words = " ".join(str(error).split())[:300]
                        open_.append(f"{case.name}: {words or type(error).__name__}")
                        continue
                    finally:
                        shown.advance()
                    file.write(json.dumps(found) + "\n")
                    file.flush()
                    done[case.name] = found

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(CONCURRENCY, len(left))):
                        group.create_task(worker())
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
        return open_

    async def _one(self, case: Case) -> dict[str, Any]:
        """The finished sample. Raises Outage, OSError where the case's picture is not there."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(Outage):
                return await self._try(case)
        return await self._try(case)

    async def _try(self, case: Case) -> dict[str, Any]:
        void = "its reference does not render here"
        try:
            target = await self.grader.target(case)
        except ValueError as error:  # it stays unreadable however often it is tried
            target, void = None, str(error)
        if target is None:
            return {"name": case.name, "void": void, "scores": {}, "partial": {}, "pictures": ""}
        width, height = Image.open(io.BytesIO(target)).size
        if isinstance(self.answers, SavedAnswers):
            text = self.answers.of(case.name)
        else:
            prompt = questions.filled(self.prompt, width, height, bool(self.facts["prompts"]))
            text = await self.answers.answer(target, prompt)
        graded = await self.grader.grade(case, target, text)
        name = f"pictures/{file_name(case.name)}.png"
        both = await asyncio.to_thread(scoreboard.side_by_side, target, graded.picture, graded.failure)
        (self.out / name).write_bytes(both)
        return {**row(graded, name), "response": text}


def file_name(name: str) -> str:
    """A name that every file system takes, another for every case."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name)[:100]
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode('utf-8', 'backslashreplace')):08x}"


def open_folder(out: Path, facts: dict[str, Any], resume: bool) -> dict[str, dict[str, Any]]:
    """Make or take up the folder of an evaluation; its finished samples by name. Raises ConfigError."""
    try:
        (out / "pictures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}") from None
    settings, samples = out / "settings.json", out / SAMPLES
    done: dict[str, dict[str, Any]] = {}
    if samples.exists() and samples.stat().st_size:
        if not resume:
            raise ConfigError(f"{out} holds an evaluation: go on with --resume, or choose another --out")
        before = json.loads(settings.read_text()) if settings.exists() else {}
        if differing := [key for key in facts if before.get(key) != facts[key]]:
            key = differing[0]
            raise ConfigError(
                f"{out} was begun with {key}={before.get(key)!r}, this is {facts[key]!r}: choose another --out"
            )
        whole = []
        for line in samples.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last line of a run that was killed
                found = json.loads(line)
                done[found["name"]] = found
                whole.append(line)
        samples.write_text("".join(f"{line}\n" for line in whole))
    settings.write_text(json.dumps(facts, indent=2) + "\n")
    return done


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, as `training/evaluate.py` takes it from a command line."""

    benchmark: str  # one of benchmarks.LOADERS
    data: Path  # the benchmark's folder
    model: str = ""  # a folder, a hub name, or an OpenAI-compatible address (.../v1); empty where there are answers
    answers: Path | None = None  # answers that exist: JSONL, JSON, or a folder of programs or pages
    model_name: str = ""  # its name at that address; empty takes the first it lists
    judge: str = ""  # an OpenAI-compatible address, or perceptual; empty asks none
    judge_model: str = ""  # its name at that address; empty takes the first it lists
    questions: Path | None = None  # clone of the benchmark, for its judge's published question
    prompts: Path | None = None  # clone of the benchmark, for its published prompt
    official: bool = False  # the original's scores and readings, faults included
    clip: str = ""  # a CLIP model: local path or hub name
    config: str | None = None  # a YAML of configs/
    out: Path | None = None  # folder of the results; None takes evaluations/BENCHMARK-MODEL
    limit: int | None = None  # only the first so many cases
    resume: bool = False
    overrides: Sequence[str] = ()


def settings_of(args: Request) -> Config:
    """Settings of engine and renderer; without a file what a full-size model needs: context, answer length, its own
    precision, room for one such context, and the GPU where there is one."""
    if args.config:
        return load(args.config, args.overrides)
    roomy = ["engine.max_model_len=16384", "sampling.max_tokens=4096", "engine.turn_s=1200"]
    if args.model and not args.model.startswith(("http://", "https://")):
        import torch

        gpus = min(1, torch.cuda.device_count())
        roomy += ["policy.dtype=bfloat16", "engine.kv_cache_mb=4096", f"engine.gpus={gpus}"]
    return load(None, [*roomy, *args.overrides])


async def evaluate(args: Request) -> int:
    """Run it all. Raises ConfigError, Outage."""
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit {args.limit}: at least one case")
    config = settings_of(args)
    benchmark = benchmarks.load(args.benchmark, args.data, args.limit, config.data.domain)
    model = str(args.answers.resolve()) if args.answers else args.model.rstrip("/")
    asks = args.judge.startswith(("http://", "https://"))
    if args.judge not in ("", "perceptual") and not asks:
        raise ConfigError(f"--judge {args.judge}: neither perceptual nor an address")
    if args.questions and not asks:
        raise ConfigError("--questions: who answers them? --judge URL")
    question = questions.judge(args.benchmark, args.questions) if args.questions else None
    prompt = questions.prompt(args.benchmark, args.prompts) if args.prompts else find(benchmark.domain).request
    out = args.out or Path("evaluations") / f"{args.benchmark}-{re.sub(r'[^A-Za-z0-9.-]+', '_', Path(model).name)}"
    if asks and not args.judge_model:
        args = replace(args, judge_model=await listed(args.judge))
    facts = {"benchmark": args.benchmark, "model": model, "model_name": args.model_name,
             "data": str(args.data.resolve()), "judge": args.judge, "judge_model": args.judge_model * asks,
             "clip": args.clip, "config": args.config or "", "settings": " ".join(args.overrides),
             "official": args.official, "questions": str(args.questions or ""),
             "prompts": str(args.prompts or "")}  # fmt: skip
    done = open_folder(out, facts, args.resume)
    known = {case.name for case in benchmark.cases}
    done = {name: found for name, found in done.items() if name in known}
    clip = Clip(args.clip) if args.clip else None
    judge, rater = judge_of(args)
    grader = Grader(benchmark, config.render, judge, rater, clip, question=question, official=args.official)
    answers: Answers | SavedAnswers
    if args.answers:
        answers = SavedAnswers(args.answers)
        answers.expect([case.name for case in benchmark.cases])
    else:
        answers = connect(model, args.model_name, config)
    work = Evaluation(benchmark, answers, grader, out, facts, prompt)
    left_open: list[str] = []
    try:
        for asked in (answers, rater):
            if isinstance(asked, EndpointAnswers):
                await asked.reach()
        left_open = await work.run(done)
    finally:
        for part in (answers, grader, judge, rater):
            if part is not None and not isinstance(part, SavedAnswers):
                await part.close()
        ordered = [done[case.name] for case in benchmark.cases if case.name in done]
        if ordered:
            scoreboard.write(out, {**facts, "answers": answers.name, "saved": bool(args.answers)}, ordered, left_open)
    for line in left_open[:10]:
        print(f"open: {one_line(line)}", file=sys.stderr)
    if left_open:
        print(f"outage: {len(left_open)} cases are left open; go on with --resume", file=sys.stderr)
    text = (out / "summary.md").read_text() if ordered else "nothing was graded"
    print("\n".join(map(one_line, text.splitlines())))  # it names cases, and what a model answered wrong
    print(f"-> {out}")
    return 1 if left_open else 0


async def listed(url: str) -> str:
    """The first model that a judge's endpoint lists. Raises ConfigError, Outage."""
    rater = EndpointAnswers(url, key=JUDGE_KEY)
    try:
        await rater.reach()
        name = await rater.model()
    finally:
        await rater.close()
    print(f"judge: {name}, the first model that {url} lists", file=sys.stderr)
    return name


def judge_of(args: Request) -> tuple[VisualJudge | None, EndpointAnswers | None]:
    """The judge of --judge, and a model that rates, where it is one."""
    if not args.judge:
        return None, None
    if args.judge == "perceptual":
        return VisualJudge(JudgeSettings()), None
    settings = replace(JudgeSettings(), backend="mllm", url=args.judge, model=args.judge_model)
    return VisualJudge(settings), EndpointAnswers(args.judge, args.judge_model, key=JUDGE_KEY, max_tokens=1024)
