"""Algorithm 1 over a scripted policy (the protocols exist so that a test can stand in for the cluster)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from actors.contracts import Outage, RenderResult, Sample, Verdict
from actors.dialogue import Codec
from actors.replay.ledger import Ticket
from actors.rollout.actor import Against, play_group, play_member
from actors.rollout.episode import Environment, Rules, episode
from actors.trajectory import Trajectory
from configs.schema import Feedback, Prompts, RewardWeights, Rollout, Sampling

CALL = "<think>t</think><tool_call>{}</tool_call>"
ANSWER = "<think>t</think><answer>{}</answer>"


class Script:
    """Says its lines in order and remembers what it was shown; the codec counts the prompt as the engine would."""

    def __init__(self, codec: Codec, lines: Sequence[str | Exception]) -> None:
        self.codec, self.lines = codec, list(lines)
        self.seen: list[tuple[str, int]] = []
        self.sessions: list[str] = []

    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        self.sessions.append(session)
        self.seen.append((self.codec.tokenizer.decode(list(prompt_ids)), len(images)))
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        ids = tuple(self.codec.encode(line))[:max_tokens]
        expanded = len(prompt_ids) - len(images) + sum(self.codec.image_tokens(i) for i in images)
        cut = len(ids) < len(self.codec.encode(line))
        return Sample(ids, (-1.0,) * len(ids), (0,) * len(ids), expanded, "length" if cut else "stop")


class Easel:
    """Renders `ok:NAME` to a picture of that colour, fails everything else."""

    def __init__(self, picture: Callable[..., bytes]) -> None:
        self.picture = picture

    async def render(self, source: str, domain: str) -> RenderResult:
        if source.startswith("ok:"):
            return RenderResult(True, 0.01, self.picture(source[3:]), (168, 140))
        if source == "thin":
            return RenderResult(True, 0.01, self.picture("red", (804, 4)), (804, 4))
        return RenderResult(False, 0.01, kind="exception", message="line 1: NameError: " + source)


class Eye:
    async def compare(self, target: bytes, render: bytes, domain: str) -> Verdict:
        same = target == render
        return Verdict(1.0 if same else 0.4, "the same" if same else "the box should be red", "test")


@pytest.fixture(scope="module")
def codec(tiny_model: Path, prompts: Prompts) -> Codec:
    return Codec.load(str(tiny_model), prompts)


@pytest.fixture
def play(codec: Codec, picture: Callable[..., bytes]) -> Callable[..., tuple]:
    rules = Rules("chart", Rollout(max_turns=4, retries=1), Sampling(), Feedback(), RewardWeights())

    def run(*lines: str | Exception, rules: Rules = rules, **rollout: object) -> tuple:
        script = Script(codec, lines)
        env = Environment(script, Easel(picture), Eye(), codec)  # type: ignore[arg-type]
        rules = replace(rules, rollout=replace(rules.rollout, **rollout))  # type: ignore[arg-type]
        return asyncio.run(episode(picture("red"), env, rules, "s")), script

    run.rules = rules  # type: ignore[attr-defined]
    return run


def test_a_call_then_an_answer(play: Callable[..., tuple]) -> None:
    found, script = play(CALL.format("ok:blue"), ANSWER.format("ok:red"))
    assert [t.kind for t in found.turns] == ["tool_call", "answer"]
    assert found.ending == "answer"
    assert found.reward.vision == 1.0
    assert "the box should be red" in script.seen[1][0]
    assert script.seen[1][1] == 1  # words only: one image
    assert len(found.token_ids) == len(found.sampled) == len(found.logprobs) == len(found.versions)


def test_the_picture_is_shown_when_asked_for(play: Callable[..., tuple]) -> None:
    rules = replace(play.rules, feedback=Feedback(include_render=True))  # type: ignore[attr-defined]
    found, script = play(CALL.format("ok:blue"), ANSWER.format("ok:red"), rules=rules)
    assert script.seen[1][1] == 2 and len(found.images) == 2


def test_a_picture_that_no_model_takes_gets_feedback_in_words_alone(play: Callable[..., tuple]) -> None:
    rules = replace(play.rules, feedback=Feedback(include_render=True))  # type: ignore[attr-defined]
    found, script = play(CALL.format("thin"), ANSWER.format("ok:red"), rules=rules)
    assert script.seen[1][1] == 1 and found.turns[0].render.ok


def test_feedback_on_a_failed_program_says_what_failed(play: Callable[..., tuple]) -> None:
    found, script = play(CALL.format("oops"), ANSWER.format("ok:red"))
    assert "exception: line 1: NameError: oops" in script.seen[1][0]
    assert found.reward.tool == 1.0  # similarity above the threshold


def test_turns_end_at_the_bound_and_the_last_one_is_announced(play: Callable[..., tuple]) -> None:
    found, script = play(*[CALL.format("ok:blue")] * 4)
    assert len(found.turns) == 4 and found.ending == "last_turn" and found.reward.format == -1
    assert [" last" in prompt for prompt, _ in script.seen] == [False, False, False, True]


def test_a_malformed_turn_ends_the_trajectory(play: Callable[..., tuple]) -> None:
    found, _ = play("no tags at all")
    assert (found.ending, found.reward.total) == ("malformed", pytest.approx(-0.2))


def test_a_cut_turn_is_distinguished_from_a_malformed_one(play: Callable[..., tuple]) -> None:
    rules = replace(play.rules, sampling=Sampling(max_tokens=5))  # type: ignore[attr-defined]
    assert play(ANSWER.format("ok:red"), rules=rules)[0].ending == "length"


def test_single_turn_offers_no_tool(play: Callable[..., tuple]) -> None:
    found, script = play(CALL.format("ok:red"), single_turn=True)
    assert found.ending == "malformed" and "direct" in script.seen[0][0]
    assert play(ANSWER.format("ok:red"), single_turn=True)[0].reward.vision == 1.0


def test_an_outage_leaves_as_an_outage(play: Callable[..., tuple]) -> None:
    with pytest.raises(Outage, match="engine: gone"):
        play(Outage("engine", "gone"))


@pytest.mark.parametrize("part", ["render", "judge"])
def test_no_turn_is_made_of_an_outage_of_the_tools(
    codec: Codec, picture: Callable[..., bytes], play: Callable[..., tuple], part: str
) -> None:
    class Down:
        async def render(self, source: str, domain: str) -> RenderResult:
            raise Outage("render", "down")

        async def compare(self, target: bytes, render: bytes, domain: str) -> Verdict:
            raise Outage("judge", "down")

    easel, eye = (Down(), Eye()) if part == "render" else (Easel(picture), Down())
    env = Environment(Script(codec, [ANSWER.format("ok:red")]), easel, eye, codec)  # type: ignore[arg-type]
    with pytest.raises(Outage, match=f"{part}: down"):
        asyncio.run(episode(picture(), env, play.rules, "s"))  # type: ignore[attr-defined]


def test_an_episode_ends_by_its_deadline(
    codec: Codec, picture: Callable[..., bytes], play: Callable[..., tuple]
) -> None:
    class Stuck(Eye):
        async def compare(self, *_: object) -> Verdict:
            await asyncio.sleep(60)
            raise AssertionError

    env = Environment(Script(codec, [CALL.format("ok:blue")]), Easel(picture), Stuck(), codec)  # type: ignore[arg-type]
    rules = replace(play.rules, rollout=Rollout(trajectory_s=0.2))  # type: ignore[attr-defined]
    with pytest.raises(Outage, match=r"rollout\.trajectory_s"):
        asyncio.run(episode(picture(), env, rules, "s"))


def test_a_group_resolves_every_member_and_never_rewards_an_outage(
    codec: Codec, picture: Callable[..., bytes], play: Callable[..., tuple]
) -> None:
    lines: list[str | Exception] = [ANSWER.format("ok:red")] * 5 + [Outage("judge", "down")] * 4
    env = Environment(Script(codec, lines), Easel(picture), Eye(), codec)  # type: ignore[arg-type]
    rules = replace(play.rules, rollout=Rollout(group_size=7, retries=1))  # type: ignore[attr-defined]
    members, group = asyncio.run(play_group(Ticket(3, 1), picture("red"), env, rules))
    assert sorted(members) == ["done"] * 5 + ["judge"] * 2
    assert len(group.trajectories) == 5 and all(t.reward.vision == 1.0 for t in group.trajectories)


def test_an_outage_repeats_its_request_and_keeps_what_was_sampled(
    codec: Codec, picture: Callable[..., bytes], play: Callable[..., tuple]
) -> None:
    """Were the episode played anew, one outage would cost a member of two turns twice what it costs one of one turn."""
    script = Script(codec, [CALL.format("ok:blue"), Outage("engine", "gone"), ANSWER.format("ok:red")])
    env = Environment(script, Easel(picture), Eye(), codec)  # type: ignore[arg-type]
    found = asyncio.run(play_member(picture("red"), env, play.rules, "s"))  # type: ignore[attr-defined]
    assert isinstance(found, Trajectory) and [t.kind for t in found.turns] == ["tool_call", "answer"]
    assert not script.lines and script.sessions == ["s.0", "s.0", "s.1"]  # another session may find another engine


def test_the_seed_decides_which_groups_are_played_without_the_tool(
    codec: Codec, picture: Callable[..., bytes], play: Callable[..., tuple]
) -> None:
    rules = replace(play.rules, rollout=Rollout(group_size=2, direct_share=0.5))  # type: ignore[attr-defined]

    def direct(seed: int) -> list[bool]:
        found = []
        for group in range(12):
            script = Script(codec, [ANSWER.format("ok:red")] * 2)
            env = Environment(script, Easel(picture), Eye(), codec)  # type: ignore[arg-type]
            asyncio.run(play_group(Ticket(group, 0), picture("red"), env, rules, seed=seed))
            found.append("direct" in script.seen[0][0])
        return found

    assert direct(0) == direct(0) != direct(1)


def test_a_group_that_shares_its_first_turn_compares_repairs_alone(
    codec: Codec, picture: Callable[..., bytes], play: Callable[..., tuple]
) -> None:
    rules = replace(play.rules, rollout=Rollout(group_size=3, share_first=True))  # type: ignore[attr-defined]
    script = Script(codec, [CALL.format("ok:blue"), *[ANSWER.format(f"ok:{c}") for c in ("red", "green", "blue")]])
    env = Environment(script, Easel(picture), Eye(), codec)  # type: ignore[arg-type]
    members, group = asyncio.run(play_group(Ticket(5, 1), picture("red"), env, rules))
    assert members == ["done"] * 3 and not script.lines
    for played in group.trajectories:
        assert [t.kind for t in played.turns] == ["tool_call", "answer"] and played.turns[0].sampled == 0
        assert sum(played.sampled) == played.turns[1].sampled  # the shared turn is nobody's to train on
    assert [t.control for t in group.trajectories] == [False, False, True]
    corrected = ["the box should be red" in seen for seen, _ in script.seen]
    assert corrected == [False, True, True, False]  # the control gets empty feedback
    alone = Script(codec, [ANSWER.format("ok:red")] * 4)  # a first turn that does not call is not shared
    env = Environment(alone, Easel(picture), Eye(), codec)  # type: ignore[arg-type]
    _, group = asyncio.run(play_group(Ticket(5, 1), picture("red"), env, rules))
    assert not alone.lines and all(sum(t.sampled) > 0 and not t.control for t in group.trajectories)


def test_an_exchanged_target_is_what_the_judge_compares_with(
    codec: Codec, picture: Callable[..., bytes], play: Callable[..., tuple]
) -> None:
    script = Script(codec, [ANSWER.format("ok:red")])
    env = Environment(script, Easel(picture), Against(Eye(), picture("blue")), codec)  # type: ignore[arg-type]
    assert asyncio.run(episode(picture("red"), env, play.rules, "s")).reward.vision == 0.4  # type: ignore[attr-defined]


@pytest.mark.parametrize(("share", "prompt"), [(0.0, "tool"), (1.0, "direct")])
def test_a_share_of_the_groups_is_played_without_the_tool(
    codec: Codec, picture: Callable[..., bytes], play: Callable[..., tuple], share: float, prompt: str
) -> None:
    script = Script(codec, [ANSWER.format("ok:red")] * 3)
    rules = replace(play.rules, rollout=Rollout(group_size=3, direct_share=share))  # type: ignore[attr-defined]
    asyncio.run(play_group(Ticket(5, 1), picture("red"), Environment(script, Easel(picture), Eye(), codec), rules))  # type: ignore[arg-type]
    assert all(prompt in seen for seen, _ in script.seen) and len(script.seen) == 3
