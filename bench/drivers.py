# SPDX-License-Identifier: MIT
"""Contenders: fio, vhdtool bench and qemu-img bench with 4 KiB requests at depth 32; and fio's
command line for the rest."""

import re

from lab import show
from measure import Contender

DEPTH = 32
SECONDS = 1
# Requests of qemu-img bench for a second or less; it counts instead of watching the clock.
QEMU_REQUESTS = {
    ("randread", "cached"): 100000,
    ("randread", "direct"): 30000,
    ("randwrite", "cached"): 2000,
    ("randwrite", "direct"): 20000,
}
# It knows no random offsets, so: an odd number of pages, large against any cache or read-ahead,
# which visits all pages of a power of two of them in an order without pattern.
QEMU_STEP = 4096 * 100003


def fio_speed(lab, command, figure):
    rw = "write" if "write" in command[2] else "read"
    job = lab.run_json(*command)["jobs"][0]
    if job["error"]:
        raise RuntimeError(f"{show(*command)}: error {job['error']}")
    return job[rw][figure]


def fio_command(lab, path, rw, bs, depth, *more):
    """`path` may be a folder: then fio makes files there and spreads its requests over them."""
    where = f"--directory={path}" if path.is_dir() else f"--filename={path}"
    return [
        lab.theirs("fio"), "--name=bench", f"--rw={rw}", where, f"--bs={bs}", "--ioengine=io_uring", f"--iodepth={depth}", "--invalidate=0", "--output-format=json",
        *more,
    ]


def fio_random(lab, label, path, rw, size, cache, target=None, *more):
    command = fio_command(
        lab, path, rw, "4k", DEPTH, f"--size={size}", f"--direct={int(cache == 'direct')}",
        "--norandommap", "--time_based", f"--runtime={SECONDS}", *more,
    )
    return Contender(label, show(*command), lambda: fio_speed(lab, command, "iops"), target)


# As our queue works: descriptors registered, submissions batched.
FIO_BATCHED = (
    "--registerfiles=1", f"--iodepth_batch_submit={DEPTH}", "--iodepth_batch_complete_min=1",
    f"--iodepth_batch_complete_max={DEPTH}",
)


def vhdtool_random(lab, label, path, rw, size, cache, target=None, raw=False, threads=1):
    command = [
        lab.ours("vhdtool"), "bench", path, "--rw", rw, "--bs", "4K", "--iodepth", DEPTH,
        "--time", SECONDS, "--size", size, "--json",
        *(["--threads", threads] if threads > 1 else []),
        *(["--yes"] if rw == "randwrite" else []),
        *(["--direct"] if cache == "direct" else []),
        *(["--raw"] if raw else []),
    ]
    return Contender(label, show(*command), lambda: lab.run_json(*command)["iops"], target)


def _qemu_seconds(lab, *arguments):
    said = lab.run(lab.theirs("qemu-img"), "bench", *arguments)
    return float(re.search(r"completed in ([0-9.]+) seconds", said).group(1))


def qemu_random(lab, label, path, fmt, rw, cache):
    count = QEMU_REQUESTS[rw, cache]
    arguments = [
        "-f", fmt, "-c", count, "-d", DEPTH, "-s", 4096, "-S", QEMU_STEP, "-i", "io_uring",
        "-t", "none" if cache == "direct" else "writeback",
        *(["-w"] if rw == "randwrite" else []), path,
    ]
    return Contender(
        label,
        show("qemu-img", "bench", *arguments),
        lambda: count / _qemu_seconds(lab, *arguments),
    )
