# SPDX-License-Identifier: MIT
"""The same VHD through vhdmount, qemu-storage-daemon's FUSE export and vhdimount, read by the same
fio. The image is in the page cache; what is measured is the way through the server. With direct the
kernel asks the server for each request; cold goes through the mount's own page cache, emptied."""

import contextlib
import os
import subprocess
from dataclasses import replace

from drivers import fio_command, fio_random, fio_speed
from lab import cool, interrupt, show, warm, write_random
from measure import Contender, NotMeasured, compare

SIZE = 1 << 30
ROUNDS = 5
RANDOM_TARGET = 1.5
SEQUENTIAL_TARGET = 2


def measure(lab):
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise NotMeasured("/dev/fuse is not there for this user")
    with lab.room("mounts") as room, contextlib.ExitStack() as stack:
        raw, vhd = room / "full.img", room / "full.vhd"
        write_random(raw, SIZE)
        lab.run(lab.ours("vhdtool"), "convert", raw, vhd)
        raw.unlink()
        warm(vhd)
        disks = [
            ("vhdmount", stack.enter_context(_vhdmount(lab, room, vhd))),
            ("qemu-storage-daemon", stack.enter_context(_qemu(lab, room, vhd))),
            ("vhdimount", stack.enter_context(_vhdimount(lab, room, vhd))),
        ]
        name = "4 KiB random reads"
        yield from _compare(lab, disks, f"{name}, direct", "IOPS", _random, RANDOM_TARGET)
        name = "sequential reads of 1 MiB"
        yield from _compare(lab, disks, f"{name}, direct", "MB/s", _direct, SEQUENTIAL_TARGET)
        yield from _compare(lab, disks, f"{name}, cold", "MB/s", _cold, SEQUENTIAL_TARGET)


def _compare(lab, disks, name, unit, contender, target):
    ours, qemu, libvhdi = [contender(lab, label, disk) for label, disk in disks]
    return compare(f"FUSE, {name}", unit, ours, [replace(qemu, target=target), libvhdi], ROUNDS)


def _random(lab, label, disk):
    return fio_random(lab, label, disk, "randread", SIZE, "direct")


def _direct(lab, label, disk):
    command = fio_command(
        lab, disk, "read", "1M", 4, f"--size={SIZE}", "--direct=1", "--time_based", "--runtime=1"
    )
    return Contender(label, show(*command), lambda: fio_speed(lab, command, "bw_bytes") / 1e6)


def _cold(lab, label, disk):
    """Once through the disk, but no longer than a second."""
    command = fio_command(lab, disk, "read", "1M", 1, f"--size={SIZE}", "--direct=0", "--runtime=1")
    return Contender(
        label,
        show(*command),
        lambda: fio_speed(lab, command, "bw_bytes") / 1e6,
        before=lambda: cool(disk),
    )


# ---- the servers ----


def _unmount(server, folder):
    subprocess.run(["fusermount3", "-u", str(folder)], capture_output=True, check=False)


@contextlib.contextmanager
def _vhdmount(lab, room, vhd):
    folder = room / "vhdmount"
    folder.mkdir()
    disk = folder / "disk.img"
    command = [lab.ours("vhdmount"), "-f", "-r", vhd, folder]
    with lab.serving(command, disk.exists, lambda server: _unmount(server, folder)):
        yield disk


@contextlib.contextmanager
def _qemu(lab, room, vhd):
    disk = room / "qemu.img"
    disk.touch()
    command = [
        lab.theirs("qemu-storage-daemon"),
        "--blockdev", f"driver=file,node-name=file,filename={vhd},read-only=on,aio=io_uring",
        "--blockdev", "driver=vpc,node-name=disk,file=file,read-only=on",
        "--export", f"fuse,id=export,node-name=disk,mountpoint={disk},writable=off",
    ]
    with lab.serving(command, lambda: disk.stat().st_size > 0, interrupt):
        yield disk


@contextlib.contextmanager
def _vhdimount(lab, room, vhd):
    folder = room / "vhdimount"
    folder.mkdir()
    disk = folder / "vhdi1"
    command = [lab.theirs("vhdimount"), "-v", vhd, folder]
    with lab.serving(command, disk.exists, lambda server: _unmount(server, folder)):
        yield disk
