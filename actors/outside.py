"""A function of the user's (a judge, a reward) in a process of its own, where it can harm nobody.

Guarantees: a call answers within its limit or is an `Outage` that names the function and what it did: raised, hung,
died. A process that hung or died is killed and another is started for the next call. What the function prints goes to
the log; its result crosses by pickle and is checked by whoever asked. One call at a time; the wait for it is not
counted.

`python -m actors.outside FILE.py:NAME` is that process: frames of (length, pickle) on its first two descriptors.
"""

import asyncio
import asyncio.subprocess
import os
import pickle
import struct
import sys
from typing import Any

from actors.contracts import Outage
from actors.text import one_line
from configs import outside

LENGTH = struct.Struct("!Q")
START_S = 60.0  # for imports; the function's own deadline begins after them
MAX_WORDS = 300


class Outside:
    """Call it like the function. `part`: what an outage of it is an outage of."""

    def __init__(self, part: str, name: str, limit_s: float) -> None:
        path, _, function = name.rpartition(":")
        self.version = f"{os.path.basename(path)}:{function}-{outside.version(path)}"
        self.counts = {"raised": 0, "hung": 0, "died": 0}
        self._part, self._name, self._limit = part, name, limit_s
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def __call__(self, *arguments: Any) -> Any:
        """The function's result. Raises Outage."""
        async with self._lock:
            try:
                if self._process is None:
                    async with asyncio.timeout(START_S):
                        self._process = await asyncio.create_subprocess_exec(
                            sys.executable, "-m", "actors.outside", self._name,
                            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                        )  # fmt: skip
                        good, why = await self._read()
                    if not good:
                        await self._kill()
                    self._checked((good, why))
                async with asyncio.timeout(self._limit):
                    return self._checked(await self._exchange(pickle.dumps(arguments)))
            except TimeoutError:
                self.counts["hung"] += 1
                await self._kill()
                raise Outage(self._part, f"{self._name} gave nothing within {self._limit:g} s") from None
            except (EOFError, OSError, pickle.UnpicklingError):
                self.counts["died"] += 1
                await self._kill()
                raise Outage(self._part, f"{self._name} ended its process") from None
            except asyncio.CancelledError:  # in mid-exchange: the next answer would belong to this call
                await self._kill()
                raise

    async def close(self) -> None:
        await self._kill()

    def _checked(self, answer: tuple[bool, Any]) -> Any:
        good, value = answer
        if not good:
            self.counts["raised"] += 1
            raise Outage(self._part, f"{self._name} {value}")
        return value

    async def _exchange(self, data: bytes) -> tuple[bool, Any]:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(LENGTH.pack(len(data)) + data)
        await self._process.stdin.drain()
        return await self._read()

    async def _read(self) -> tuple[bool, Any]:
        assert self._process is not None and self._process.stdout is not None
        (size,) = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
        return pickle.loads(await self._process.stdout.readexactly(size))  # type: ignore[no-any-return]

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


def serve(name: str) -> None:
    """The process: answer calls until the other side is gone."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the function prints

    def say(good: bool, value: Any) -> None:
        data = pickle.dumps((good, value))
        target.write(LENGTH.pack(len(data)) + data)
        target.flush()

    try:
        function = outside.function(name)
    except outside.Unusable as error:
        say(False, f"cannot be used: {error.reason}")
        return
    say(True, None)
    while head := source.read(LENGTH.size):
        try:
            arguments = pickle.loads(source.read(LENGTH.unpack(head)[0]))
            found = function(*arguments)
            pickle.dumps(found)
        except Exception as error:
            say(False, f"raised {type(error).__name__}: {one_line(str(error))[:MAX_WORDS]}")
        else:
            say(True, found)


if __name__ == "__main__":
    serve(sys.argv[1])
