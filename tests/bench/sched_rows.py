"""What is decided for runs: which machine type."""
import json
import statistics

from place import PROGRAMS, output_of
from rows import Measures, row


@row("sched-select", "selection among 1,000 machine types, the slowest preference", "ms", "1")
def select(count=1000):
    notes, texts = [], []

    def figure():
        sample = json.loads(output_of(PROGRAMS / "spell_bench_select", count))
        texts.append(sample["texts"])
        return sample["chosen"]

    yield Measures(figure, notes=notes)
    notes.append(f"with a reason in words for each that fits, as a list shows them: {statistics.median(texts):.2f} ms")
