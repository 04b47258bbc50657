"""The account that ends a run of kills: what it calls trained twice."""

from actors.replay.ledger import Entry, State
from tests.chaos import PROMPTS, again_in_an_epoch


def given(group: int, prompt: int, state: State = "consumed") -> Entry:
    return Entry(group, prompt, "w", state, 0)


def test_a_prompt_is_given_again_in_its_epoch_only_where_it_was_dropped() -> None:
    first = [given(n, n) for n in range(PROMPTS)]
    second = [given(PROMPTS + n, n) for n in range(3)]
    assert not again_in_an_epoch([*first, *second])
    lost = [given(0, 0, "lost"), *first[1:], given(PROMPTS, 0)]
    assert not again_in_an_epoch(lost) and not again_in_an_epoch([*lost, given(PROMPTS + 1, 0)])
    early = [*first[:9], given(9, 4), *[given(n + 1, n) for n in range(9, PROMPTS)]]
    assert again_in_an_epoch(early) == [4]
    assert again_in_an_epoch([*first, *second, given(PROMPTS + 3, 1)]) == [1], "in a later epoch as well"
