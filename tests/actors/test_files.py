"""A file that could not be written to its end is not there."""

import os
import resource
import signal
from pathlib import Path

import pytest

from actors.files import beside, publish, write_whole


def test_a_file_is_the_old_one_or_the_new_one_and_never_half(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a full disk does
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(path, b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == ["file"]


def test_of_two_who_make_a_folder_the_first_one_s_stays(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    fresh = beside(folder)
    (fresh / "mine").touch()
    other = tmp_path / "other"
    other.mkdir()
    (other / "theirs").touch()
    publish(other, folder)
    publish(fresh, folder)
    assert os.listdir(tmp_path) == ["made"] and os.listdir(folder) == ["theirs"]
    with pytest.raises(OSError, match="No such file"):
        publish(beside(folder), tmp_path / "nowhere" / "made")
