#!/usr/bin/python3
"""Counts what the tests of all kinds left as JUnit files.

usage: summary.py FOLDER FAILED    (FAILED: 1 if a program said so by its exit status)

A program of Catch2 counts with its own totals of test cases, any other program of ctest as one test.
The last line is the count; it exits with 1 if something failed.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as xml

ALL_PASSED = re.compile(r"^All tests passed \(.* in (\d+) test cases?\)$", re.M)
SOME_FAILED = re.compile(r"^test cases: *(\d+) \|(.*)$", re.M)
SKIPPED = re.compile(r"^ *skipped: (.+)$", re.M)  # Catch2 has no word for it before version 3.3: WARN("skipped: why")
PART = re.compile(r"(\d+) (passed|failed as expected|failed|skipped)")


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.reasons = []

    def skip(self, name, reason):
        self.skipped += 1
        self.reasons.append(f"skipped: {name}: {reason or 'no reason given'}")


def count_program(case, count):
    """One test of ctest."""
    skipped, failure = case.find("skipped"), case.find("failure")
    if skipped is not None and failure is None and "Unable to find executable" not in skipped.get("message", ""):
        return count.skip(case.get("name"), skipped.get("message"))
    failed = failure is not None or case.get("status") != "run"
    output = case.findtext("system-out") or ""
    skips = SKIPPED.findall(output)
    for reason in skips:
        count.skip(case.get("name"), reason)
    count.passed -= len(skips)
    if whole := ALL_PASSED.findall(output):
        count.passed += int(whole[-1])
        count.failed += failed  # a leak, say, that the test cases themselves did not see
    elif some := SOME_FAILED.findall(output):
        parts = {word: int(number) for number, word in PART.findall(some[-1][1])}
        count.passed += parts.get("passed", 0) + parts.get("failed as expected", 0)
        count.failed += max(parts.get("failed", 0), int(failed))
    else:
        count.failed += failed
        count.passed += not failed


def count_case(case, count):
    """One test of pytest or of the checks of the sources."""
    name = f"{case.get('classname', '')}.{case.get('name')}".lstrip(".")
    skipped = case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        count.failed += 1
    elif skipped is not None:
        count.skip(name, skipped.get("message"))
    else:
        count.passed += 1


def main():
    folder, failed = pathlib.Path(sys.argv[1]), sys.argv[2] == "1"
    count = Count()
    for file in sorted(folder.glob("*.xml")):
        for case in xml.parse(file).iter("testcase"):
            (count_program if file.name == "ctest.xml" else count_case)(case, count)
    if failed and not count.failed:
        count.failed = 1
    print("\n".join(count.reasons))
    print(f"{count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
