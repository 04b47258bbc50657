"""The account that ends a run of kills: what it calls trained twice."""

from actors.replay.ledger import Entry, State
from tests.chaos import PROMPTS, again_in_an_epoch


def given(group: int, prompt: int, state: State = "consumed", reissue: int = 0) -> Entry:
    return Entry(group, prompt, "w", state, 0, reissue)


def test_a_prompt_is_given_again_in_its_epoch_only_where_it_was_dropped() -> None:
    first = [given(n, n) for n in range(PROMPTS)]
    second = [given(PROMPTS + n, n) for n in range(3)]
    assert not again_in_an_epoch([*first, *second])
    lost = [given(0, 0, "lost"), *first[1:], given(PROMPTS, 0)]
    assert not again_in_an_epoch(lost) and not again_in_an_epoch([*lost, given(PROMPTS + 1, 0)])
    early = [*first[:9], given(9, 4), *[given(n + 1, n) for n in range(9, PROMPTS)]]
    assert again_in_an_epoch(early) == [4]
    assert again_in_an_epoch([*first, *second, given(PROMPTS + 3, 1)]) == [1], "in a later epoch as well"


def test_a_prompt_that_was_dropped_twice_is_given_again_in_the_next_epoch_alone() -> None:
    first = [given(0, 0, "stale"), *[given(n, n) for n in range(1, PROMPTS)], given(PROMPTS, 0, "stale", 1)]
    second = [given(PROMPTS + 1 + n, n) for n in range(PROMPTS)]
    assert not again_in_an_epoch([*first, *second])
    early = [given(0, 0, "stale"), given(1, 0, "stale", 1), given(2, 0)]
    assert again_in_an_epoch(early) == [0]
