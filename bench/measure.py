# SPDX-License-Identifier: MIT
"""What a measurement is: contenders that take turns, and the figures that come out.

Everything compared is a speed: larger is better. The machine may be shared and noisy, so the
contenders run in rounds, each round starts with the next one, and the ratio reported is the median
of the rounds' ratios, not the ratio of the medians.
"""

from dataclasses import dataclass
from statistics import median
from typing import Callable, Optional


class NotMeasured(Exception):
    """This cannot be measured here; the text says why."""


def _nothing():
    pass


@dataclass(frozen=True)
class Contender:
    label: str
    command: str
    run: Callable[[], float]
    target: Optional[float] = None  # ours is to be at least so many times as fast
    before: Callable[[], None] = _nothing  # around each run, not measured
    after: Callable[[], None] = _nothing


@dataclass
class Result:
    name: str
    ours: float
    theirs: Optional[float]
    unit: str
    ratio: Optional[float]
    target: Optional[str]
    met: Optional[bool]
    command: str
    lowest: float  # of the rounds: of the ratio, or of ours where there is none
    highest: float


def compare(name, unit, ours, others, rounds):
    """Let `ours` and `others` take turns for `rounds` rounds; one result for each of `others`."""
    contenders = [ours, *others]
    speeds = {contender.label: [] for contender in contenders}
    for i in range(rounds):
        first = i % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            contender.before()
            speeds[contender.label].append(contender.run())
            contender.after()
    return [_versus(name, unit, ours, other, speeds) for other in others]


def _versus(name, unit, ours, other, speeds):
    ratios = [a / b for a, b in zip(speeds[ours.label], speeds[other.label])]
    ratio = median(ratios)
    return Result(
        name=f"{name}: {ours.label} / {other.label}",
        ours=median(speeds[ours.label]),
        theirs=median(speeds[other.label]),
        unit=unit,
        ratio=ratio,
        target=None if other.target is None else f">= {other.target}",
        met=None if other.target is None else ratio >= other.target,
        command=f"{ours.command} ; {other.command}",
        lowest=min(ratios),
        highest=max(ratios),
    )


def at_most(name, unit, samples, limit, command):
    """A figure of ours alone, which is to stay at or below `limit`: the median of `samples`."""
    value = median(samples)
    return Result(
        name=name,
        ours=value,
        theirs=None,
        unit=unit,
        ratio=None,
        target=f"<= {limit}",
        met=value <= limit,
        command=command,
        lowest=min(samples),
        highest=max(samples),
    )
