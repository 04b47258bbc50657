"""The interpreter for clusters that are started by `ray start`.

Guarantees: its path needs no quotes, for `ray start` passes it to a shell without any: from a checkout in a path with a
blank it is reached by a link.
"""

import contextlib
import functools
import hashlib
import shlex
import sys
from pathlib import Path


@functools.cache
def interpreter() -> str:
    """Path of this environment's Python."""
    if shlex.quote(sys.executable) == sys.executable:
        return sys.executable
    # not under /tmp, of which a node of the rig has its own
    link = Path("/var/tmp") / f"rrvf-environment-{hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]}"
    with contextlib.suppress(FileExistsError):
        link.symlink_to(sys.prefix)
    return str(link / "bin" / "python")


def ray_command() -> list[str]:
    """What stands for `ray` on a command line."""
    return [interpreter(), "-m", "ray.scripts.scripts"]
