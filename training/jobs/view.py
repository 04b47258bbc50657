"""Look at a run in the browser, finished or under way, without a cluster.

    python -m training.view RUN [--port PORT]

Guarantees: binds to loopback, shows that run alone, and changes nothing.
"""

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from configs.load import ConfigError
from serving.viewer.app import MARKS, alone

HOST = "127.0.0.1"


def main(argv: Sequence[str] | None = None) -> int:
    """0 when stopped, 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m training.view", description="Look at a run in the browser.")
    parser.add_argument("run", type=Path, help="a run's folder, e.g. runs/latest")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one")
    args = parser.parse_args(argv)
    run = args.run.resolve()
    try:
        if not any((run / mark).exists() for mark in MARKS):
            raise ConfigError(f"{args.run}: not a run's folder (none of {', '.join(MARKS)} is in it)")
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((HOST, args.port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"{HOST}:{args.port}: {error}; choose another with --port PORT") from None
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    import uvicorn

    address = f"http://{HOST}:{door.getsockname()[1]}/runs/{quote(run.name)}/"
    print(f"{run.name}: {address}  (Ctrl-C stops)", flush=True)
    uvicorn.Server(uvicorn.Config(alone(run.parent, run.name), log_level="warning")).run(sockets=[door])
    return 0


if __name__ == "__main__":
    sys.exit(main())
