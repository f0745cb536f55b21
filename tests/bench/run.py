#!/usr/bin/python3
"""Measures Spell and prints a table in Markdown; nothing is judged.

A figure is the median of five rounds. A round measures a *floor* (a small program that does only what cannot be avoided), the
figure, its peer where there is one, and the floor again. Where the two floors differ by more than a factor of two the machine
was busy with something else, and the round is repeated; the table says how often. A ratio is the median of the rounds' ratios.
"""
import argparse
import json
import statistics
import subprocess
import sys

import cost_rows  # noqa: F401
import env_rows  # noqa: F401
import resilience_rows  # noqa: F401
import rows
import sched_rows  # noqa: F401
import sdk_rows  # noqa: F401
import service_rows  # noqa: F401, its rows join the others
import spellfs_rows  # noqa: F401
from place import BUILD, Skipped

REPEATS = 5  # of one round, at most


def measure_round(measures):
    """One round's {"figure", "floor", "peer"}, and how often it had to be repeated."""
    for repeats in range(REPEATS + 1):
        before = measures.floor() if measures.floor else None
        sample = {"figure": measures.figure()}
        if measures.peer:
            sample["peer"] = measures.peer()
        if before is None:
            return sample, repeats
        after = measures.floor()
        sample["floor"] = (before + after) / 2
        if max(before, after) <= 2 * min(before, after):
            break
    return sample, repeats


def measure(row, rounds):
    with row.open() as measures:
        samples, repeated = [], 0
        for _ in range(rounds if row.repeatable else 1):
            sample, repeats = measure_round(measures)
            samples.append(sample)
            repeated += repeats
    result = {"name": row.name, "what": row.what, "unit": row.unit, "asked": row.asked, "repeated": repeated,
              "samples": samples, "notes": measures.notes}  # some come when the row ends: after the with
    for part in ("figure", "floor", "peer"):
        if values := [sample[part] for sample in samples if part in sample]:
            result[part] = statistics.median(values)
            if part != "figure":
                result[f"{part}_ratio"] = statistics.median(sample["figure"] / sample[part] for sample in samples)
    return result


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def line(result):
    ratio = {part: f"{result[f'{part}_ratio']:.2f} ×" if f"{part}_ratio" in result else "" for part in ("floor", "peer")}
    cells = [result["what"], f"{number(result['figure'])} {result['unit']}", result["asked"], number(result.get("floor")),
             ratio["floor"], number(result.get("peer")), ratio["peer"], str(result["repeated"])]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, or all that begin with it and a dash: " + ", ".join(row.name for row in rows.ROWS))
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int, default=5, help="of each row that can be repeated (5)")
    parser.add_argument("--json", metavar="FILE", help="all samples, too")
    options = parser.parse_args()
    known = {row.name: row for row in rows.ROWS}
    chosen = [row for name in options.names for row in rows.ROWS if row.name == name or row.name.startswith(f"{name}-")]
    if unknown := [name for name in options.names if not any(row.name == name or row.name.startswith(f"{name}-") for row in chosen)]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    subprocess.run(["ninja", "-C", BUILD, "spell_bench"], check=True, stdout=subprocess.DEVNULL)

    results, notes = [], []
    print("| what | figure | asked | floor | ratio | peer | ratio | repeated |\n|---|---|---|---|---|---|---|---|", flush=True)
    for row in chosen or rows.ROWS:
        try:
            result = measure(row, 1 if options.quick else options.rounds)
        except Skipped as why:
            notes.append(f"{row.what}: not measured, {why}")
            continue
        results.append(result)
        notes += [f"{row.what}: {note}" for note in result["notes"]]
        print(line(result), flush=True)
    if notes:
        print("", *[f"- {note}" for note in notes], sep="\n")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
