"""What was spent."""
import contextlib
import http.client
import json
import socket
import time

from place import place
from rows import Measures, row

KINDS = ("run", "workflow", "project", "user", "machine", "type", "day")


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


@row("sched-cost", "cost report over 1,000,000 runs, the slowest of 7 kinds", "ms", "200")
def cost_report(count=1_000_000):
    """Floor: what stands there of the runs is read by SQLite alone, and its bytes are added up."""
    notes = []
    with place() as here:
        service = here.service()
        here.stop_service()
        database = here.spell_dir / "spell.db"
        here.program("spell_bench_cost", "fill", database, service["owner"], count)
        here.service()

        def figure():
            with contextlib.closing(Connection(here.spell_dir / "spelld.sock")) as connection:
                took = {}
                for kind in KINDS:
                    start = time.perf_counter()
                    connection.request("GET", f"/v1/owners/{service['owner']}/costs?by={kind}")
                    answer = connection.getresponse()
                    body = answer.read()
                    took[kind] = 1000 * (time.perf_counter() - start)
                    total = json.loads(body)["costs"]["total"]
                    if answer.status != 200 or total["runs"] != count:
                        raise RuntimeError(body[:500])
            notes.append(", ".join(f"{kind} {ms:.0f}" for kind, ms in took.items()))
            return max(took.values())

        def floor():
            return 1000 * float(here.program("spell_bench_cost", "read", database).split()[0])

        yield Measures(figure, floor, notes=notes)
