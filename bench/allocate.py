# SPDX-License-Identifier: MIT
"""4 KiB writes each of which allocates a block, in an order without pattern, to the return of the
closing flush; and how many syncs that takes."""

from lab import show
from measure import Contender, at_most, compare

SIZE = 32 << 30
STEP = 1021 * (2 << 20)  # a prime number of blocks: visits them all, far apart
COUNT = 1024
DEPTH = 32
FLUSH_EVERY = 32
ROUNDS = 3
TARGET = 3
SYNCS_PER_BLOCK = 0.1
SYNCS_PER_FLUSH = 2


def measure(lab):
    with lab.room("allocate") as room:
        ours = _ours(lab, room / "ours.vhd")
        others = [
            _qemu(lab, "qemu-img bench -f vpc", room / "theirs.vhd", "writeback", TARGET),
            _qemu(lab, "the same without syncs", room / "theirs.vhd", "unsafe"),
        ]
        yield from compare("4 KiB allocating writes", "IOPS", ours, others, ROUNDS)
        yield _syncs_per_block(lab, room)
        yield _syncs_per_flush(lab, room)


def _alloc(lab, path, start=0, depth=DEPTH, flush_every=0):
    return [lab.ours("bench/alloc"), path, COUNT, start, STEP, depth, flush_every]


def _create(lab, path, *more):
    path.unlink(missing_ok=True)
    lab.run(lab.ours("vhdtool"), "create", path, *more)


def _ours(lab, path):
    command = _alloc(lab, path)
    return Contender(
        "VHD",
        show(*command),
        lambda: COUNT / lab.timed(*command),
        before=lambda: _create(lab, path, "--size", SIZE),
    )


def _qemu(lab, label, path, cache, target=None):
    command = [
        lab.theirs("qemu-img"), "bench", "-w", "-f", "vpc", "-t", cache, "-c", COUNT, "-d", DEPTH,
        "-s", 4096, "-S", STEP, path,
    ]

    def before():
        path.unlink(missing_ok=True)
        lab.run("qemu-img", "create", "-q", "-f", "vpc", path, SIZE)

    return Contender(
        label, show(*command), lambda: COUNT / lab.timed(*command), target, before
    )


def _syncs_per_block(lab, room):
    path = room / "blocks.vhd"
    command = _alloc(lab, path)
    _create(lab, path, "--size", SIZE)
    said = lab.run_json(*command)
    syncs = said["syncs"] / said["blocks_allocated"]
    name = "syncs for each block allocated"
    return at_most(name, "syncs", [syncs], SYNCS_PER_BLOCK, show(*command))


def _syncs_per_flush(lab, room):
    """The dearest flush: bits of a differencing disk, in blocks that are there already; and one
    request at a time, so that no two flushes become one."""
    child = room / "child.vhd"
    _create(lab, child, "--parent", room / "blocks.vhd")
    lab.run(*_alloc(lab, child))
    command = _alloc(lab, child, 4096, 1, FLUSH_EVERY)
    said = lab.run_json(*command)
    syncs = said["syncs"] / said["flushes"]
    return at_most("syncs for each flush", "syncs", [syncs], SYNCS_PER_FLUSH, show(*command))
