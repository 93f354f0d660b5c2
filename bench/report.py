# SPDX-License-Identifier: MIT
"""Results as lines of a table while they come in, and as JSON in the end."""

import dataclasses
import json

NAME_WIDTH = 88


def header():
    print(f"{'':{NAME_WIDTH}} {'ours':>10} {'theirs':>10} {'unit':5} {'ratio':>7} {'(range)':>15} target")


def line(result):
    theirs = _number(result.theirs)
    ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
    spread = "" if result.lowest is None else f"({_number(result.lowest)}-{_number(result.highest)})"
    verdict = {None: "", True: "met", False: "MISSED"}[result.met]
    print(
        f"{result.name:{NAME_WIDTH}} {_number(result.ours):>10} {theirs:>10} {result.unit:5} "
        f"{ratio:>7} {spread:>15} {result.target or '':7} {verdict}".rstrip(),
        flush=True,
    )


def summary(results):
    judged = [result for result in results if result.met is not None]
    missed = [result for result in judged if not result.met]
    print(f"\n{len(results)} measured, {len(judged)} with a target: {len(judged) - len(missed)} met, {len(missed)} missed")
    for result in missed:
        figure = result.ours if result.ratio is None else result.ratio
        print(f"  missed: {result.name}: {_number(figure)}, target {result.target}")


def write_json(results, path):
    with open(path, "w", encoding="utf-8") as file:
        json.dump([dataclasses.asdict(result) for result in results], file, indent=2)
        file.write("\n")


def _number(value):
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
