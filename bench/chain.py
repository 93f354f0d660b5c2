# SPDX-License-Identifier: MIT
"""A chain of 512 files: 4 KiB random reads through it beside the same content in one file, and what
opening it costs. For comparison: what the kernel takes for as many plain files, and what qcow2 loses
with depth."""

from dataclasses import replace

from drivers import FIO_BATCHED, fio_random, qemu_random, vhdtool_random
from lab import show, warm, write_random
from measure import at_most, compare

DEPTH = 512
SIZE = 64 << 30
REGION = 256 << 20  # where the data is
ROUNDS = 5
CONTROL_ROUNDS = 3
OPENINGS = 5
TARGET = 0.95
OPEN_MS = 50
OPEN_MIB = 64

QCOW2_DEPTHS = (8, 64, 256)
QCOW2_SIZE = 256 << 20
QCOW2_PAGES = 128  # written in each layer, as mkchain does


def measure(lab):
    with lab.room("chain") as room:
        leaf = lab.run(lab.ours("bench/mkchain"), room, DEPTH, SIZE, REGION).strip()
        flat = room / "flat.vhd"
        lab.run(lab.ours("vhdtool"), "convert", leaf, flat)
        yield from _opening(lab, leaf)
        for cache in ("cached", "direct"):
            yield from _reading(lab, leaf, flat, cache)
    with lab.room("plain") as room:
        for cache in ("cached", "direct"):
            yield from _plain_files(lab, room, cache)
    with lab.room("qcow2") as room:
        yield from _qcow2(lab, room)


def _opening(lab, leaf):
    command = [lab.ours("vhdtool"), "bench", leaf, "--time", 1, "--json"]
    said = [lab.run_json(*command) for _ in range(OPENINGS)]
    name = f"opening a chain of {DEPTH} disks of 64 GiB"
    times = [one["open_ms"] for one in said]
    yield at_most(f"{name}: time", "ms", times, OPEN_MS, show(*command))
    memory = [one["max_rss_bytes"] / (1 << 20) for one in said]
    yield at_most(f"{name} and reading it: memory", "MiB", memory, OPEN_MIB, show(*command))


def _reading(lab, leaf, flat, cache):
    def contender(label, path, target=None):
        one = vhdtool_random(lab, label, path, "randread", REGION, cache, target)
        # Reads both, hence into the cache; and it is the same content.
        return replace(one, before=lambda: lab.run(lab.ours("vhdtool"), "compare", leaf, flat))

    name = f"4 KiB random reads, chain of {DEPTH}, {cache}"
    theirs = contender("one file", flat, TARGET)
    return compare(name, "IOPS", contender("chain", leaf), [theirs], ROUNDS)


def _plain_files(lab, room, cache):
    one, many = room / "one.img", room / "many"
    write_random(one, REGION)
    many.mkdir(exist_ok=True)

    def contender(label, path, *more):
        fio = fio_random(lab, label, path, "randread", REGION, cache, None, *FIO_BATCHED, *more)
        return replace(fio, before=lambda: warm(one, *many.iterdir()))

    several = contender(f"{DEPTH} files", many, f"--nrfiles={DEPTH}", "--file_service_type=random")
    several.run()  # makes them
    name = f"4 KiB random reads, fio on plain files, {cache}"
    yield from compare(name, "IOPS", several, [contender("one file", one)], CONTROL_ROUNDS)


def _qcow2(lab, room):
    raw, base = room / "base.img", room / "0.qcow2"
    write_random(raw, QCOW2_SIZE)
    lab.run(lab.theirs("qemu-img"), "convert", "-f", "raw", "-O", "qcow2", raw, base)
    for layer in range(1, max(QCOW2_DEPTHS)):
        _add_qcow2(lab, room, layer)
    one, *deep = [
        qemu_random(
            lab, f"depth {depth}", room / f"{depth - 1}.qcow2", "qcow2", "randread", "cached"
        )
        for depth in (1, *QCOW2_DEPTHS)
    ]
    for chain in deep:
        name = "qcow2, 4 KiB random reads, cached"
        yield from compare(name, "IOPS", chain, [one], CONTROL_ROUNDS)


def _add_qcow2(lab, room, layer):
    path, below = room / f"{layer}.qcow2", f"{layer - 1}.qcow2"
    lab.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, path)
    pages = QCOW2_SIZE // 4096
    writes = [
        f"write -q -P {layer} {(layer * 7919 + i * 100003) % pages * 4096} 4096"
        for i in range(QCOW2_PAGES)
    ]
    lab.run("qemu-io", "-f", "qcow2", *(word for write in writes for word in ("-c", write)), path)
