"""The plan of the base policy: what a step holds depends on the step alone, and everything it asks for is drawn."""

from training.base import curriculum, lessons
from training.base.pictures import SHARD, name_of
from training.data.synthetic_charts import chart


def test_a_step_always_holds_the_same_and_only_what_is_drawn() -> None:
    drawn = {name_of(*shard) for shard in curriculum.needed_shards()}
    for step in range(0, curriculum.TOTAL, 97):
        items = curriculum.batch(step, seed=0)
        stage, _ = curriculum.stage_of(step)
        assert items == curriculum.batch(step, seed=0) and len(items) == stage.size
        for item in items:
            if item.form == "dialogue":
                assert stage.dialogue
                continue
            assert item.index < stage.charts
            assert name_of("train", item.kind, item.look, item.index // SHARD) in drawn
            assert item.form == "direct" or (item.index < curriculum.LESSONS and item.look in curriculum.LESSON_LOOKS)
    assert curriculum.batch(0, seed=0) != curriculum.batch(0, seed=1)


def test_the_rate_warms_up_and_ends_at_nothing() -> None:
    rates = [curriculum.learning_rate(step) for step in range(curriculum.TOTAL)]
    assert rates[0] < 0.05 and max(rates) == 1.0 and rates[-1] < 0.01


def test_a_faulty_attempt_is_another_program_and_mostly_runs_or_fails_as_meant() -> None:
    import random

    broken = 0
    for i in range(200):
        found = chart("bar", "plain", i, 0, "train")
        attempt = lessons.faulty(found, ("bar", "barh"), random.Random(i))
        assert attempt != found.program
        try:
            compile(attempt, "<attempt>", "exec")
        except SyntaxError:
            broken += 1
    assert 10 < broken < 60  # one fault in seven breaks the syntax
