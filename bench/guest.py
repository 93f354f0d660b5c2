# SPDX-License-Identifier: MIT
"""A guest's reads: hv_storvsc on our storage VSP and a VHD beside virtio-blk of QEMU on a raw file,
the same kernel, root disk and content, in turns. On this host's KVM, or both in the nested machine,
where the ratio means something and the figures nothing. And what a start and a worker cost."""

import os
import shutil
import subprocess
from pathlib import Path
from statistics import median

from lab import write_random
from measure import NotMeasured, Result, at_most

GUEST = Path(__file__).resolve().parent.parent / "tests" / "guest"
DATA = 64 << 20
KINDS = {"randread": ("4 KiB random reads", "IOPS"), "read": ("sequential reads", "KiB/s")}
TARGET = 1.0
MEMORY_MIB = 8
FIRMWARE = [
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/linuxboot_dma.bin",
    "/usr/share/qemu/kvmvapic.bin",
]
MINUTES = 12
# of QEMU's threads in a nested machine, which has been seen to die under either hypervisor
ATTEMPTS = ("multi", "multi", "single")
MACHINE_FAILED = (124, 125)


def measure(lab):
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        raise NotMeasured("qemu-system-x86_64 is not installed")
    lab.run(GUEST / "images")
    with lab.room("guest") as room, lab.room("guest-trial"):
        _furnish(lab, room, qemu)
        done = _in_machine(room)
        yield from _compare(done)
        yield from _costs(done)


def _furnish(lab, room, qemu):
    """A folder for tests/guest/machine, with both guests' disks in it."""
    out, programs = room / "out", room / "bin"
    for folder in (out, programs, room / "firmware"):
        folder.mkdir()
    for program in ("vmctl", "vmworker", "vhdtool"):
        shutil.copy(lab.ours(program), programs)
    shutil.copy(qemu, programs)
    for file in FIRMWARE:
        shutil.copy(file, room / "firmware")
    built = GUEST.parent.parent / "build" / "guest"
    shutil.copy(built / "vmlinuz", room / "vmlinuz")
    shutil.copy(built / "guest.initrd", room / "initrd")
    shutil.copy(GUEST / "runs" / "lib.sh", room / "lib.sh")
    shutil.copy(GUEST / "runs" / "bench", room / "run")
    lab.run(GUEST / "images", "disk", out / "root.raw", 256, "root-fio")
    write_random(out / "data.raw", DATA)
    for name in ("root", "data"):
        lab.run(lab.ours("vhdtool"), "convert", out / f"{name}.raw", out / f"{name}.vhd")


def _in_machine(room):
    """Run it on a copy of the folder, and return that."""
    trial = room.with_name(f"{room.name}-trial")
    for mode in ATTEMPTS:
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(room, trial)
        done = subprocess.run(
            [GUEST / "machine", trial, "--timeout", str(MINUTES * 60), "--disk", "1024"],
            env={**os.environ, "STRATA_TCG": mode}, capture_output=True, text=True,
        )
        if done.returncode not in MACHINE_FAILED:
            break
        print(f"guest: the machine itself has failed ({done.returncode})", flush=True)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stdout[-2000:]}")
    print(done.stdout.splitlines()[0], flush=True)
    return trial


def _figures(file):
    """What a guest said: a list of figures for each kind of reading."""
    said = {kind: [] for kind in KINDS}
    for line in file.read_text().splitlines():
        _, kind, value = line.split()
        said[kind].append(float(value))
    return said


def _compare(room):
    ours, theirs = _figures(room / "out" / "ours"), _figures(room / "out" / "theirs")
    for kind, (name, unit) in KINDS.items():
        ratios = [a / b for a, b in zip(ours[kind], theirs[kind])]
        if not ratios:
            raise RuntimeError(f"the guests said nothing of {name}")
        yield Result(
            f"{name} of a guest: hv_storvsc on a VHD / virtio-blk of QEMU on a raw file",
            median(ours[kind]), median(theirs[kind]), unit, median(ratios), f">= {TARGET}",
            median(ratios) >= TARGET, "tests/guest/runs/bench", min(ratios), max(ratios),
        )


def _costs(room):
    memory = [int(word) / 1024 for word in (room / "out" / "memory").read_text().split()]
    name = "memory of a worker beside its guest's"
    yield at_most(name, "MiB", memory, MEMORY_MIB, "tests/guest/runs/bench")
    starts = [float(word) for word in (room / "out" / "start").read_text().split()]
    yield Result(
        "from the start of a worker to its guest's first instruction", median(starts), None, "ms",
        None, None, None, "tests/guest/runs/bench", min(starts), max(starts),
    )
