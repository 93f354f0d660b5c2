#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Damaged and hostile images (robustness rules P6, T4), from the outside: every verb that reads ends
# with an exit code of the list, in time and memory, and writes nothing.
. "$(dirname "$0")/../lib/cli.sh"

# torture PYTHON: `cases` yields (what, bytes) made from the image in the file `valid`; each is
# written to bad.vhd and given to some verbs.
torture() {
	expect 0 vhdtool map valid.vhd # for the memory an honest image takes
	python3 - "$VHDTOOL" "$1" <<-'END'
		import os, random, resource, struct, subprocess, sys, time
		tool, make_cases = sys.argv[1:]
		valid = open("valid.vhd", "rb").read()

		def checksum(image, off, length, at):
		    body = bytearray(image[off:off + length])
		    body[at:at + 4] = bytes(4)
		    image[off + at:off + at + 4] = struct.pack(">I", ~sum(body) & 0xffffffff)

		def seal(image):
		    """Right checksums, as an attacker would make them."""
		    checksum(image, 0, 512, 64)
		    checksum(image, len(image) - 512, 512, 64)
		    checksum(image, 512, 1024, 36)
		    return bytes(image)

		def run(verb, path):
		    start = time.monotonic()
		    child = subprocess.Popen([tool, *verb, path], stdout=subprocess.DEVNULL,
		                             stderr=subprocess.PIPE)
		    error = child.stderr.read().decode(errors="replace")
		    _, status, usage = os.wait4(child.pid, 0)
		    child.returncode = status
		    cpu = usage.ru_utime + usage.ru_stime
		    return os.waitstatus_to_exitcode(status), error, cpu, usage.ru_maxrss * 1024

		baseline = run(["map"], "valid.vhd")[3]
		exec(make_cases)
		count = bad = 0
		for what, image in cases():
		    with open("bad.vhd", "wb") as f:
		        f.write(image)
		    for verb in (["inspect"], ["check"], ["map"], ["compare", "valid.vhd"]):
		        code, error, cpu, memory = run(verb, "bad.vhd")
		        lines = [l for l in error.splitlines() if l]
		        problem = None
		        if code not in (0, 1, 2, 3, 63):
		            problem = f"exit code {code}"
		        elif cpu > 1 + 4 * ("asan" in tool):
		            problem = f"{cpu:.1f} s of CPU time"
		        elif memory > baseline + (64 << 20):
		            problem = f"{memory >> 20} MiB"
		        elif code in (2, 63) and verb[0] != "check" and len(lines) != 1:
		            problem = f"{len(lines)} lines of error"
		        elif any(not l.isprintable() for l in lines):
		            problem = "control characters in an error"
		        elif open("bad.vhd", "rb").read() != image:
		            problem = "the image was written to"
		        if problem:
		            bad += 1
		            print(what, verb[0], problem, error.strip()[:200])
		    count += 1
		print(count, "images")
		sys.exit(bad > 0 or count == 0)
	END
}

make_valid() {
	random_file base.raw 300000 100
	truncate -s 9M base.raw
	expect 0 vhdtool convert base.raw valid.vhd
}

test_every_byte_of_the_metadata() {
	make_valid
	torture '
def cases():
    for off in list(range(0, 88)) + list(range(512, 512 + 68)) + list(range(1536, 1556)):
        for value in (0, 0xff):
            image = bytearray(valid)
            if image[off] == value:
                continue
            image[off] = value
            if off < 512:
                image[-512 + off] = value
            yield f"byte {off} = {value:#x}", seal(image)'
}

test_fields_at_their_limits() {
	make_valid
	torture '
def cases():
    fields = {"data_offset": (16, 8, 0), "original_size": (40, 8, 0), "current_size": (48, 8, 0),
              "type": (60, 4, 0), "table_offset": (528, 8, 1), "max_table_entries": (540, 4, 1),
              "block_size": (544, 4, 1), "bat[0]": (1536, 4, 1), "bat[1]": (1540, 4, 1)}
    for name, (off, size, single) in fields.items():
        top = (1 << 8 * size) - 1
        for value in (0, 1, 2, 511, 512, 513, 1536, len(valid) // 512, len(valid) // 512 - 1,
                      len(valid) - 512, len(valid), top >> 1, (top >> 1) + 1, top - 1, top):
            if value > top:
                continue
            image = bytearray(valid)
            image[off:off + size] = value.to_bytes(size, "big")
            if not single:
                image[-512 + off:len(image) - 512 + off + size] = value.to_bytes(size, "big")
            yield f"{name} = {value:#x}", seal(image)'
}

test_cut_files() {
	make_valid
	torture '
def cases():
    for size in (0, 1, 511, 512, 513, 1023, 1024, 1535, 1536, 2048, 4095, 4096, 10000,
                 len(valid) - 513, len(valid) - 512, len(valid) - 511, len(valid) - 1):
        yield f"{size} bytes", valid[:size]
    yield "grown", valid + bytes(4096)
    yield "zeros", bytes(len(valid))'
}

test_random_noise() {
	make_valid
	torture '
def cases():
    source = random.Random(101)
    for n in range(60):
        image = bytearray(valid)
        for _ in range(source.randint(1, 8)):
            off = source.randrange(0, 2048)
            image[off] = source.randrange(256)
        yield f"noise {n}", seal(image) if n % 2 else bytes(image)'
}

test_locators_and_names() {
	make_valid
	mv valid.vhd base.vhd
	expect 0 vhdtool create valid.vhd --parent base.vhd
	torture '
def cases():
    for slot in range(2):
        off = 512 + 576 + 24 * slot
        for at, size in ((0, 4), (4, 4), (8, 4), (16, 8)):
            for value in (0, 1, 0x7fffffff, (1 << 8 * size) - 1, 512, len(valid) - 512, 65537):
                image = bytearray(valid)
                image[off + at:off + at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "big")
                yield f"locator {slot} +{at} = {value:#x}", seal(image)
    for name in ("../../../../etc/passwd", "/etc/passwd", "\x1b[31mred", "a\\b", "\ud800", "x" * 256):
        image = bytearray(valid)
        text = name.encode("utf-16-be", "surrogatepass")[:512]
        image[512 + 64:512 + 64 + 512] = text.ljust(512, b"\0")
        yield f"name {name!r}", seal(image)'
}

test_disk_that_is_its_own_parent() {
	make_valid
	mv valid.vhd child.vhd
	expect 0 vhdtool create loop.vhd --parent child.vhd
	mv loop.vhd child.vhd # its parent is what it is called itself
	python3 - <<-'END'
		import struct
		with open("child.vhd", "r+b") as f:
		    image = bytearray(f.read())
		    image[512 + 40:512 + 56] = image[68:84]
		    image[512 + 36:512 + 40] = bytes(4)
		    image[512 + 36:512 + 40] = struct.pack(">I", ~sum(image[512:1536]) & 0xffffffff)
		    f.seek(0)
		    f.write(image)
	END
	expect 2 timeout 5 "$VHDTOOL" map child.vhd
	expect 2 timeout 5 "$VHDTOOL" inspect child.vhd --chain
}

test_parent_outside_the_folder_is_not_followed() {
	make_valid
	mkdir in
	mv valid.vhd base.vhd
	expect 0 vhdtool create in/child.vhd --parent base.vhd
	expect 1 vhdtool map in/child.vhd
	says "base.vhd" "--parent"
	expect 0 vhdtool map in/child.vhd --parent base.vhd
}

run_tests "$@"
