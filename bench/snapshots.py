# SPDX-License-Identifier: MIT
"""The snapshot tree: what taking and reverting cost with depth, reads through 512 layers beside one
flat disk, memory, drawing the tree, and what a fold in the background does to a reader."""

from statistics import median

from lab import show
from measure import Result, at_most

DEPTH = 511  # snapshots; one layer more
SIZE = 64 << 30
REGION = 256 << 20
OPS = 40
READ_MS = 1500
FOLD_MS = 6000
TREES = 7

OP_RATIO = 1.5
OP_MS = 10
READ_RATIO = 0.95
MEMORY_MIB = 64
TREE_MS = 50
FOLD_RATIO = 1.5


def measure(lab):
    tool = lab.ours("bench/snapshots")
    with lab.room("snapshots") as room:
        lab.run(tool, "make", room, DEPTH, SIZE, REGION)
        yield from _operations(lab, tool, room)
        yield from _reading(lab, tool, room)
        yield from _tree(lab, room)
        yield from _folding(lab, tool, room)


def _operations(lab, tool, room):
    command = [tool, "ops", room, OPS]
    said = lab.run_json(*command)
    for verb in ("take", "revert"):
        deep, shallow = said[f"{verb}_deep_ms"], said[f"{verb}_shallow_ms"]
        yield at_most(f"{verb} at depth {DEPTH}", "ms", [deep], OP_MS, show(*command))
        name = f"{verb}: time at depth {DEPTH} / at depth 1"
        yield _ratio(name, "ms", deep, shallow, OP_RATIO, show(*command))


def _ratio(name, unit, ours, theirs, limit, command):
    ratio = ours / theirs
    return Result(name, ours, theirs, unit, ratio, f"<= {limit}", ratio <= limit, command, ratio, ratio)


def _reading(lab, tool, room):
    flat = room / "flat.vhd"
    leaf = lab.run_json(lab.ours("vmctl"), "show", "deep", "--home", room, "--json")["disks"][0]["path"]
    lab.run(lab.ours("vhdtool"), "convert", leaf, flat, "--search", room)
    for cache in ("cached", "direct"):
        command = [tool, "reads", room, flat, REGION, READ_MS, cache]
        said = lab.run_json(*command)
        ratios = [deep / one for deep, one in said["rounds"]]
        yield Result(
            f"4 KiB random reads, depth {said['depth']}, {cache}: snapshots / one flat disk",
            median(deep for deep, _ in said["rounds"]), median(one for _, one in said["rounds"]),
            "IOPS", median(ratios), f">= {READ_RATIO}", median(ratios) >= READ_RATIO,
            show(*command), min(ratios), max(ratios),
        )
        if cache == "cached":
            memory = said["max_rss_bytes"] / (1 << 20)
            name = f"memory of a reader at depth {said['depth']}"
            yield at_most(name, "MiB", [memory], MEMORY_MIB, show(*command))


def _tree(lab, room):
    command = [lab.ours("vmctl"), "snapshot", "tree", "deep", "--home", room]
    times = [lab.timed(*command) * 1000 for _ in range(TREES)]
    yield at_most(f"vmctl snapshot tree of {DEPTH} snapshots", "ms", times, TREE_MS, show(*command))


def _folding(lab, tool, room):
    command = [tool, "fold", room, REGION, FOLD_MS]
    said = lab.run_json(*command)
    name = "single 4 KiB reads, direct: mean latency with a fold / without"
    yield _ratio(name, "us", said["mean_folding_us"], said["mean_us"], FOLD_RATIO, show(*command))
    name = "single 4 KiB reads, direct: 99th percentile with a fold / without"
    yield _ratio(name, "us", said["p99_folding_us"], said["p99_us"], FOLD_RATIO, show(*command))
