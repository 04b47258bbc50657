"""Look at a run in the browser, finished or under way, without a cluster.

Guarantees: binds to loopback, shows that run alone, and changes nothing.
"""

import socket
from pathlib import Path
from urllib.parse import quote

from configs.load import ConfigError
from serving.viewer.app import MARKS, alone

HOST = "127.0.0.1"


def view(folder: Path, port: int) -> None:
    """Serve the pages of a run until Ctrl-C; `port` 0 takes a free one. Raises ConfigError."""
    run = folder.resolve()
    if not any((run / mark).exists() for mark in MARKS):
        raise ConfigError(f"{folder}: not a run's folder (none of {', '.join(MARKS)} is in it)")
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((HOST, port))
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{HOST}:{port}: {error}; choose another with --port PORT") from None
    import uvicorn

    address = f"http://{HOST}:{door.getsockname()[1]}/runs/{quote(run.name)}/"
    print(f"{run.name}: {address}  (Ctrl-C stops)", flush=True)
    uvicorn.Server(uvicorn.Config(alone(run.parent, run.name), log_level="warning")).run(sockets=[door])
