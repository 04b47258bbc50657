"""The account of a run: what was dispatched, what became of it, what that cost, and whether dropping biased the rest.

Guarantees: reads RUN/ledger.jsonl (for a checkpoint its queue.bin too) and nothing else; a ledger that does not balance
is reported as wrong, never rounded into shape.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.replay import archive
from actors.replay.ledger import Entry, entry_of, may_become
from actors.replay.queue import ledger_of

PENDING = ("running", "ready")
DROPPED = ("stale", "zero_variance", "failed", "lost")


@dataclass(frozen=True)
class Comparison:
    """Mean of a figure over trained and over dropped groups; `gap_ci95`: of dropped minus trained (Welch)."""

    figure: str
    dropped_as: str
    trained: float
    dropped: float
    groups: tuple[int, int]
    gap_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Account:
    """All of a run's groups. `tokens` by state counts what was generated for groups that finished."""

    dispatched: int
    consumed: int
    dropped: dict[str, int]
    reasons: dict[str, int]  # "state: reason" of every dropped group
    pending: dict[str, int]
    tokens: dict[str, int]
    wasted: float  # share of finished groups' tokens that no step consumed
    prompts: int
    most_trained: int  # times that the most often trained prompt was consumed
    bias: tuple[Comparison, ...]
    errors: tuple[str, ...]


def account(entries: Sequence[Entry]) -> Account:
    """Count, weigh and check the ledger's entries."""
    states: Counter[str] = Counter(e.state for e in entries)
    tokens: Counter[str] = Counter()
    for entry in entries:
        tokens[entry.state] += entry.tokens
    used = sum(tokens.values()) - sum(tokens[s] for s in PENDING)
    reasons = Counter(f"{e.state}: {_kind(e.reason)}" for e in entries if e.state in DROPPED)
    trained = [e for e in entries if e.state == "consumed"]
    return Account(
        dispatched=len(entries),
        consumed=states["consumed"],
        dropped={s: states[s] for s in DROPPED},
        reasons=dict(reasons.most_common()),
        pending={s: states[s] for s in PENDING},
        tokens={s: tokens[s] for s in ("consumed", *DROPPED)},
        wasted=1 - tokens["consumed"] / used if used else 0.0,
        prompts=len({e.prompt for e in entries}),
        most_trained=max(Counter(e.prompt for e in trained).values(), default=0),
        bias=tuple(_bias(entries, trained)),
        errors=tuple(errors(entries)),
    )


def errors(entries: Sequence[Entry]) -> list[str]:
    """What cannot be: groups that appear twice, members that do not resolve, steps out of the range of their tokens."""
    found = []
    for group, count in Counter(e.group for e in entries).items():
        if count > 1:
            found.append(f"group {group} appears {count} times")
    sizes = Counter(len(e.members) for e in entries if e.members)
    size = sizes.most_common(1)[0][0] if sizes else 0
    for e in entries:
        if e.members and len(e.members) != size:
            found.append(f"group {e.group} resolved {len(e.members)} members of {size}")
        if e.state == "consumed" and (e.step < 0 or e.oldest > e.step):
            found.append(f"group {e.group} was trained in step {e.step} with tokens of version {e.oldest}")
        if e.state != "consumed" and e.step >= 0:
            found.append(f"group {e.group} is {e.state} and was trained in step {e.step}")
        if e.state in PENDING and e.reason:
            found.append(f"group {e.group} is {e.state} and was dropped: {e.reason}")
    return found


def read(folder: Path) -> list[Entry]:
    """The groups of a run's folder or of a checkpoint, as they stand in its ledger, by number; a settled group that has
    another state in a later line appears with both. Raises FileNotFoundError, ValueError (a line that is none)."""
    snapshot = folder / "queue.bin"
    state: dict[str, Any] = ledger_of(snapshot.read_bytes()) if snapshot.is_file() else {"archive": None, "entries": ()}
    path = (folder.resolve().parents[1] if snapshot.is_file() else folder) / archive.NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no ledger there yet (it is written with the first checkpoint)")
    if state["archive"]:
        archive.check(path, state["archive"])
    latest: dict[int, Entry] = {}
    contradictions: list[Entry] = []
    lines = archive.read(path, state["archive"])
    for entry in [*lines, *map(entry_of, state["entries"])]:
        before = latest.get(entry.group)
        if before is not None and before != entry and not may_become(before.state, entry.state):
            contradictions.append(before)
        latest[entry.group] = entry
    return [*(latest[number] for number in sorted(latest)), *contradictions]


def _kind(reason: str) -> str:
    """A reason without its figures, so that alike ones are counted together."""
    return " ".join("N" if word.strip(",:").isdigit() else word for word in reason.split())


def _bias(entries: Sequence[Entry], trained: Sequence[Entry]) -> list[Comparison]:
    found = []
    for state in ("stale", "zero_variance", "failed"):
        dropped = [e for e in entries if e.state == state and e.tokens]
        if not dropped or not trained:
            continue
        for figure in ("tokens", "reward"):
            a = [float(getattr(e, figure)) for e in trained]
            b = [float(getattr(e, figure)) for e in dropped]
            found.append(Comparison(figure, state, fmean(a), fmean(b), (len(a), len(b)), _gap(a, b)))
    return found


def _gap(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    if min(len(a), len(b)) < 2:
        return None
    half = 1.96 * math.sqrt(variance(a) / len(a) + variance(b) / len(b))
    gap = fmean(b) - fmean(a)
    return gap - half, gap + half


def show(found: Account, console: Console) -> None:
    """Print the account as tables."""
    left = " + ".join(f"{n} {s}" for s, n in found.pending.items())
    away = " + ".join(f"{n} {s}" for s, n in found.dropped.items())
    console.print(f"{found.dispatched} dispatched = {found.consumed} consumed + {away} (dropped) + {left} (pending)")
    console.print(f"{found.prompts} prompts; the one trained most often was consumed {found.most_trained} times")
    table = Table("what became of it", "groups", "tokens", title=f"{100 * found.wasted:.1f}% of the tokens unused")
    counts = {"consumed": found.consumed, **found.dropped}
    for state, count in counts.items():
        table.add_row(state, str(count), f"{found.tokens[state]:,}")
    console.print(table)
    if found.reasons:
        why = Table("dropped", "groups")
        for reason, count in found.reasons.items():
            why.add_row(reason, str(count))
        console.print(why)
    if found.bias:
        table = Table("figure", "dropped as", "trained", "dropped", "95% of the difference", title="selection bias")
        for c in found.bias:
            gap = "too few" if c.gap_ci95 is None else f"{c.gap_ci95[0]:+.3g} to {c.gap_ci95[1]:+.3g}"
            table.add_row(c.figure, c.dropped_as, f"{c.trained:.3g}", f"{c.dropped:.3g}", gap)
        console.print(table)
    for line in found.errors:
        console.print(f"error: {line}")


def report(run: Path, as_json: bool) -> int:
    """Print the summary of a run's ledger; 0 where it balances, else 1. Raises OSError and ValueError where it cannot
    be read."""
    try:
        found = account(read(run))
    except (TypeError, LookupError) as error:
        raise ValueError(f"an entry lacks {error}" if isinstance(error, LookupError) else str(error)) from None
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        show(found, Console(highlight=False))
    return 1 if found.errors else 0
