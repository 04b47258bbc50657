"""ReplayQueue: the one place between rollouts and learner; groups wait here, the ledger says which may pass.

Guarantees: admission and batches follow `actors.replay.ledger`; the queue owns the stored groups, so they outlive the
rollout actor that made them and are released when consumed or dropped; nobody waits without a deadline: `admit` answers
None after a short while (ask again), `take` raises Outage("queue", ...) that says what it was waiting for. Every change
of the ledger is on disk before a call returns, and every call may be repeated: a queue that dies is started
again by Ray, reads its journal, and the calls that were under way are made again. Only the groups it held are played
anew. Settled groups go to RUN/ledger.jsonl and the journal begins anew, so neither memory nor journal grows with the
run.
"""

import asyncio
import io
import json
import logging
import os
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import ray

from actors.contracts import Outage, StoredWeights
from actors.files import write_whole
from actors.replay import archive
from actors.replay.ledger import Entry, Ledger, State, Ticket
from actors.restart import reconstructed
from actors.trajectory import Group
from configs.schema import Config

log = logging.getLogger(__name__)
SETTLED = 1000  # groups that are kept in memory at most, of those that nothing changes any more
ADMIT_S = 5.0  # a rollout slot that is not admitted asks again, so a dead queue is noticed


@dataclass(frozen=True)
class Batch:
    """References to the groups of one step, and the queue's state when it was cut."""

    refs: tuple[Any, ...]  # ObjectRef of Group
    stats: dict[str, float]
    notes: tuple[str, ...] = ()  # what somebody should read


def fetch(batch: Batch) -> tuple[Group, ...]:
    """The groups of a batch, from the object store."""
    return tuple(ray.get(list(batch.refs), timeout=120))


def ledger_of(snapshot: bytes) -> dict[str, Any]:
    """The ledger in a queue's snapshot, as plain data; the groups beside it are not touched."""
    ledger: dict[str, Any] = json.loads(pickle.load(io.BytesIO(snapshot)))
    return ledger


def _begin(path: Path, line: str) -> TextIO:
    """A journal that begins with `line`, in the place of the one that was there; never half of either."""
    write_whole(path, line + "\n")
    return path.open("a")


