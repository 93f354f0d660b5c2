# SPDX-License-Identifier: MIT
"""Results as lines of a table while they come in, and as JSON in the end."""

import dataclasses
import json

NAME_WIDTH = 88


def header():
    _row("", "ours", "theirs", "unit", "ratio", "(range)", "target")


def line(result):
    ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
    spread = f"({_number(result.lowest)}-{_number(result.highest)})"
    verdict = {None: "", True: "  met", False: "  MISSED"}[result.met]
    _row(
        result.name, _number(result.ours), _number(result.theirs), result.unit, ratio, spread,
        (result.target or "") + verdict,
    )


def _row(name, ours, theirs, unit, ratio, spread, target):
    line = f"{name:{NAME_WIDTH}} {ours:>9} {theirs:>9} {unit:5} {ratio:>6} {spread:>15} {target}"
    print(line.rstrip(), flush=True)


def summary(results):
    judged = [result for result in results if result.met is not None]
    missed = [result for result in judged if not result.met]
    met = len(judged) - len(missed)
    print(f"\n{len(results)} measured; of {len(judged)} with a target {met} met, {len(missed)} missed")
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
