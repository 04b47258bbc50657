"""What the machine itself has to bring: bubblewrap for the jail, a Chromium for pages, Python's own venv.

Guarantees: says all that is missing, one line each with the command that brings it, before any download; runs on
any Python 3 without packages (`make setup` starts with it). Where apt and the right to use it are there, it installs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OLDEST = (3, 11)


def missing() -> list[str]:
    """Debian packages of what is not here."""
    lacking = []
    if shutil.which("bwrap") is None:
        lacking.append("bubblewrap")
    if not any(shutil.which(name) for name in BROWSERS):
        lacking.append("chromium-headless-shell")
    if importlib.util.find_spec("ensurepip") is None and not os.path.exists(".venv/bin/python"):
        lacking.append("python{}.{}-venv".format(*sys.version_info))
    return lacking


def install(packages: list[str]) -> bool:
    """Through apt, without a question; whether that went well."""
    if shutil.which("apt-get") is None:
        return False
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if sudo and shutil.which("sudo") is None:
        return False
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run([*sudo, "apt-get", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def main() -> int:
    """Exit status: 0 all is there, or only the browser is missing (charts need none); 1 something else is."""
    if sys.version_info < OLDEST:
        print("error: Python {}.{} is too old; make PYTHON=python3.11".format(*sys.version_info), file=sys.stderr)
        return 1
    lacking = missing()
    if lacking and install(lacking):
        print(f"set-up: installed {', '.join(lacking)}")
        lacking = missing()
    for package in lacking:
        also = "   (or later: .venv/bin/python -m playwright install chromium-headless-shell)"
        hint = also if package.startswith("chromium") else ""
        print(f"missing {package}: run `sudo apt-get install {package}`{hint}", file=sys.stderr)
    return 1 if any(not package.startswith("chromium") for package in lacking) else 0


if __name__ == "__main__":
    sys.exit(main())
