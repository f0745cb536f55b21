#!/usr/bin/python3
"""Searches for bytes that break a parser: each libFuzzer target for a share of the minutes, from its corpus on.

search.py BUILD --minutes N [--seed S]. What it finds new stays in BUILD/corpus, for the next search; what breaks something in
BUILD/broken, and is a file for corpus/<name>/ once it is mended.
"""
import argparse
import pathlib
import random
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1"]


def search(program, seconds, seed, build):
    name = program.name.split("_", 3)[3]
    found, broken = build / "corpus" / name, build / "broken"
    found.mkdir(parents=True, exist_ok=True)
    broken.mkdir(exist_ok=True)
    done = subprocess.run([program, f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={broken}/{name}-", *LIMITS,
                           found, HERE / "corpus" / name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
    print(f"{name}: {int(runs[1]) if runs else 0:,} inputs in {seconds} s, {len(list(found.iterdir()))} that go new ways, "
          f"{'broken' if done.returncode else 'none breaks it'}", flush=True)
    if done.returncode:
        print(done.stdout[-6000:], flush=True)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 31))
    options = parser.parse_args()
    programs = sorted((options.build / "bin").glob("spell_fuzz_*"))
    if not programs:
        sys.exit(f"there are no fuzzers in {options.build}/bin")
    seconds = max(5, round(options.minutes * 60 / len(programs)))
    print(f"{len(programs)} parsers, seed {options.seed}", flush=True)
    fine = [search(program, seconds, options.seed, options.build) for program in programs]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
