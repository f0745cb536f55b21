"""A team's service and its machines."""
import asyncio
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import statistics
import subprocess
import time

from place import PATIENCE, PROGRAMS, Skipped, output_of, place
from rows import Measures, numbers_in, row

HELLO = {"version": "0.1.0", "boot_id": "bench", "cores": 8, "memory": 64 * 10**9, "disk_free": 10**12}


class Team:
    """A team's service on loopback TLS; its socket is the administrator's way in."""

    def __init__(self, here):
        self.here, self.data = here, here.root / "team"
        self.environment = {**here.environment, "HOME": str(here.home)}
        self.options = {"env": self.environment, "cwd": here.work}
        output_of(PROGRAMS / "spelld", "init", "--data", self.data, "--owner", "bench", "--host", "127.0.0.1", "--listen", "127.0.0.1:0",
                  "--password-stdin", input="correct horse battery\n", **self.options)
        ready, end = os.pipe()
        self.process = subprocess.Popen([PROGRAMS / "spelld", "serve", "--data", self.data, "--ready-fd", str(end)], pass_fds=[end],
                                        stderr=open(here.root / "spelld.err", "w"), **self.options)
        os.close(end)
        with os.fdopen(ready) as told:
            if not told.readline().startswith("ready"):
                raise RuntimeError((here.root / "spelld.err").read_text())

    @property
    def address(self):
        return f"unix:{self.data}/spelld.sock"

    def spell(self, *arguments):
        return output_of(PROGRAMS / "spell", "--service", self.address, *arguments, **self.options)

    def add(self, name, *options):
        return json.loads(self.spell("machine", "add", name, *options, "--json"))

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)


@contextlib.contextmanager
def team():
    with place() as here:
        service = Team(here)
        try:
            yield service
        finally:
            service.close()


class Worker:
    """A worker of a simulated machine: one connection, one long poll at a time."""

    def __init__(self, port, token, machine):
        self.port, self.token, self.machine = port, token, machine

    async def open(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)

    async def post(self, path, body, token):
        text = json.dumps(body).encode()
        self.writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(text)}\r\n\r\n".encode()
                          + text)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        answer = json.loads(await self.reader.readexactly(int(re.search(r"(?i)content-length: (\d+)", head)[1])))
        if " 20" not in head.splitlines()[0]:
            raise RuntimeError(f"{path}: {answer}")
        return answer

    async def poll(self):
        while True:
            await self.post(f"/v1/machines/{self.machine}/sync", {"protocol": 1, "wait_ms": 25_000}, self.token)


def port_of(url):
    return int(url.rsplit(":", 1)[1])


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def local(service, method, path, body, token=None):
    """One request over the service's socket."""
    credential = f"Authorization: Bearer {token}\r\n" if token else ""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{service.data}/spelld.sock")
        text = json.dumps(body).encode()
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{credential}Content-Length: {len(text)}\r\n\r\n".encode()
                           + text)
        return json.loads(connection.makefile("rb").read().partition(b"\r\n\r\n")[2])


@row("service-idle", "1,000 connected idle workers (simulated, TLS), 25 s polls", "% of a core", "15, 100 MB", repeatable=False)
def idle_workers(count=1000, watched=50):
    notes = []

    async def measure(service):
        workers = []
        for n in range(count):
            join = local(service, "POST", "/v1/owners/bench/machines", {"name": f"m{n}"})["join"]
            # Over the socket it joins without a key, so that its token alone is enough.
            joined = local(service, "POST", "/v1/join", {"protocol": 1, "hello": HELLO}, join["token"])
            worker = Worker(port_of(join["url"]), joined["token"], joined["machine"])
            await worker.open()
            await worker.post(f"/v1/machines/{worker.machine}/sync", {"protocol": 1, "hello": HELLO, "wait_ms": 0}, worker.token)
            workers.append(worker)
        polls = [asyncio.create_task(worker.poll()) for worker in workers]
        await asyncio.sleep(5)
        pid = service.process.pid
        before = cpu_seconds(pid)
        await asyncio.sleep(watched)
        used = (cpu_seconds(pid) - before) / watched * 100
        for poll in polls:
            if poll.done():
                poll.result()
            poll.cancel()
        notes.append(f"{numbers_in(f'/proc/{pid}/status', 'VmRSS') * 1024 / 1e6:.0f} MB resident")
        return used

    def figure():
        with team() as service:
            return asyncio.run(measure(service))

    yield Measures(figure, notes=notes)


def joined(service, name, *options):
    """spell-worker as a process of its own that has joined and is seen."""
    if not (PROGRAMS / "spell-worker").exists():
        raise Skipped("there is no spell-worker in this build")
    join = service.add(name, *options)
    start = time.perf_counter()
    worker = subprocess.Popen([PROGRAMS / "spell-worker", "join", join["url"], "-", "--state", service.here.root / name, "--foreground"],
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=open(service.here.root / f"{name}.err", "w"),
                              text=True, **service.options)
    worker.stdin.write(join["token"] + "\n")
    worker.stdin.close()
    while not json.loads(service.spell("machine", "info", name, "--json"))["machine"]["connected"]:
        if worker.poll() is not None:
            raise RuntimeError((service.here.root / f"{name}.err").read_text())
        time.sleep(0.01)  # nothing tells of it
    return worker, time.perf_counter() - start


@row("service-start", "a run's start on a remote worker after its submission, loopback TLS, median of 100", "ms", "15")
def remote_start(runs=100):
    with team() as service:
        worker, _ = joined(service, "box")
        try:
            def figure():
                took = []
                for _ in range(runs):
                    run = json.loads(service.spell("run", "-m", "box", "--json", "-b", "true"))["run"]["id"]
                    service.spell("wait", run)
                    info = json.loads(service.spell("info", run, "--json"))["run"]
                    times = [time_of(info[name]) for name in ("created_at", "started_at")]
                    took.append((times[1] - times[0]) * 1000)
                return statistics.median(took)
            yield Measures(figure)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(PATIENCE)


def time_of(text):
    seconds, fraction = text.rstrip("Z").split(".")
    return time.mktime(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) + float("0." + fraction)


@row("service-join", "a machine joins: from `spell-worker join` until it is seen", "s", "1")
def join_time():
    with team() as service:
        names = iter(range(1000))

        def figure():
            worker, took = joined(service, f"m{next(names)}")
            worker.send_signal(signal.SIGTERM)
            worker.wait(PATIENCE)
            return took
        yield Measures(figure)


@row("service-get", "`GET /v1/runs/N`, 8 clients, on all cores of this machine", "/s", "10,000 on 2 cores")
def gets(count=30_000):
    with place() as here:
        here.spell("run", "-f", "true")
        service = here.service()
        target = f"/v1/owners/{service['owner']}/runs/1"

        def figure():
            return count / float(here.program("spell_bench_gets", here.spell_dir / "spelld.sock", target, count, 8))
        yield Measures(figure, notes=[f"{os.cpu_count()} cores, shared with the clients"])
