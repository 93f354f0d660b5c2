# SPDX-License-Identifier: MIT
"""compact --mode prezeroed beside reading the image's bytes, with nothing to drop and with every
eighth block zero."""

import shutil

from drivers import fio_command, fio_speed
from lab import cool, settle, show, warm, write_random
from measure import Contender, compare

SIZE = 512 << 20
BLOCK = 2 << 20
ROUNDS = 3
TARGET = 0.8


def measure(lab):
    with lab.room("compact") as room:
        raw, full, holed = room / "full.img", room / "full.vhd", room / "holed.vhd"
        write_random(raw, SIZE)
        lab.run(lab.ours("vhdtool"), "convert", raw, full)
        raw.unlink()
        shutil.copyfile(full, holed)
        _zero_every(lab, holed, 8)
        for image, what in ((full, "nothing to drop"), (holed, "an eighth to drop")):
            for cache, prepare in (("cold", cool), ("cached", warm)):
                yield from _one(lab, room, image, f"compact prezeroed, {what}, {cache}", prepare)


def _zero_every(lab, vhd, step):
    """Zeros in every step-th block of the disk, which stays allocated."""
    with open(vhd, "r+b") as file:
        for extent in lab.run_json(lab.ours("vhdtool"), "map", vhd, "--json"):
            for start in range(extent["start"], extent["start"] + extent["length"], BLOCK):
                if extent["state"] == "data" and start // BLOCK % step == 0:
                    file.seek(extent["offset"] + start - extent["start"])
                    file.write(bytes(BLOCK))
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
