"""The ledger's ledger under arbitrary interleavings (invariants 1 and 2, and 8 as far as the ledger go)."""

import math
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.replay.ledger import FINAL, Barren, Ledger, LedgerError, Ticket
from configs.schema import Queue

G = 4
DONE = ["done"] * G


def new_ledger(**overrides: int | bool) -> Ledger:
    config = Queue(groups_per_step=2, max_staleness=1, max_empty_batches=50, **overrides)  # type: ignore[arg-type]
    return Ledger(config, prompts=5, group_size=G)


def play(ledger: Ledger, ticket: Ticket, rewards: list[float], oldest: int | None = None) -> str:
    version = ledger.version if oldest is None else oldest
    members = ["done"] * len(rewards) + ["engine"] * (G - len(rewards))
    return ledger.resolve(ticket.group, members, rewards, (version, ledger.version), tokens=10)


def counters(ledger: Ledger) -> tuple[int, ...]:
    return ledger.frontier, ledger.version, ledger.counts["consumed"], ledger.counts["ready"]


def take(ledger: Ledger) -> Ticket:
    ticket = ledger.dispatch(f"w/{len(ledger.entries)}")
    assert ticket is not None
    return ticket


def test_admission_stops_at_the_staleness_bound() -> None:
    ledger = new_ledger()
    for _ in range(4):  # (1 + 0 + 1) * 2
        take(ledger)
    assert ledger.dispatch("another/0") is None
    ledger.version = 1
    assert ledger.capacity == 2


def test_a_group_resolves_once_and_whole() -> None:
    ledger = new_ledger()
    ticket = take(ledger)
    with pytest.raises(LedgerError, match="a group has 4"):
        ledger.resolve(ticket.group, DONE[:-1], [1.0, 2.0, 3.0], (0, 0), 1)
    assert play(ledger, ticket, [0, 1, 0, 1]) == "ready"
    with pytest.raises(LedgerError, match="is ready, not running"):
        play(ledger, ticket, [0, 1, 0, 1])
    with pytest.raises(LedgerError, match="unknown"):
        ledger.resolve(99, DONE, [0, 1, 0, 1], (0, 0), 1)


def test_too_few_survivors_fail_and_are_issued_again_once() -> None:
    ledger = new_ledger()
    ticket = take(ledger)
    assert play(ledger, ticket, [0, 1]) == "failed"
    again = take(ledger)
    assert again.prompt == ticket.prompt and again.group != ticket.group
    assert play(ledger, again, [0, 1]) == "failed"
    assert take(ledger).prompt != ticket.prompt


def test_a_prompt_that_was_dropped_twice_is_named() -> None:
    ledger = new_ledger()
    play(ledger, take(ledger), [0, 1])
    assert ledger.given_up == []
    again = take(ledger)
    play(ledger, again, [0, 1, 0, 1], oldest=0)
    ledger.version = 2
    assert ledger.cut(step=2) is None
    assert [(e.prompt, e.state, e.reason) for e in ledger.given_up] == [
        (again.prompt, "stale", "oldest token 2 versions old")
    ]


def test_prompts_on_which_all_members_agree_come_less_often_and_come_back() -> None:
    config = Queue(groups_per_step=1000, max_empty_batches=10_000, by_difficulty=True)
    ledger = Ledger(config, prompts=20, group_size=G)
    drawn: Counter[int] = Counter()
    for _ in range(1500):
        ticket = take(ledger)
        drawn[ticket.prompt] += 1
        play(ledger, ticket, [1.0] * G if ticket.prompt < 10 else [0, 1, 0, 1])
    easy, hard = (sum(drawn[p] for p in chosen) for chosen in (range(10), range(10, 20)))
    assert 0.08 < easy / hard < 0.2  # an eighth in the long run, more at the start
    assert all(drawn[p] for p in range(20))
    restored = Ledger.restore(config, ledger.snapshot())
    assert {p: n for p, n in restored.agreed.items() if n} == {p: n for p, n in ledger.agreed.items() if n}
    assert all(take(ledger).prompt == take(restored).prompt for _ in range(40))


