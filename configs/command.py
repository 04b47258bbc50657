"""How every command ends: its exit status, and one line on stderr for each problem.

Guarantees: 0 done, 1 failed on the way, 2 unusable input or machine, 130 interrupted, by Ctrl-C or by SIGTERM. An error
class of ours carries its status as `exit_status`; an error that nobody expected keeps its traceback; a line holds
nothing that a terminal takes for a command.
"""

import signal
import sys
import threading
from collections.abc import Callable

INTERRUPTED = 130


def heed_signals() -> None:
    """Ctrl-C and SIGTERM interrupt alike from here on: ray.init puts handlers of its own, and a shell's background jobs
    ignore SIGINT."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)


def run(command: Callable[[], int | None], *, unusable: tuple[type[Exception], ...] = (), hint: str = "") -> int:
    """The exit status of `command`, which returns its own (None = 0) or raises.

    `unusable`: further errors that mean unusable input, such as ValueError of a file's content. `hint`: what to do
    after a failure or an interrupt, such as "go on with --resume".
    """
    after = f"; {hint}" if hint else ""
    heed_signals()
    try:
        return int(command() or 0)
    except KeyboardInterrupt:
        print(f"stopped{after}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        status = 2 if isinstance(error, unusable) else getattr(error, "exit_status", None)
        if status is None and isinstance(error, OSError):  # a full disk, a file that is gone
            status = 1
        if status is None:
            raise
        for line in str(error).splitlines() or [type(error).__name__]:
            # it may quote a file, which must not command a terminal
            shown = "".join(c if c.isprintable() else " " for c in line)
            print(f"error: {shown}{after if status == 1 else ''}", file=sys.stderr)
        return int(status)
