"""What is decided for runs: which machine type, and whose turn it is on which machine."""
import json
import statistics

from place import PROGRAMS, output_of, place
from rows import Measures, numbers_in, row


@row("sched-select", "selection among 1,000 machine types, the slowest preference", "ms", "1")
def select(count=1000):
    notes, texts = [], []

    def figure():
        sample = json.loads(output_of(PROGRAMS / "spell_bench_select", count))
        texts.append(sample["texts"])
        return sample["chosen"]

    yield Measures(figure, notes=notes)
    notes.append(f"with a reason in words for each that fits, as a list shows them: {statistics.median(texts):.2f} ms")


@row("sched-place", "one placement among 10,000 queued runs and 1,000 machines, all full", "ms", "1")
def place_one(runs=10_000, machines=1_000):
    notes, samples = [], []

    def figure():
        samples.append(json.loads(output_of(PROGRAMS / "spell_bench_place", runs, machines)))
        return samples[-1]["usual"]

    yield Measures(figure, notes=notes)
    middle = lambda name: statistics.median(sample[name] for sample in samples)
    notes.append(f"the runs of 50 users ask for {middle('kinds'):.0f} different things; of 100 placements the slowest: {middle('slow'):.2f} ms;"
                 f" where no two runs ask for the same: {middle('unlike'):.1f} ms")


@row("sched-memory", "100,000 queued runs: what is resident of the service", "MB", "200", repeatable=False)
def memory(count=100_000):
    notes = []

    def figure():
        with place() as here:
            service = here.service()
            resident = lambda: numbers_in(f"/proc/{here.service()['pid']}/smaps_rollup", "Rss") * 1024 / 1e6
            here.spell("machine", "drain", service["machines"][0]["name"])
            empty = resident()
            here.program("spell_bench_submit", here.spell_dir / "spelld.sock", service["owner"], count, 16, 0)
            queued = resident()
            here.stop_service()
            notes.append(f"{empty:.0f} MB before; {resident():.0f} MB in a service that was started with them")
            assert here.service()["runs_by_status"]["machine_requested"] == count
            return queued

    yield Measures(figure, notes=notes)