def test_three_of_four_survivors_are_enough() -> None:
    ledger = new_ledger()
    assert play(ledger, take(ledger), [0, 1, 0]) == "ready"


def test_equal_rewards_are_dropped_and_refilled_or_kept() -> None:
    ledger = new_ledger()
    assert play(ledger, take(ledger), [0.5] * 4) == "zero_variance"
    assert ledger.capacity == 4
    kept = new_ledger(drop_zero_variance=False)
    assert play(kept, take(kept), [0.5] * 4) == "ready"


def test_a_stale_group_never_reaches_the_learner() -> None:
    ledger = new_ledger()
    tickets = [take(ledger) for _ in range(4)]
    for ticket in tickets:
        play(ledger, ticket, [0, 1, 0, 1], oldest=0)
    assert ledger.cut(step=0) == [0, 1]
    ledger.version = 2  # groups 2 and 3 are now two versions old, the bound is one
    assert ledger.cut(step=2) is None
    assert ledger.counts["stale"] == 2
    assert {p for p, _ in ledger.waiting} == {tickets[2].prompt, tickets[3].prompt}


def test_nothing_to_learn_from_raises_with_the_reasons() -> None:
    ledger = Ledger(Queue(groups_per_step=2, max_empty_batches=3), prompts=5, group_size=G)
    for _ in range(6):
        play(ledger, take(ledger), [1.0] * 4)
    for found in (ledger, Ledger.restore(ledger.config, ledger.snapshot())):
        with pytest.raises(Barren, match=r"the last one: all rewards equal\).*'zero_variance': 6"):
            found.cut(step=0)


def test_every_prompt_comes_once_an_epoch() -> None:
    ledger = Ledger(Queue(groups_per_step=10, max_staleness=1), prompts=5, group_size=G)
    prompts = [take(ledger).prompt for _ in range(10)]
    assert sorted(prompts[:5]) == sorted(prompts[5:]) == list(range(5))
    assert prompts[:5] != prompts[5:]


def test_a_slot_that_asks_again_gets_the_group_whose_ticket_it_never_received() -> None:
    ledger = new_ledger()
    ticket = ledger.dispatch("a/0")
    assert ledger.dispatch("a/0") == ticket and ledger.account()["dispatched"] == 1
    assert ledger.dispatch("a/1") != ticket


def test_a_batch_that_never_arrived_is_issued_again() -> None:
    ledger = new_ledger()
    tickets = [take(ledger) for _ in range(2)]
    for ticket in tickets:
        play(ledger, ticket, [0, 1, 0, 1])
    assert ledger.cut(step=0) == [0, 1]
    assert ledger.recall(step=1) == 0 and ledger.recall(step=0) == 2
    assert ledger.counts["consumed"] == 0 and {take(ledger).prompt for _ in range(2)} == {t.prompt for t in tickets}


