"""The ledger of groups: what was dispatched, where it is, and what became of it.

Guarantees: every group is in exactly one state and moves only along TRANSITIONS; every member of a group resolves
exactly once; no group whose oldest token is more than `max_staleness` versions old leaves through `cut`; a prompt whose
group was dropped is issued again once, one whose group was lost with a process always; a snapshot restores the data
frontier, not the dispatch cursor: nothing is lost and nothing consumed is consumed again. What no call can change any
more may be taken out (`settled`, `forget`), so that a long run's ledger stays small.

    state          may become
    running        ready, zero_variance, failed, lost
    ready          consumed, stale, lost
    consumed       lost (only where the same step is cut again: its learner never got the first batch)
    stale, zero_variance, failed, lost are final

Pure: no clock, no cluster. Two mechanisms bound staleness: `capacity` (admission) wastes nothing and is an
optimisation; the sweep in `cut` is the guarantee.
"""

import json
import math
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from configs.schema import Queue

State = Literal["running", "ready", "consumed", "stale", "zero_variance", "failed", "lost"]
TRANSITIONS: dict[State, frozenset[State]] = {
    "running": frozenset({"ready", "zero_variance", "failed", "lost"}),
    "ready": frozenset({"consumed", "stale", "lost"}),
    "consumed": frozenset({"lost"}),
}
FINAL: tuple[State, ...] = ("consumed", "stale", "zero_variance", "failed", "lost")
SAME_REWARD = 1e-6  # a group whose rewards spread less has no gradient


def may_become(before: State, after: State) -> bool:
    """Whether a group in one state may be found in another later, over any number of steps."""
    onward = TRANSITIONS.get(before, frozenset())
    return after in onward or any(may_become(state, after) for state in onward)


class LedgerError(RuntimeError):
    """The ledger does not allow this: a group resolved twice, a member missing, an unknown group."""


class Barren(RuntimeError):
    """Too many groups in a row brought nothing to learn from; the message says why they were dropped."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One group's entry in the ledger. `oldest`/`newest`: weight versions of its tokens, -1 before it finished."""

    group: int
    prompt: int
    worker: str
    state: State
    dispatched_at: int  # weight version at dispatch
    reissue: int = 0  # how often this prompt had been dropped before
    reason: str = ""
    oldest: int = -1
    newest: int = -1
    step: int = -1  # that consumed it
    tokens: int = 0
    reward: float = 0.0
    members: tuple[str, ...] = ()  # one outcome a member: `done` or why it is void


FIELDS = tuple(one.name for one in fields(Entry))


def plain(entry: Entry) -> dict[str, Any]:
    """An entry as data for JSON; `dataclasses.asdict` takes about twenty times as long."""
    return {name: getattr(entry, name) for name in FIELDS}


def entry_of(raw: dict[str, Any]) -> Entry:
    """The entry that `plain` made data of."""
    return Entry(**{**raw, "members": tuple(raw["members"])})


@dataclass(frozen=True)
class Ticket:
    """Leave to play one group; the queue adds the path of the prompt's image."""

    group: int
    prompt: int
    image: str = ""
    target: str = ""  # what the judge compares with, where it is not the image


