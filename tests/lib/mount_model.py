#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random requests on a file of fixed size, held against an array.

Usage: mount_model.py FILE SEED COUNT [BYTES]
Writes, punches, zeroes, syncs and reads at any offset and of any length within the first BYTES
(16 MiB); reads everything back at the end.
"""
import ctypes
import os
import random
import sys

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
LENGTHS = (1, 7, 100, 511, 512, 513, 1000, 4096, 5000, 65536, 200000, 1500000)
CHUNK = 1 << 20


def fallocate(fd, mode, off, length):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if libc.fallocate(fd, mode, off, length):
        raise OSError(ctypes.get_errno(), "fallocate")


def read_all(fd, size):
    return b"".join(os.pread(fd, min(CHUNK, size - off), off) for off in range(0, size, CHUNK))


def step(fd, model, source):
    off = source.randrange(len(model))
    if source.random() < 0.4:
        off &= ~511
    length = min(source.choice(LENGTHS), len(model) - off)
    kind = source.random()
    if kind < 0.5:
        data = source.randbytes(length)
        assert os.pwrite(fd, data, off) == length, f"short write at {off}"
        model[off:off + length] = data
    elif kind < 0.7:
        fallocate(fd, KEEP_SIZE | source.choice((PUNCH_HOLE, ZERO_RANGE)), off, length)
        model[off:off + length] = bytes(length)
    elif kind < 0.75:
        os.fsync(fd)
    else:
        assert os.pread(fd, length, off) == model[off:off + length], f"{length} bytes at {off}"


def main(path, seed, count, size=16 << 20):
    source = random.Random(seed)
    fd = os.open(path, os.O_RDWR)
    model = bytearray(read_all(fd, min(size, os.fstat(fd).st_size)))
    for _ in range(count):
        step(fd, model, source)
    os.fsync(fd)
    assert read_all(fd, len(model)) == model, "content at the end"


main(sys.argv[1], *map(int, sys.argv[2:]))
