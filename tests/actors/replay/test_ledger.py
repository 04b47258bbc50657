"""The ledger's books under arbitrary interleavings (invariants 1 and 2, and 8 as far as the books go)."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.replay.ledger import FINAL, Barren, Ledger, LedgerError, Ticket
from configs.schema import Queue

G = 4
DONE = ["done"] * G


def ledger(**overrides: int | bool) -> Ledger:
    config = Queue(groups_per_step=2, max_staleness=1, max_empty_batches=50, **overrides)  # type: ignore[arg-type]
    return Ledger(config, prompts=5, group_size=G)


def play(books: Ledger, ticket: Ticket, rewards: list[float], oldest: int | None = None) -> str:
    version = books.version if oldest is None else oldest
    members = ["done"] * len(rewards) + ["engine"] * (G - len(rewards))
    return books.resolve(ticket.group, members, rewards, (version, books.version), tokens=10)


def take(books: Ledger) -> Ticket:
    ticket = books.dispatch(f"w/{len(books.entries)}")
    assert ticket is not None
    return ticket


def test_admission_stops_at_the_staleness_bound() -> None:
    books = ledger()
    for _ in range(4):  # (1 + 0 + 1) * 2
        take(books)
    assert books.dispatch("another/0") is None
    books.version = 1
    assert books.capacity == 2


def test_a_group_resolves_once_and_whole() -> None:
    books = ledger()
    ticket = take(books)
    with pytest.raises(LedgerError, match="a group has 4"):
        books.resolve(ticket.group, DONE[:-1], [1.0, 2.0, 3.0], (0, 0), 1)
    assert play(books, ticket, [0, 1, 0, 1]) == "ready"
    with pytest.raises(LedgerError, match="is ready, not running"):
        play(books, ticket, [0, 1, 0, 1])
    with pytest.raises(LedgerError, match="unknown"):
        books.resolve(99, DONE, [0, 1, 0, 1], (0, 0), 1)


def test_too_few_survivors_fail_and_are_issued_again_once() -> None:
    books = ledger()
    ticket = take(books)
    assert play(books, ticket, [0, 1]) == "failed"
    again = take(books)
    assert again.prompt == ticket.prompt and again.group != ticket.group
    assert play(books, again, [0, 1]) == "failed"
    assert take(books).prompt != ticket.prompt


def test_three_of_four_survivors_are_enough() -> None:
    books = ledger()
    assert play(books, take(books), [0, 1, 0]) == "ready"


def test_equal_rewards_are_dropped_and_refilled_or_kept() -> None:
    books = ledger()
    assert play(books, take(books), [0.5] * 4) == "zero_variance"
    assert books.capacity == 4
    kept = ledger(drop_zero_variance=False)
    assert play(kept, take(kept), [0.5] * 4) == "ready"


def test_a_stale_group_never_reaches_the_learner() -> None:
    books = ledger()
    tickets = [take(books) for _ in range(4)]
    for ticket in tickets:
        play(books, ticket, [0, 1, 0, 1], oldest=0)
    assert books.cut(step=0) == [0, 1]
    books.version = 2  # groups 2 and 3 are now two versions old, the bound is one
    assert books.cut(step=2) is None
    assert books.counts["stale"] == 2
    assert {p for p, _ in books.waiting} == {tickets[2].prompt, tickets[3].prompt}


def test_nothing_to_learn_from_raises_with_the_reasons() -> None:
    books = Ledger(Queue(groups_per_step=2, max_empty_batches=3), prompts=5, group_size=G)
    for _ in range(6):
        play(books, take(books), [1.0] * 4)
    with pytest.raises(Barren, match="'zero_variance': 6"):
        books.cut(step=0)


def test_every_prompt_comes_once_an_epoch() -> None:
    books = Ledger(Queue(groups_per_step=10, max_staleness=1), prompts=5, group_size=G)
    prompts = [take(books).prompt for _ in range(10)]
    assert sorted(prompts[:5]) == sorted(prompts[5:]) == list(range(5))
    assert prompts[:5] != prompts[5:]


def test_a_slot_that_asks_again_gets_the_group_whose_ticket_it_never_received() -> None:
    books = ledger()
    ticket = books.dispatch("a/0")
    assert books.dispatch("a/0") == ticket and books.account()["dispatched"] == 1
    assert books.dispatch("a/1") != ticket


def test_a_batch_that_never_arrived_is_issued_again() -> None:
    books = ledger()
    tickets = [take(books) for _ in range(2)]
    for ticket in tickets:
        play(books, ticket, [0, 1, 0, 1])
    assert books.cut(step=0) == [0, 1]
    assert books.recall(step=1) == 0 and books.recall(step=0) == 2
    assert books.counts["consumed"] == 0 and {take(books).prompt for _ in range(2)} == {t.prompt for t in tickets}


class Life(RuleBasedStateMachine):
    """Dispatch, finish, fail, lose, bump the version, cut, kill and resume, in any order."""

    @initialize(staleness=st.integers(0, 3))
    def begin(self, staleness: int) -> None:
        config = Queue(groups_per_step=2, max_staleness=staleness, max_empty_batches=10_000)
        self.books = Ledger(config, prompts=5, group_size=G)
        self.journal = [self.books.snapshot()]
        self.running: dict[int, Ticket] = {}
        self.consumed: list[int] = []
        self.issued: list[int] = []
        self.training = False  # a batch was cut for this version

    @rule(worker=st.sampled_from(["a", "b"]), slot=st.integers(0, 3))
    def dispatch(self, worker: str, slot: int) -> None:
        if (ticket := self.books.dispatch(f"{worker}/{slot}")) is not None and ticket.group not in self.running:
            assert ticket.group not in self.issued
            self.issued.append(ticket.group)
            self.running[ticket.group] = ticket

    @precondition(lambda self: self.running)
    @rule(data=st.data(), rewards=st.lists(st.floats(-1, 2, allow_nan=False), min_size=0, max_size=G))
    def finish(self, data: st.DataObject, rewards: list[float]) -> None:
        ticket = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        born = self.books.entries[ticket.group].dispatched_at
        play(self.books, ticket, rewards, oldest=data.draw(st.integers(born, self.books.version)))

    @rule(worker=st.sampled_from(["a", "b"]))
    def worker_dies(self, worker: str) -> None:
        gone = [n for n in self.running if self.books.entries[n].worker.startswith(worker)]
        assert self.books.lose(worker, "killed") == len(gone)
        for number in gone:
            del self.running[number]

    @precondition(lambda self: not self.training)
    @rule()
    def cut(self) -> None:
        batch = self.books.cut(step=self.books.version)
        for number in batch or []:
            entry = self.books.entries[number]
            assert self.books.version - entry.oldest <= self.books.config.max_staleness
            assert sum(m == "done" for m in entry.members) >= math.ceil(0.75 * G)
            assert number not in self.consumed
            self.consumed.append(number)
        self.training = batch is not None

    @precondition(lambda self: self.training)
    @rule()
    def train(self) -> None:
        self.books.version += 1
        self.training = False

    @precondition(lambda self: self.training)
    @rule()
    def the_learner_never_got_its_batch(self) -> None:
        gone = [n for n in self.consumed if self.books.entries[n].step == self.books.version]
        assert self.books.recall(self.books.version) == len(gone) == self.books.config.groups_per_step
        self.consumed = [n for n in self.consumed if n not in gone]
        self.training = False

    @rule()
    def the_queue_dies(self) -> None:
        """Its journal gives the same books; groups that are being played go on being played."""
        self.journal.append(self.books.changes())
        before = self.books.account(), self.books.snapshot(), self.books.unsettled
        self.books = Ledger.replay(self.books.config, self.journal)
        assert (self.books.account(), self.books.snapshot(), self.books.unsettled) == before

    @rule()
    def kill_and_resume(self) -> None:
        unfinished = sorted(
            [e.prompt for e in self.books.entries.values() if e.state == "running"] + [p for p, _ in self.books.waiting]
        )
        before = (self.books.frontier, self.books.version, self.books.counts["consumed"], self.books.counts["ready"])
        self.books = Ledger.restore(self.books.config, self.books.snapshot())
        self.journal = [self.books.snapshot()]
        self.running.clear()
        assert sorted(p for p, _ in self.books.waiting) == unfinished  # no prompt lost, none doubled
        after = (self.books.frontier, self.books.version, self.books.counts["consumed"], self.books.counts["ready"])
        assert after == before

    @invariant()
    def the_account_balances(self) -> None:
        account = self.books.account()
        assert account.pop("dispatched") == sum(account.values()) == len(self.issued)
        assert all(count >= 0 for count in account.values())
        assert self.books.unsettled == {n for n, e in self.books.entries.items() if e.state not in FINAL}
        assert account["running"] == len(self.running)

    @invariant()
    def admission_never_exceeds_the_bound(self) -> None:
        outstanding = self.books.counts["ready"] + self.books.counts["running"]
        assert outstanding <= (self.books.config.max_staleness + 1) * self.books.config.groups_per_step + max(
            0, self.books.version * self.books.config.groups_per_step - self.books.counts["consumed"]
        )


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
