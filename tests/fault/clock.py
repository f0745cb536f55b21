"""Clocks of our programs that can be put forward by hours within seconds, while the programs run and wait (see clock.c). They go
forward only as fast as the programs follow, so that no program takes it for a sleep of the computer, however busy that is.

The static spell-supervisor, the commands and the kernel keep the computer's time."""
import contextlib
import mmap
import os
import pathlib
import struct
import subprocess
import threading
import time

WAITING = 1
HEAD, SLOT = struct.Struct("qQ"), struct.Struct("iiQ")


class Clock:
    STEP = 5  # seconds; a third of a lease is more than some of them
    PATIENCE = 1  # seconds of the computer, for a thread that is at something else

    def __init__(self, folder):
        library, file = pathlib.Path(folder) / "clock.so", pathlib.Path(folder) / "clock"
        source = pathlib.Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl", "-pthread"], check=True)
        file.write_bytes(bytes(1 << 16))
        with open(file, "r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), 0)
        self.settings = ["env", f"LD_PRELOAD={library}", f"SPELL_TEST_CLOCK={file}"]
        self.ahead, self._step, self._lock = 0, 0, threading.Lock()

    def forward(self, seconds):
        """All clocks, by so much; returns when the programs have seen it."""
        end = self.ahead + seconds
        while self.ahead < end:
            with self._lock:
                self.ahead = min(end, self.ahead + self.STEP)
                self._step += 1
                HEAD.pack_into(self._shared, 0, int(self.ahead * 1e9), self._step)
                deadline = time.monotonic() + self.PATIENCE
                while self._behind() and time.monotonic() < deadline:
                    time.sleep(0.001)

    def _behind(self):
        """Whether a thread has not seen the last step while it waited."""
        for thread, state, seen in SLOT.iter_unpack(self._shared[HEAD.size:HEAD.size + 1000 * SLOT.size]):
            if thread and (state != WAITING or seen < self._step) and os.path.exists(f"/proc/{thread}"):
                return True
        return False

    @contextlib.contextmanager
    def fast(self):
        """They go on by themselves meanwhile, many times too fast."""
        ended = threading.Event()

        def go():
            while not ended.wait(0.01):
                self.forward(self.STEP)
        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
