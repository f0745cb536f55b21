"""Programs that see another time of day than everybody else."""
import atexit
import contextlib
import glob
import os
import pathlib

import pytest


def sweep():
    """A program that was killed leaves what libfaketime shares with its children."""
    for file in pathlib.Path("/dev/shm").glob("*faketime_*"):
        if not os.path.exists("/proc/" + file.name.rsplit("_", 1)[1]):
            with contextlib.suppress(OSError):  # another's
                file.unlink()


class Clock:
    """The time of day that chosen programs see: `offset` seconds from the true one, which can change while they run. Their
    CLOCK_MONOTONIC and CLOCK_BOOTTIME go on."""

    def __init__(self, place, offset=0):
        # Not the command `faketime`: it fails where a killed process of the same number was there before.
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        if not library:
            pytest.skip("faketime is not installed")
        atexit.register(sweep)
        self.file = place.root / "clock"
        self.environment = {"LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        self.set(offset)

    def set(self, offset):
        # Whole, whenever it is read.
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset:+d}\n")
        new.rename(self.file)
