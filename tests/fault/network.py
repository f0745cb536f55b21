"""A service and machines, each in a network namespace of its own (iproute2; needs root): links that are cut and spoiled."""
import os
import secrets
import subprocess


def why_not():
    """Why this computer cannot do it; "" if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["ip", "netns", "add", name := f"sp{secrets.token_hex(3)}"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return tried.stderr.strip()


class Network:
    """Namespace 0 is the service's; machine i reaches it at address(i), through a link of its own."""

    def __init__(self, machines):
        self.tag, self.machines = secrets.token_hex(3), machines
        for i in range(machines + 1):
            self._run("ip", "netns", "add", self.name(i))
            self._run("ip", "-n", self.name(i), "link", "set", "lo", "up")
        for i in range(1, machines + 1):
            self._run("ip", "-n", self.name(0), "link", "add", f"to{i}", "type", "veth", "peer", "name", "up0", "netns", self.name(i))
            self._run("ip", "-n", self.name(0), "addr", "add", f"{self.address(i)}/24", "dev", f"to{i}")
            self._run("ip", "-n", self.name(i), "addr", "add", f"10.77.{i}.2/24", "dev", "up0")
            self._run("ip", "-n", self.name(0), "link", "set", f"to{i}", "up")
            self._run("ip", "-n", self.name(i), "link", "set", "up0", "up")
        self.spoils = self._spoil(1).returncode == 0  # the kernel may not have netem
        self.mend(1)

    def name(self, i):
        return f"sp{self.tag}-{i}"

    def inside(self, i):
        """What starts a program in namespace i."""
        return ["ip", "netns", "exec", self.name(i)]

    def address(self, i):
        return f"10.77.{i}.1"

    def cut(self, i):
        """Packets vanish: nobody is told."""
        self._run("ip", "-n", self.name(0), "link", "set", f"to{i}", "down")

    def mend(self, i):
        self._run("ip", "-n", self.name(0), "link", "set", f"to{i}", "up")
        subprocess.run(["tc", "-n", self.name(i), "qdisc", "del", "dev", "up0", "root"], capture_output=True)

    def spoil(self, i):
        """Packets come late and out of order, one in ten never."""
        if self.spoils:
            self._spoil(i)

    def _spoil(self, i):
        return subprocess.run(["tc", "-n", self.name(i), "qdisc", "replace", "dev", "up0", "root", "netem", "delay", "40ms", "30ms",
                               "loss", "10%"], capture_output=True, text=True)

    def close(self):
        for i in range(self.machines + 1):
            subprocess.run(["ip", "netns", "del", self.name(i)], capture_output=True)

    @staticmethod
    def _run(*command):
        subprocess.run(command, check=True, capture_output=True)