class QueueState:
    """The queue's logic on one event loop; `ReplayQueue` is this class as a Ray actor."""

    def __init__(
        self, config: Config, images: Sequence[str], snapshot: Path | None = None, journal: str | None = None
    ) -> None:
        """`snapshot`: file of the run that is resumed (an argument of an actor that Ray starts again has to be small);
        `journal`: file of the ledger's changes, read after a death. Settled
        groups go to the archive beside it; without a journal they stay in memory."""
        self._config = config
        self._images = list(images)
        self._weights: StoredWeights | None = None
        self._engines: list[Any] = []
        self._groups: dict[int, Any] = {}
        self._changed = asyncio.Condition()
        self._stopped = False
        self._last_put = time.monotonic()
        if journal is not None and reconstructed():
            written = Path(journal).read_text()
            # a last line that death cut short had no reader
            self._ledger = Ledger.replay(config.queue, written[: written.rfind("\n") + 1].splitlines())
            for entry in [e for e in self._ledger.entries.values() if e.state == "ready"]:
                self._ledger.lose_ready(entry.group, "the queue died")
        elif snapshot is not None:
            with snapshot.open("rb") as stream:
                ledger, groups = pickle.load(stream), pickle.load(stream)
            self._ledger = Ledger.restore(config.queue, ledger)
            self._groups = {number: ray.put(group) for number, group in groups.items()}
        else:
            self._ledger = Ledger(config.queue, len(images), config.rollout.group_size, config.run.seed)
        if self._ledger.prompts != len(images):
            raise ValueError(f"the run began with {self._ledger.prompts} images, now there are {len(images)}")
        self._agreed = self._ledger.counts["zero_variance"]  # groups without variance that were counted
        self._path = Path(journal) if journal is not None else None
        self._journal: TextIO | None = None
        if self._path is not None:
            archive.cut(self._path.with_name(archive.NAME), self._ledger.archive)
            self._journal = _begin(self._path, self._ledger.snapshot())
        self._ledger.changed.clear()

    def _write_down(self, line: str) -> None:
        if self._journal is not None:
            self._journal.write(line + "\n")
            self._journal.flush()

    def _settle(self, *, whole: bool = False) -> None:
        """Move settled groups to the archive and begin the journal anew. `whole`: write down there how all the others
        stand as well, so that a reader finds every group. What cannot be written stays as it was."""
        if self._path is None:
            return
        ledger, file = self._ledger, self._path.with_name(archive.NAME)
        gone = ledger.settled()
        open_ones: list[Entry] = []
        if whole:
            away = {entry.group for entry in gone}
            open_ones = [entry for entry in ledger.entries.values() if entry.group not in away]
        try:
            length = archive.append(file, ledger.archive, [*gone, *open_ones])
            ledger.forget(gone, length)
            journal = _begin(self._path, ledger.snapshot())
        except OSError as error:
            log.error("%s: %s; the ledger is kept in memory", file, error.strerror)
            return
        if self._journal is not None:
            self._journal.close()
        self._journal = journal
        ledger.changed.clear()

    async def pid(self) -> int:
        """Process id, once the queue answers."""
        return os.getpid()

    async def admit(self, worker: str) -> Ticket | None:
        """Leave to play the next group; None after ADMIT_S seconds without room."""
        try:
            async with asyncio.timeout(ADMIT_S), self._changed:
                while True:
                    if not self._stopped and (ticket := self._ledger.dispatch(worker)) is not None:
                        self._write_down(self._ledger.changes())
                        return self._addressed(ticket)
                    await self._changed.wait()
        except TimeoutError:
            return None

    def _addressed(self, ticket: Ticket) -> Ticket:
        """The ticket with the paths of its pictures."""
        images = self._images
        other = images[(ticket.prompt + max(1, len(images) // 2)) % len(images)]
        return replace(ticket, image=images[ticket.prompt], target=other if self._config.reward.exchanged else "")

    async def put(self, ticket: Ticket, members: list[str], group: Group) -> State | None:
        """Hand in a played group; `members` has one outcome each. Returns its state, None after a stop. A group that is
        no longer running (given up meanwhile, or handed in by the same call before) stays as it is."""
        if self._stopped:
            return None
        known = self._ledger.entries.get(ticket.group)
        if known is None and ticket.group < self._ledger.issued:
            return "lost"  # and forgotten: its actor was given up, and hands it in all the same
        if known is not None and known.state != "running":
            return known.state
        rewards = [t.reward.total for t in group.trajectories]
        tokens = sum(len(t.token_ids) for t in group.trajectories)
        versions = [v for t in group.trajectories for v in t.versions if v >= 0] or [-1]
        async with self._changed:
            state = self._ledger.resolve(ticket.group, members, rewards, (min(versions), max(versions)), tokens)
            if state == "ready":
                self._groups[ticket.group] = ray.put(group)
            self._write_down(self._ledger.changes())
            self._last_put = time.monotonic()
            self._changed.notify_all()
        return state

    async def take(self, version: int) -> Batch:
        """The next batch for the learner at weight version `version`. Raises Outage after `queue.take_s`, Barren when
        nothing that comes has a gradient."""
        limit = self._config.queue.take_s
        try:
            async with asyncio.timeout(limit), self._changed:
                self._ledger.version = version
                self._ledger.recall(version)
                while (cut := self._ledger.cut(step=version)) is None:
                    self._write_down(self._ledger.changes())
                    self._changed.notify_all()  # sweeping may have made room
                    await self._changed.wait()
                self._write_down(self._ledger.changes())
                stats = self._stats(cut, version)
                batch = Batch(tuple(self._groups.pop(number) for number in cut), stats, self._given_up())
                self._release_dropped()
                if len(self._ledger.entries) - len(self._ledger.unsettled) > SETTLED:
                    self._settle()
                self._changed.notify_all()
                return batch
        except TimeoutError:
            account = self._ledger.account()
            quiet = time.monotonic() - self._last_put
            raise Outage(
                "queue", f"no full batch within {limit:g} s (queue.take_s); last group {quiet:.0f} s ago; {account}"
            ) from None

    async def set_version(self, version: int, weights: StoredWeights | None = None) -> None:
        """The policy actors now have weights `version`: admission moves on. `weights` are kept
        for an engine that has to be started again."""
        async with self._changed:
            self._ledger.version = version
            self._weights = weights
            self._write_down(self._ledger.changes())
            self._changed.notify_all()

    async def weights(self) -> tuple[int, StoredWeights | None]:
        """The newest version, and what `set_version` was given for it."""
        return self._ledger.version, self._weights

    async def set_engines(self, engines: list[Any]) -> None:
        """Engines that joined since the run began, for the learner, which gives weights to all; given again and again,
        for a queue that is started anew forgets them."""
        self._engines = engines

    async def engines(self) -> list[Any]:
        return self._engines

    async def lose(self, worker: str, reason: str) -> int:
        """A rollout actor died or restarted: its running groups are lost and issued again."""
        async with self._changed:
            lost = self._ledger.lose(worker, reason)
            self._write_down(self._ledger.changes())
            self._changed.notify_all()
        return lost

    async def stop(self) -> None:
        """No further admissions; what is under way may end unrecorded (a resume issues it again)."""
        self._stopped = True

    async def snapshot(self) -> bytes:
        """Ledger and ready groups: what a checkpoint needs to go on with no prompt lost or trained twice."""
        self._release_dropped()
        self._settle(whole=True)
        ledger, held = self._ledger.snapshot(), dict(self._groups)  # of one moment: groups come in while we fetch
        groups = await asyncio.gather(*held.values())
        return pickle.dumps(ledger) + pickle.dumps(dict(zip(held, groups, strict=True)))

    async def write_ledger(self) -> None:
        """Bring RUN/ledger.jsonl up to date: every group that was ever dispatched, as it stands."""
        self._settle(whole=True)

    async def account(self) -> dict[str, int]:
        return self._ledger.account()

    def _stats(self, cut: list[int], version: int) -> dict[str, float]:
        ages = [version - self._ledger.entries[number].oldest for number in cut]
        account = {f"ledger_{state}": float(count) for state, count in self._ledger.account().items()}
        dropped = self._ledger.counts["zero_variance"] - self._agreed
        self._agreed = self._ledger.counts["zero_variance"]
        return {
            "staleness_mean": sum(ages) / len(ages),
            "staleness_max": float(max(ages)),
            "zero_variance_groups": float(dropped),  # since the last batch
            **account,
        }

    def _given_up(self) -> tuple[str, ...]:
        """One line for each prompt that was dropped twice since the last batch, and so waits for the next epoch."""
        gone, self._ledger.given_up = self._ledger.given_up, []
        return tuple(
            f"{self._images[e.prompt]} was dropped twice (now {e.state}: {e.reason}); it comes again next epoch"
            for e in gone
        )

    def _release_dropped(self) -> None:
        for number in [n for n in self._groups if self._ledger.entries[n].state != "ready"]:
            del self._groups[number]


ReplayQueue = ray.remote(QueueState)