@dataclass
class Ledger:
    """`prompts`: size of the data set; `group_size`: members of a group. Versions count from 0."""

    config: Queue
    prompts: int
    group_size: int
    seed: int = 0
    version: int = 0
    frontier: int = 0  # prompts taken from the shuffled data so far
    issued: int = 0  # groups dispatched so far; the next one's number
    entries: dict[int, Entry] = field(default_factory=dict)  # all that were not forgotten
    forgotten: Counter[str] = field(default_factory=Counter)  # by state
    archive: int = 0  # bytes of the file to which the forgotten went (actors/replay/archive.py)
    latest: dict[str, int] = field(default_factory=dict)  # each slot's last group: its call may be repeated
    waiting: deque[tuple[int, int]] = field(default_factory=deque)  # (prompt, reissue) to issue before new ones
    counts: Counter[str] = field(default_factory=Counter)
    barren: int = 0  # groups dropped since the last one that became ready
    dropped: str = ""  # why the last of them was
    unsettled: set[int] = field(default_factory=set)  # running and ready groups: what a sweep has to look at
    order: list[int] = field(default_factory=list)  # of this epoch
    epoch: int = -1
    changed: set[int] = field(default_factory=set)  # entries that `changes` has not returned yet
    agreed: Counter[int] = field(default_factory=Counter)  # by prompt: groups in a row whose members all agreed
    given_up: list[Entry] = field(default_factory=list)  # dropped for the second time; until somebody names them

    @property
    def capacity(self) -> int:
        """Groups that may still be dispatched at this version (AReaL's admission rule)."""
        budget = (self.config.max_staleness + self.version + 1) * self.config.groups_per_step
        return budget - self.counts["consumed"] - self.counts["ready"] - self.counts["running"]

    def dispatch(self, worker: str) -> Ticket | None:
        """The next prompt under a new group id, or None while the staleness bound leaves no room.

        `worker` names one slot of a rollout actor (`actor/slot`). A slot runs one group at a time. If it asks while its
        group is still running, the first answer was lost on the way: it gets the same ticket again."""
        last = self.entries.get(self.latest.get(worker, -1))
        if last is not None and last.state == "running":
            return Ticket(last.group, last.prompt)
        if self.capacity <= 0:
            return None
        prompt, reissue = self.waiting.popleft() if self.waiting else (self._next_prompt(), 0)
        group = self.issued
        self.issued += 1
        self.entries[group] = Entry(group, prompt, worker, "running", self.version, reissue)
        self.latest[worker] = group
        self.counts["running"] += 1
        self.unsettled.add(group)
        self.changed.add(group)
        return Ticket(group, prompt)

    def resolve(
        self, group: int, members: Sequence[str], rewards: Sequence[float], versions: tuple[int, int], tokens: int
    ) -> State:
        """Close a running group: `members` holds one outcome each, `rewards` those of the survivors (`done`)."""
        entry = self._entry(group, "running")
        survivors = sum(m == "done" for m in members)
        if len(members) != self.group_size or len(rewards) != survivors:
            raise LedgerError(
                f"group {group}: {len(members)} members resolved and {len(rewards)} rewards for "
                f"{survivors} survivors; a group has {self.group_size}"
            )
        mean = math.fsum(rewards) / survivors if survivors else 0.0
        oldest, newest = versions
        done = replace(
            entry, members=tuple(members), oldest=oldest, newest=newest, tokens=tokens, reward=round(mean, 6)
        )
        floor = math.ceil(self.config.survivors * self.group_size)
        if survivors < floor:
            voids = Counter(m for m in members if m != "done")
            return self._drop(done, "failed", f"{survivors} of {self.group_size} survived: {dict(voids)}")
        if self.config.drop_zero_variance and max(rewards) - min(rewards) < SAME_REWARD:
            self.agreed[done.prompt] += 1
            return self._drop(done, "zero_variance", "all rewards equal", again=False)
        self.barren = 0
        self.agreed.pop(done.prompt, None)
        self._move(done, "ready")
        return "ready"

    def cut(self, step: int) -> list[int] | None:
        """The groups of one batch, oldest first, or None while there are not enough; sweeps out stale ones first.

        Raises Barren when `max_empty_batches` batches' worth of groups were dropped in a row.
        """
        for entry in self._in_state("ready"):
            if self.version - entry.oldest > self.config.max_staleness:
                self._drop(entry, "stale", f"oldest token {self.version - entry.oldest} versions old")
        if self.barren >= self.config.max_empty_batches * self.config.groups_per_step:
            dropped = {s: self.counts[s] for s in ("stale", "zero_variance", "failed")}
            raise Barren(
                f"{self.barren} groups in a row brought nothing to learn from (the last one: {self.dropped}); dropped "
                f"so far: {dropped}"
            )
        ready = sorted(self._in_state("ready"), key=lambda e: (e.oldest, e.group))[: self.config.groups_per_step]
        if len(ready) < self.config.groups_per_step:
            return None
        for entry in ready:
            self._move(replace(entry, step=step), "consumed")
        return [entry.group for entry in ready]

    def lose(self, worker: str, reason: str) -> int:
        """A rollout actor died: its slots' running groups are lost and their prompts issued again. Returns how many."""
        gone = [e for e in self._in_state("running") if e.worker.partition("/")[0] == worker]
        for entry in gone:
            self._lose(entry, reason)
        self.latest = {slot: n for slot, n in self.latest.items() if slot.partition("/")[0] != worker}
        return len(gone)

    def recall(self, step: int) -> int:
        """The learner asks for the batch of `step`: groups that were already cut for it never arrived, so they are
        lost and their prompts issued again. Returns how many."""
        gone = [e for e in self.entries.values() if e.state == "consumed" and e.step == step]
        for entry in gone:
            self._lose(replace(entry, step=-1), "its batch never arrived")
        return len(gone)

    def lose_ready(self, group: int, reason: str) -> None:
        """A ready group's data is gone (its store died): issue its prompt again."""
        self._lose(self._entry(group, "ready"), reason)

    def settled(self) -> list[Entry]:
        """Entries that no call can change or ask for any more: in a final state, of a step before the one that may be
        recalled, and not the last of their slot, whose result may be handed in a second time."""
        last = set(self.latest.values())
        return [
            e
            for e in self.entries.values()
            if e.state in FINAL and e.group not in last and not (e.state == "consumed" and e.step >= self.version)
        ]

    def forget(self, entries: Sequence[Entry], archive: int) -> None:
        """Take settled entries out of memory; they are now in the first `archive` bytes of their file."""
        for entry in entries:
            del self.entries[entry.group]
            self.changed.discard(entry.group)
            self.forgotten[entry.state] += 1
        self.archive = archive

    def account(self) -> dict[str, int]:
        """Groups by state, dispatched in all; the states always sum to `dispatched`."""
        states: tuple[State, ...] = ("running", "ready", *FINAL)
        return {"dispatched": self.issued, **{s: self.counts[s] for s in states}}

    def changes(self) -> str:
        """What has changed since the last call, as one JSON line; `replay` turns the lines into the same ledger."""
        state = self._position() | {"entries": [plain(self.entries[n]) for n in sorted(self.changed)]}
        self.changed.clear()
        return json.dumps(state)

    def snapshot(self) -> str:
        """Everything but the forgotten entries as JSON; `restore` makes an equal ledger of it."""
        state = self._position() | {
            "prompts": self.prompts,
            "group_size": self.group_size,
            "seed": self.seed,
            "forgotten": self.forgotten,
            "archive": self.archive,
            "agreed": list(self.agreed.items()),
            "entries": [plain(e) for e in self.entries.values()],
        }
        return json.dumps(state)

    def _position(self) -> dict[str, Any]:
        """What every line of the journal holds."""
        return {
            "version": self.version,
            "frontier": self.frontier,
            "issued": self.issued,
            "waiting": list(self.waiting),
            "barren": self.barren,
            "dropped": self.dropped,
        }

    @classmethod
    def restore(cls, config: Queue, text: str) -> "Ledger":
        """The ledger of a snapshot, with every group that was running then lost and its prompt issued again."""
        ledger = cls.replay(config, [text])
        for entry in ledger._in_state("running"):
            ledger._lose(entry, "interrupted")
        return ledger

    @classmethod
    def replay(cls, config: Queue, lines: Sequence[str]) -> "Ledger":
        """The ledger of a snapshot and the `changes` that followed it, as it was at the last of them."""
        first: dict[str, Any] = json.loads(lines[0])
        ledger = cls(config, first["prompts"], first["group_size"], first["seed"])
        ledger.forgotten, ledger.archive = Counter(first["forgotten"]), first["archive"]
        ledger.agreed = Counter(dict(first["agreed"]))
        for number, line in enumerate(lines):
            state: dict[str, Any] = json.loads(line)
            ledger.version, ledger.frontier, ledger.barren = state["version"], state["frontier"], state["barren"]
            ledger.issued, ledger.dropped = state["issued"], state["dropped"]
            ledger.waiting = deque((p, r) for p, r in state["waiting"])
            for raw in state["entries"]:
                entry = entry_of(raw)
                before, ledger.entries[entry.group] = ledger.entries.get(entry.group), entry
                if number and (before is None or before.state == "running"):
                    if entry.state in ("ready", "consumed", "stale"):
                        ledger.agreed.pop(entry.prompt, None)
                    elif entry.state == "zero_variance":
                        ledger.agreed[entry.prompt] += 1
        ledger.counts = ledger.forgotten + Counter(e.state for e in ledger.entries.values())
        ledger.unsettled = {n for n, e in ledger.entries.items() if e.state not in FINAL}
        for entry in ledger.entries.values():
            ledger.latest[entry.worker] = max(entry.group, ledger.latest.get(entry.worker, -1))
        return ledger

    def _next_prompt(self) -> int:
        """Prompts in a new seeded order every epoch; with `by_difficulty` one on which the members of its last n groups
        agreed is passed over in this epoch with probability 1 - 1 / 2^min(n, 3), by a draw of its own."""
        while True:
            epoch, prompt = self._draw()
            share = 0.5 ** min(self.agreed[prompt], 3) if self.config.by_difficulty else 1.0
            if share == 1.0 or random.Random(f"{self.seed}/{epoch}/{prompt}").random() < share:
                return prompt

    def _draw(self) -> tuple[int, int]:
        """The next epoch and prompt of the data."""
        epoch, position = divmod(self.frontier, self.prompts)
        self.frontier += 1
        if epoch != self.epoch:
            self.epoch, self.order = epoch, list(range(self.prompts))
            random.Random(f"{self.seed}/{epoch}").shuffle(self.order)
        return epoch, self.order[position]

    def _entry(self, group: int, state: State) -> Entry:
        entry = self.entries.get(group)
        if entry is None or entry.state != state:
            found = "unknown" if entry is None else entry.state
            raise LedgerError(f"group {group} is {found}, not {state}")
        return entry

    def _in_state(self, state: State) -> list[Entry]:
        return [e for n in sorted(self.unsettled) if (e := self.entries[n]).state == state]

    def _move(self, entry: Entry, state: State) -> None:
        if state not in TRANSITIONS.get(entry.state, frozenset()):
            raise LedgerError(f"group {entry.group} cannot become {state} from {entry.state}")
        self.counts[entry.state] -= 1
        self.counts[state] += 1
        self.entries[entry.group] = replace(entry, state=state)
        self.changed.add(entry.group)
        if state in FINAL:
            self.unsettled.discard(entry.group)

    def _drop(self, entry: Entry, state: State, reason: str, *, again: bool = True) -> State:
        self.barren += 1
        self.dropped = reason
        self._move(replace(entry, reason=reason), state)
        if again and entry.reissue == 0:
            self.waiting.append((entry.prompt, 1))
        elif again:
            self.given_up.append(self.entries[entry.group])
        return state

    def _lose(self, entry: Entry, reason: str) -> None:
        self._move(replace(entry, reason=reason), "lost")
        self.waiting.append((entry.prompt, entry.reissue))
