#!/usr/bin/python3
"""Runs the checks of the sources. usage: run.py [--fast] [--junit FILE]"""
import argparse
import sys
import xml.etree.ElementTree as xml

import checks


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fast", action="store_true", help="only what needs no compiler, and no report")
    parser.add_argument("--junit", metavar="FILE")
    options = parser.parse_args()
    suite = xml.Element("testsuite", name="lint")
    failed = 0
    for check in checks.FAST if options.fast else checks.FAST + checks.SLOW:
        found = sorted(set(check()))
        case = xml.SubElement(suite, "testcase", classname="lint", name=check.__name__.removeprefix("check_"))
        if found:
            failed += 1
            xml.SubElement(case, "failure", message=f"{len(found)} places").text = "\n".join(found)
            print(f"FAILED {case.get('name')}: {check.__doc__}", *found, sep="\n  ")
    if not options.fast:
        print(*checks.report(), sep="\n")
    if options.junit:
        xml.ElementTree(suite).write(options.junit, encoding="utf-8", xml_declaration=True)
    print(f"lint: {len(suite) - failed} checks passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