class Life(RuleBasedStateMachine):
    """Dispatch, finish, fail, lose, bump the version, cut, kill and resume, in any order."""

    @initialize(staleness=st.integers(0, 3))
    def begin(self, staleness: int) -> None:
        config = Queue(groups_per_step=2, max_staleness=staleness, max_empty_batches=10_000)
        self.ledger = Ledger(config, prompts=5, group_size=G)
        self.journal = [self.ledger.snapshot()]
        self.running: dict[int, Ticket] = {}
        self.consumed: list[int] = []
        self.issued: list[int] = []
        self.training = False  # a batch was cut for this version
        self.archived: list[int] = []

    @rule(worker=st.sampled_from(["a", "b"]), slot=st.integers(0, 3))
    def dispatch(self, worker: str, slot: int) -> None:
        if (ticket := self.ledger.dispatch(f"{worker}/{slot}")) is not None and ticket.group not in self.running:
            assert ticket.group not in self.issued
            self.issued.append(ticket.group)
            self.running[ticket.group] = ticket

    @precondition(lambda self: self.running)
    @rule(data=st.data(), rewards=st.lists(st.floats(-1, 2, allow_nan=False), min_size=0, max_size=G))
    def finish(self, data: st.DataObject, rewards: list[float]) -> None:
        ticket = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        born = self.ledger.entries[ticket.group].dispatched_at
        play(self.ledger, ticket, rewards, oldest=data.draw(st.integers(born, self.ledger.version)))

    @rule(worker=st.sampled_from(["a", "b"]))
    def worker_dies(self, worker: str) -> None:
        gone = [n for n in self.running if self.ledger.entries[n].worker.startswith(worker)]
        assert self.ledger.lose(worker, "killed") == len(gone)
        for number in gone:
            del self.running[number]

    @precondition(lambda self: not self.training)
    @rule()
    def cut(self) -> None:
        batch = self.ledger.cut(step=self.ledger.version)
        for number in batch or []:
            entry = self.ledger.entries[number]
            assert self.ledger.version - entry.oldest <= self.ledger.config.max_staleness
            assert sum(m == "done" for m in entry.members) >= math.ceil(0.75 * G)
            assert number not in self.consumed
            self.consumed.append(number)
        self.training = batch is not None

    @precondition(lambda self: self.training)
    @rule()
    def train(self) -> None:
        self.ledger.version += 1
        self.training = False

    @precondition(lambda self: self.training)
    @rule()
    def the_learner_never_got_its_batch(self) -> None:
        gone = [n for n in self.consumed if self.step_of(n) == self.ledger.version]
        assert self.ledger.recall(self.ledger.version) == len(gone) == self.ledger.config.groups_per_step
        self.consumed = [n for n in self.consumed if n not in gone]
        self.training = False

    def step_of(self, number: int) -> int:
        entry = self.ledger.entries.get(number)
        return -1 if entry is None else entry.step

    @rule()
    def settle(self) -> None:
        """What nothing can change any more is written away, and the journal begins anew."""
        gone = self.ledger.settled()
        assert all(e.state in FINAL and (e.state != "consumed" or e.step < self.ledger.version) for e in gone)
        self.ledger.forget(gone, self.ledger.archive + len(gone))
        self.archived += [entry.group for entry in gone]
        self.ledger.changed.clear()
        self.journal = [self.ledger.snapshot()]

    @rule()
    def the_queue_dies(self) -> None:
        """Its journal gives the same ledger; groups that are being played go on being played."""
        self.journal.append(self.ledger.changes())
        before = self.ledger.account(), self.ledger.snapshot(), self.ledger.unsettled
        self.ledger = Ledger.replay(self.ledger.config, self.journal)
        assert (self.ledger.account(), self.ledger.snapshot(), self.ledger.unsettled) == before

    @rule()
    def kill_and_resume(self) -> None:
        unfinished = sorted(
            [e.prompt for e in self.ledger.entries.values() if e.state == "running"]
            + [p for p, _ in self.ledger.waiting]
        )
        before = (
            self.ledger.frontier,
            self.ledger.version,
            self.ledger.counts["consumed"],
            self.ledger.counts["ready"],
        )
        self.ledger = Ledger.restore(self.ledger.config, self.ledger.snapshot())
        self.journal = [self.ledger.snapshot()]
        self.running.clear()
        assert sorted(p for p, _ in self.ledger.waiting) == unfinished  # no prompt lost, none doubled
        assert counters(self.ledger) == before

    @invariant()
    def the_account_balances(self) -> None:
        account = self.ledger.account()
        assert account.pop("dispatched") == sum(account.values()) == len(self.issued)
        assert all(count >= 0 for count in account.values())
        assert self.ledger.unsettled == {n for n, e in self.ledger.entries.items() if e.state not in FINAL}
        assert account["running"] == len(self.running)
        assert sorted([*self.archived, *self.ledger.entries]) == sorted(self.issued), "each is in one place"
        assert self.ledger.archive == len(self.archived)

    @invariant()
    def admission_never_exceeds_the_bound(self) -> None:
        outstanding = self.ledger.counts["ready"] + self.ledger.counts["running"]
        assert outstanding <= (self.ledger.config.max_staleness + 1) * self.ledger.config.groups_per_step + max(
            0, self.ledger.version * self.ledger.config.groups_per_step - self.ledger.counts["consumed"]
        )


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
