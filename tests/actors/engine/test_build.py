"""What building an engine leaves of the process around it."""

import logging
import logging.config
from logging.handlers import MemoryHandler
from pathlib import Path

from actors.engine.build import buffered_logs_kept


def test_a_buffering_log_goes_on_after_another_library_set_up_logging(tmp_path: Path) -> None:
    log = logging.getLogger("test_engine")
    file = logging.FileHandler(tmp_path / "log.txt")
    buffer = MemoryHandler(1, target=file)
    log.addHandler(buffer)
    try:
        with buffered_logs_kept():
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        log.error("still logged")
        assert not buffer.buffer, "records would be held for ever"
        assert "still logged" in (tmp_path / "log.txt").read_text()
    finally:
        log.removeHandler(buffer)
        file.close()
