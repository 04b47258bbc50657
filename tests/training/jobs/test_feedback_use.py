"""The feedback study, by hand: who gets which feedback, and the figures."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.contracts import Sample
from actors.dialogue import Codec, Dialogue
from actors.rollout.episode import Environment, Rules
from configs.schema import Feedback, Prompts, RewardWeights, Rollout, Sampling
from tests.actors.rollout.test_episode import ANSWER, CALL, Easel, Eye
from training.data.image_sets import ImageSet
from training.evaluation.turns.second import Looked, exchanged
from training.jobs import feedback_use
from training.jobs.feedback_use import Attempt, Second, measure, summary
from training.run import cluster
from training.run.nodes import room


def test_everybody_gets_somebody_elses_words() -> None:
    texts = [f"prompt of {n}" for n in range(9)]
    other = exchanged(texts, seed=3)
    assert sorted(other) == sorted(texts)
    assert all(a != b for a, b in zip(texts, other, strict=True))
    assert other == exchanged(texts, seed=3) != exchanged(texts, seed=4)


def attempt(ran: bool) -> Attempt:
    return Attempt("s", b"", Dialogue(None), Looked(ran, 0.5 * ran, "words", None))  # type: ignore[arg-type]


def test_the_gain_is_paired_and_apart_by_first_attempt() -> None:
    attempts = [attempt(True), attempt(True), attempt(False)]
    good, bad, failed = Second(True, 0.8, False), Second(True, 0.2, True), Second(False, 0.0, False)
    found = {"correct": [good, good, good], "empty": [bad, good, failed], "shuffled": [bad, bad, good]}
    result = summary(attempts, found, tried=5)
    assert (result["tried"], result["tool_calls"]) == (5, 3)
    ran, broken = result["first attempt ran"], result["first attempt failed"]
    assert (ran["n"], broken["n"], ran["similarity_before"]) == (2, 1, 0.5)
    assert ran["empty"] == {"runs": 1.0, "similarity": 0.5, "repeated": 0.5}
    assert ran["correct - shuffled: similarity"] == [0.6, 0.6, 0.6]
    mean, low, high = ran["correct - empty: similarity"]
    assert abs(mean - 0.3) < 1e-9 and low <= 0 < high
    assert broken["correct - empty: ran"][0] == 1.0 and broken["correct - shuffled: ran"][0] == 0.0


def test_the_ledger_of_a_run_outlives_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's queue begins a journal of its own: not in the place of the run's."""
    from configs.load import load

    class Cluster:
        def __init__(self, config: Any, folder: Path, *rest: Any) -> None:
            self.folder = folder

        def __enter__(self) -> Any:
            (self.folder / "queue.jsonl").write_text("begun anew")
            return self

        def __exit__(self, *rest: Any) -> None: ...

        def env(self, temperature: float) -> None: ...

    async def studies(*rest: Any) -> dict[str, Any]:
        return {"tried": 3}

    monkeypatch.setattr(cluster, "Cluster", Cluster)
    monkeypatch.setattr(cluster, "join", lambda *rest: None)
    monkeypatch.setattr(room, "wait_for_room", lambda *rest: SimpleNamespace(release=lambda: None))
    monkeypatch.setattr(feedback_use, "studies", studies)
    (tmp_path / "queue.jsonl").write_text("the ledger")
    assert measure(load("configs/tiny_chart.yaml", []), "m", tmp_path, ImageSet("held", ())) == {"tried": 3}
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("queue.jsonl", "the ledger")]


class Obedient:
    """Draws blue first, and then what the feedback asks; `calls` of its first turns are tool calls."""

    def __init__(self, codec: Codec, calls: int) -> None:
        self.codec, self.calls, self.seen = codec, calls, [0, 0]

    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        prompt = self.codec.tokenizer.decode(list(prompt_ids))
        again = "ok:blue" in prompt
        self.seen[again] = max(self.seen[again], len(images))
        text = ANSWER.format("ok:red" if "should be red" in prompt else "ok:blue") if again else CALL.format("ok:blue")
        if not again:
            self.calls -= 1
            text = text if self.calls >= 0 else ANSWER.format("ok:blue")
        ids = tuple(self.codec.encode(text))
        expanded = len(prompt_ids) - len(images) + sum(self.codec.image_tokens(i) for i in images)
        return Sample(ids, (-1.0,) * len(ids), (0,) * len(ids), expanded, "stop")


@pytest.mark.parametrize(("calls", "rendered"), [(3, False), (3, True), (1, False)])
def test_only_the_words_differ(
    tiny_model: Path, prompts: Prompts, picture: Callable[..., bytes], tmp_path: Path, calls: int, rendered: bool
) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(picture("red"))
    images = ImageSet("held", tuple(str(tmp_path / f"{name}.png") for name in "abcd"))
    codec = Codec.load(str(tiny_model), prompts)
    policy = Obedient(codec, calls)
    env = Environment(policy, Easel(picture), Eye(), codec)  # type: ignore[arg-type]
    rules = Rules("chart", Rollout(), Sampling(), Feedback(include_render=rendered), RewardWeights())
    found = asyncio.run(feedback_use.study(images, env, rules, 0, 10**6))
    assert (found["tried"], found["tool_calls"]) == (4, calls)
    if calls < 2:  # a finding, not an error
        assert set(found) == {"tried", "tool_calls"}
        return
    ran = found["first attempt ran"]
    assert policy.seen == [1, 2 if rendered else 1]
    assert (ran["correct"]["similarity"], ran["empty"]["similarity"]) == pytest.approx((1.0, 0.4))
    assert (ran["correct"]["repeated"], ran["empty"]["repeated"]) == (0.0, 1.0)
