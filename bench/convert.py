# SPDX-License-Identifier: MIT
"""convert beside qemu-img convert, both ways. Ours is done when the target is on stable storage.
qemu-img by default leaves it in memory: so it is also told to flush (-t writeback), and followed by
sync."""

from lab import settle, show, warm, write_random
from measure import Contender, compare

SIZE = 512 << 20
ROUNDS = 5
TARGET = 1


def measure(lab):
    with lab.room("convert") as room:
        raw, vhd = room / "half.img", room / "half.vhd"
        write_random(raw, SIZE, lambda chunk: chunk % 8 < 4)
        lab.run(lab.ours("vhdtool"), "convert", raw, vhd)
        yield from _one(lab, raw, room / "out.vhd", "raw", "vpc")
        yield from _one(lab, vhd, room / "out.img", "vpc", "raw")


def _one(lab, source, target, source_format, target_format):
    def contender(label, goal, *commands):
        def before():
            target.unlink(missing_ok=True)
            warm(source)

        return Contender(
            label,
            " && ".join(show(*command) for command in commands),
            lambda: SIZE / sum(lab.timed(*command) for command in commands) / 1e6,
            goal,
            before,
            after=lambda: settle(target),
        )

    def qemu(*options):
        formats = ["-f", source_format, "-O", target_format]
        return [lab.theirs("qemu-img"), "convert", *options, *formats, source, target]

    vhdtool = [lab.ours("vhdtool"), "convert", "--progress", "none", source, target]
    others = [
        contender("qemu-img -t writeback", TARGET, qemu("-t", "writeback")),
        contender("qemu-img, then sync", TARGET, qemu(), ["sync", target]),
        contender("qemu-img, not synced", None, qemu()),
    ]
    name = f"convert {source_format} to {target_format}"
    return compare(name, "MB/s", contender("vhdtool", None, vhdtool), others, ROUNDS)
