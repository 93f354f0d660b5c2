# SPDX-License-Identifier: MIT
"""4 KiB random reads and overwrites of a guest, through rings and the storage VSP, beside the same
done by the engine alone: depth 32, one channel beside one thread, then as many as processors.

The guest needs processors too, and here it has no others: so each pair is compared twice, by
requests a second and by requests for each second of the host's processor time."""

import os
import resource
from dataclasses import replace

from drivers import DEPTH, SECONDS, vhdtool_random
from lab import cool, settle, show, warm, write_random
from measure import Contender, compare

SIZES = {"cached": 128 << 20, "direct": 1 << 30}
ROUNDS = 5
TARGET = 0.9
MAX_CHANNELS = 8  # of the program


def measure(lab):
    processors = min(len(os.sched_getaffinity(0)), MAX_CHANNELS)
    for cache, size in SIZES.items():
        with lab.room("ring") as room:
            raw, vhd = room / "full.img", room / "full.vhd"
            write_random(raw, size)
            lab.run(lab.ours("vhdtool"), "convert", raw, vhd)
            raw.unlink()
            cool(vhd)
            for channels in sorted({1, processors}):
                for rw, what in (("randread", "random reads"), ("randwrite", "random overwrites")):
                    name = f"4 KiB {what} of a guest, {cache}, {channels} channel" + "s" * (channels > 1)
                    yield from _pair(lab, name, vhd, rw, size, cache, channels)


def _pair(lab, name, vhd, rw, size, cache, channels):
    guest = [lab.ours("bench/ring"), vhd, rw, cache, channels, DEPTH, SECONDS, size]
    engine = vhdtool_random(lab, "engine alone", vhd, rw, size, cache, TARGET, threads=channels)
    rings = Contender("rings", show(*guest), lambda: lab.run_json(*guest)["iops"])
    yield from _compare(name, "IOPS", rings, engine, vhd, cache)

    def of_the_host():
        said = lab.run_json(*guest)
        return said["requests"] / said["host_cpu_s"]

    def of_the_engine():
        before = _children_seconds()
        iops = engine.run()  # for SECONDS, or a little more
        return iops * SECONDS / (_children_seconds() - before)

    yield from _compare(
        f"{name}, by processor time", "per CPU s", replace(rings, run=of_the_host),
        replace(engine, run=of_the_engine), vhd, cache,
    )


def _compare(name, unit, ours, theirs, vhd, cache):
    pair = [ours, theirs]
    if cache == "cached":
        pair = [replace(one, before=lambda: warm(vhd), after=lambda: settle(vhd)) for one in pair]
    return compare(name, unit, pair[0], pair[1:], ROUNDS)


def _children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
