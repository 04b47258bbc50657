"""A judge that the user wrote: `judge.backend=path/to/file.py:function`.

Guarantees: the function is called as function(target, render, domain), PNG or JPEG bytes twice and the domain's name
or file, in a process of its own (`actors.outside`), after the guards: the pictures are readable, different, not blank.
It gives a number from 0 to 1, a (number, feedback) or an `actors.contracts.Verdict`; anything else, an exception, or no
answer within 0.9 of judge.deadline_s is an Outage that names the function, never a score.
"""

import math
import time
from dataclasses import replace
from typing import Any

from actors.contracts import Domain, Outage, Verdict
from actors.outside import Outside
from configs.schema import Judge as Settings

SHARE = 0.9  # of the deadline; the rest is for the way to the caller
WORDLESS = "The render differs from the target."


class Own:
    """The backend around the function of the setting `name`."""

    def __init__(self, config: Settings, name: str) -> None:
        self._name = name
        self._call = Outside("judge", name, SHARE * config.deadline_s)
        self._bad = 0
        self.version = self._call.version

    async def judge(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        """Raises Outage."""
        started = time.perf_counter()
        found = await self._call(target, render, domain)
        try:
            verdict = verdict_of(found, self.version)
        except ValueError as error:
            self._bad += 1
            raise Outage("judge", f"{self._name} gave {error}") from None
        return replace(verdict, seconds=time.perf_counter() - started)

    async def close(self) -> None:
        await self._call.close()

    def stats(self) -> dict[str, float]:
        """Calls that raised, hung, ended the process or gave what is no verdict."""
        return {**self._call.counts, "no_verdict": self._bad}


def verdict_of(found: Any, backend: str) -> Verdict:
    """What a function gave as a verdict. Raises ValueError that says what it gave instead."""
    if isinstance(found, Verdict):
        score, feedback, verdict = found.score, found.feedback, found
    else:
        score, feedback = found if isinstance(found, tuple) and len(found) == 2 else (found, WORDLESS)
        verdict = Verdict(0.0, WORDLESS, backend)
    if isinstance(score, bool) or not hasattr(score, "__float__") or not isinstance(feedback, str):
        raise ValueError(f"{type(found).__name__}: it must give a number, (number, text) or a Verdict")
    score = float(score)
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise ValueError(f"{score:g}: a score is a number from 0 to 1")
    return replace(verdict, score=score, feedback=feedback, backend=backend)
