"""A service and machines, each in a network namespace of its own (iproute2 and /dev/net/tun; needs root).

Each machine's link is a wire of this process, between two TUN devices: what goes through it can be swallowed, dropped and delayed,
whatever the kernel's traffic control knows (netem is often not built in), and it is counted."""
import contextlib
import fcntl
import heapq
import os
import random
import secrets
import select
import struct
import subprocess
import threading
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 9000


def why_not():
    """Why this computer cannot do it; "" if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["ip", "netns", "add", name := f"sp{secrets.token_hex(3)}"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    if tried.returncode:
        return tried.stderr.strip()
    try:
        os.close(open_tun(name))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"
    return ""


def open_tun(name):
    """A descriptor whose reads and writes are the packets of a new device; with it the device goes."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(tun)
        raise
    return tun


class Wire:
    """Hands packets from one end to the other, and is told how badly."""

    LOSS, DELAY = 0.1, (0.01, 0.07)  # one packet in ten is lost, the others come late and out of order

    def __init__(self, ends, seed):
        self.ends, self.cut, self.spoiled = ends, False, False
        self.swallowed = self.dropped = self.delayed = 0
        self._random, self._late = random.Random(seed), []
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def _carry(self):
        others = dict(zip(self.ends, reversed(self.ends)))
        while True:
            pause = max(0, self._late[0][0] - time.monotonic()) if self._late else None
            ready, _, _ = select.select([*self.ends, self._ended], [], [], pause)
            if self._ended in ready:
                return
            for end in ready:
                self._take(end, others[end])
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(self._late)
                self._give(to, packet)

    def _take(self, end, to):
        for _ in range(64):
            try:
                packet = os.read(end, 65536)
            except OSError:
                return  # no more
            if self.cut:
                self.swallowed += 1
            elif not self.spoiled:
                self._give(to, packet)
            elif self._random.random() < self.LOSS:
                self.dropped += 1
            else:
                self.delayed += 1
                heapq.heappush(self._late, (time.monotonic() + self._random.uniform(*self.DELAY), self.delayed, to, packet))

    @staticmethod
    def _give(to, packet):
        with contextlib.suppress(OSError):
            os.write(to, packet)

    def close(self):
        os.close(self._end)
        self._thread.join()
        for descriptor in (self._ended, *self.ends):
            os.close(descriptor)


class Network:
    """Namespace 0 is the service's; machine i reaches it at address(i), through a wire of its own."""

    def __init__(self, machines, seed=0):
        self.tag, self.machines, self.wires = secrets.token_hex(3), machines, {}
        for i in range(machines + 1):
            self._run("ip", "netns", "add", self.name(i))
            self._run("ip", "-n", self.name(i), "link", "set", "lo", "up")
        for i in range(1, machines + 1):
            self.wires[i] = Wire([self._device(f"s{i}{self.tag}", 0, f"to{i}", self.address(i), self.address(i, 2)),
                                  self._device(f"m{i}{self.tag}", i, "up0", self.address(i, 2), self.address(i))], f"{seed} {i}")

    def _device(self, made_as, place, name, address, peer):
        tun = open_tun(made_as)
        self._run("ip", "link", "set", made_as, "mtu", str(MTU), "netns", self.name(place), "name", name)
        self._run("ip", "-n", self.name(place), "addr", "add", address, "peer", peer, "dev", name)
        self._run("ip", "-n", self.name(place), "link", "set", name, "up")
        return tun

    def name(self, i):
        return f"sp{self.tag}-{i}"

    def inside(self, i):
        """What starts a program in namespace i."""
        return ["ip", "netns", "exec", self.name(i)]

    @staticmethod
    def address(i, end=1):
        return f"10.77.{i}.{end}"

    def cut(self, i):
        """Packets vanish: nobody is told."""
        self.wires[i].cut = True

    def spoil(self, i):
        """Packets come late and out of order, one in ten never."""
        self.wires[i].spoiled = True

    def mend(self, i):
        self.wires[i].cut = self.wires[i].spoiled = False

    def count(self, what):
        """How many packets were "swallowed", "dropped", "delayed"."""
        return sum(getattr(wire, what) for wire in self.wires.values())

    def close(self):
        for wire in self.wires.values():
            wire.close()
        for i in range(self.machines + 1):
            subprocess.run(["ip", "netns", "del", self.name(i)], capture_output=True)

    @staticmethod
    def _run(*command):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done
