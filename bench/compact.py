# SPDX-License-Identifier: MIT
"""compact --mode prezeroed beside reading the image's bytes: in the worst case for looking, blocks
of zeros but for their last sector, and with every eighth block zero and the rest random."""

import shutil

from drivers import fio_command, fio_speed
from lab import cool, settle, show, warm, write_random
from measure import Contender, compare

SIZE = 512 << 20
BLOCK = 2 << 20
SECTOR = 512
ROUNDS = 3
TARGET = 0.8


def measure(lab):
    with lab.room("compact") as room:
        raw, ends, holed = room / "full.img", room / "ends.vhd", room / "holed.vhd"
        write_random(raw, SIZE)
        lab.run(lab.ours("vhdtool"), "convert", raw, ends)
        raw.unlink()
        shutil.copyfile(ends, holed)
        _zero(lab, ends, 1, BLOCK - SECTOR)
        _zero(lab, holed, 8, BLOCK)
        for image, what in ((ends, "nothing to drop"), (holed, "an eighth to drop")):
            for cache, prepare in (("cold", cool), ("cached", warm)):
                yield from _one(lab, room, image, f"compact prezeroed, {what}, {cache}", prepare)


def _zero(lab, vhd, step, length):
    """Zeros at the start of every step-th block of the disk, which stays allocated."""
    with open(vhd, "r+b") as file:
        for extent in lab.run_json(lab.ours("vhdtool"), "map", vhd, "--json"):
            for start in range(extent["start"], extent["start"] + extent["length"], BLOCK):
                if extent["state"] == "data" and start // BLOCK % step == 0:
                    file.seek(extent["offset"] + start - extent["start"])
                    file.write(bytes(length))
    settle(vhd)


def _one(lab, room, image, name, prepare):
    work = room / "work.vhd"
    compact = [lab.ours("vhdtool"), "compact", "--mode", "prezeroed", "--progress", "none", work]
    read = fio_command(lab, image, "read", "1M", 8, "--direct=0")

    def fresh():
        shutil.copyfile(image, work)
        settle(work)
        prepare(work)

    ours = Contender(
        "compact", show(*compact), lambda: SIZE / lab.timed(*compact) / 1e6, before=fresh
    )
    theirs = Contender(
        "fio reading it",
        show(*read),
        lambda: fio_speed(lab, read, "bw_bytes") / 1e6,
        TARGET,
        before=lambda: prepare(image),
    )
    return compare(name, "MB/s", ours, [theirs], ROUNDS)
