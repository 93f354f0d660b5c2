# SPDX-License-Identifier: MIT
"""4 KiB random reads and overwrites at depth 32 on a dynamic VHD all of whose blocks are allocated,
beside the same on a raw file."""

from dataclasses import replace

from drivers import FIO_BATCHED, fio_random, qemu_random, vhdtool_random
from lab import cool, settle, warm, write_random
from measure import compare

# Cached: small enough to be read in before and written out after each turn, in no time.
SIZES = {"cached": 128 << 20, "direct": 1 << 30}
ROUNDS = 5
TARGET = 0.95


def measure(lab):
    for cache, size in SIZES.items():
        with lab.room("random") as room:
            raw, vhd = room / "full.img", room / "full.vhd"
            write_random(raw, size)
            lab.run(lab.ours("vhdtool"), "convert", raw, vhd)
            # The cache is faster or slower by how it was filled: both by reading, then.
            cool(raw, vhd)
            for rw, what in (("randread", "random reads"), ("randwrite", "random overwrites")):
                contenders = _contenders(lab, raw, vhd, rw, size, cache)
                if cache == "cached":
                    contenders = [_in_cache(contender, raw, vhd) for contender in contenders]
                name = f"4 KiB {what}, {cache}"
                yield from compare(name, "IOPS", contenders[0], contenders[1:], ROUNDS)


def _contenders(lab, raw, vhd, rw, size, cache):
    return [
        vhdtool_random(lab, "VHD", vhd, rw, size, cache),
        fio_random(lab, "fio on raw", raw, rw, size, cache, TARGET, *FIO_BATCHED),
        vhdtool_random(lab, "our engine on raw", raw, rw, size, cache, TARGET, raw=True),
        qemu_random(lab, "qemu-img bench -f vpc", vhd, "vpc", rw, cache),
    ]


def _in_cache(contender, *paths):
    return replace(contender, before=lambda: warm(*paths), after=lambda: settle(*paths))
