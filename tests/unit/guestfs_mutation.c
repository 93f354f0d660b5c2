/* SPDX-License-Identifier: MIT */
/*
 * Every field that decides about a file system, set to its boundary values, and thousands of
 * random changes of the metadata: whatever an image says, it is read or refused, and what is
 * called free lies inside the partition, in order. Run under sanitizers by `make check-asan`.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/lib/random.h"
#include "tests/unit/guestfs_lab.h"
#include "util/bytes.h"

TestSuite(guestfs_mutation, .init = lab_start, .fini = lab_stop, .timeout = 600);

#define RANDOM_ROUNDS 600u
#define SECTOR        512u

struct subject {
	char make[200]; /* with "fixture": after it was unpacked as "whole" */
	char fixture[32];
	char fs[8];
	/* Where metadata is dense, in bytes: fields there get boundary values. */
	struct {
		uint32_t off, len;
	} fields[5];
	/* Random changes go here. */
	uint32_t metadata_off, metadata_bytes;
};

static const struct subject subjects[] = {
    {"truncate -s 2M image && mke2fs -q -F -t ext2 -b 1024 -g 256 image",
     "",
     "ext2",
     {{1024, 264}, {1024 + 336, 64}, {2048, 32}},
     0,
     65536},
    {"truncate -s 8M image && mke2fs -q -F -t ext4 -b 1024 -g 1024 "
     "-O ^metadata_csum,^has_journal,uninit_bg image",
     "",
     "ext4",
     {{1024, 264}, {1024 + 336, 64}, {2048, 64}},
     0,
     65536},
    {"truncate -s 16M image && mke2fs -q -F -t ext4 -O bigalloc,^metadata_csum,^has_journal "
     "-C 16384 image",
     "",
     "ext4",
     {{1024, 264}, {1024 + 336, 64}, {4096, 64}},
     0,
     65536},
    {"truncate -s 1M image && mkfs.fat -a -F12 -R 1 image",
     "",
     "vfat",
     {{0, 64}, {512, 8}},
     0,
     16384},
    {"truncate -s 8M image && mkfs.fat -a -F16 -s 1 -R 1 image",
     "",
     "vfat",
     {{0, 64}, {512, 8}},
     0,
     16384},
    {"truncate -s 34M image && mkfs.fat -a -F32 -s 1 -R 32 image",
     "",
     "vfat",
     {{0, 96}, {512, 16}, {16384, 16}},
     0,
     32768},
    {"truncate -s 2M image && mkntfs -F -q image",
     "",
     "ntfs",
     {{0, 84}, {4 * 4096, 512}, {4 * 4096 + 3 * 1024, 512}, {4 * 4096 + 6 * 1024, 512}},
     0,
     32768},
    /* Made by Windows 10, with restart pages in the log. The MFT begins in cluster 597. */
    {"dd if=whole of=image bs=512 skip=128 count=14336",
     "dissect-fixed.vhd",
     "ntfs",
     {{0x1e00, 128}, {83 * 4096, 72}, {84 * 4096, 72}, {597 * 4096 + 2 * 1024, 512}},
     597 * 4096,
     16384},
};

struct sink {
	uint64_t end;
	uint64_t limit;
};

static void take(void *arg, uint64_t off_bytes, uint64_t len_bytes)
{
	struct sink *sink = arg;

	cr_assert_geq(off_bytes, sink->end);
	cr_assert_gt(len_bytes, 0);
	cr_assert_eq((off_bytes | len_bytes) % SECTOR, 0);
	cr_assert_leq(len_bytes, sink->limit - off_bytes);
	sink->end = off_bytes + len_bytes;
}

static void probe(struct disk *disk)
{
	static struct guestfs_table table;
	struct err_why why = {0};

	cr_assert_eq(guestfs_probe(disk, lab_queue(), &table, &why), ERR_OK, "%s", why.text);
}

/* Free space of whatever the image is now. Returns whether the reader accepted it. */
static bool exercise(struct disk *disk, const char *fs)
{
	struct guestfs_partition whole = {0};
	struct err_why why = {0};
	struct disk_info info;
	enum err e;

	disk_get_info(disk, &info);
	whole.len_bytes = info.size_bytes;
	strcpy(whole.fs, fs);
	struct sink sink = {0, info.size_bytes};

	e = guestfs_free_ranges(disk, lab_queue(), &whole, take, &sink, &why);
	cr_assert(e == ERR_OK || (e == ERR_UNSUPPORTED && why.text[0]), "%s: %s", err_name(e),
		  why.text);
	return e == ERR_OK;
}

static const uint64_t boundaries[] = {
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fffffff,
    0x80000000,
    0xffffffff,
    0x7fffffffffffffff,
    0x8000000000000000,
    0xffffffffffffffff,
};

static void get(struct file *file, uint64_t off, void *buf, size_t len)
{
	cr_assert_eq(file_read(file, EV_DATA, buf, off, len, NULL), ERR_OK);
}

static void put(struct file *file, uint64_t off, const void *buf, size_t len)
{
	cr_assert_eq(file_write(file, EV_DATA, buf, off, len, NULL), ERR_OK);
}

static void try_fields(const struct subject *subject, struct disk *disk, struct file *file,
		       uint32_t off, uint32_t len)
{
	for (uint32_t at = off; at < off + len; at += 2) {
		uint8_t old[8], new[8];

		get(file, at, old, sizeof(old));
		for (size_t i = 0; i < ARRAY_LEN(boundaries); i++) {
			unsigned width = i < 7 ? 1 : i < 10 ? 2 : i < 13 ? 4 : 8;

			memcpy(new, old, sizeof(new));
			put_le64(new,
				 (get_le64(old) & ~(width == 8 ? ~0ull : (1ull << width * 8) - 1)) |
				     boundaries[i]);
			put(file, at, new, sizeof(new));
			exercise(disk, subject->fs);
			/* libblkid looks at fewer fields, and a probe costs more. */
			if (i % 4 == 0)
				probe(disk);
			/* One more and one less than what is there. */
			if (i < 2) {
				put_le64(new, get_le64(old) + (i ? 1 : ~0ull));
				put(file, at, new, sizeof(new));
				exercise(disk, subject->fs);
			}
		}
		put(file, at, old, sizeof(old));
	}
}

static void make(const struct subject *subject)
{
	lab_need("mke2fs");
	lab_need("mkfs.fat");
	lab_need("mkntfs");
	if (subject->fixture[0])
		lab_unpack(subject->fixture, "whole");
	lab_sh("%s", subject->make);
}

ParameterizedTestParameters(guestfs_mutation, boundary_values_of_every_field)
{
	return cr_make_param_array(struct subject, (struct subject *)subjects, ARRAY_LEN(subjects));
}

ParameterizedTest(struct subject *subject, guestfs_mutation, boundary_values_of_every_field)
{
	make(subject);
	struct file *file;
	struct disk *disk = lab_memory_disk("image", &file);

	cr_assert(exercise(disk, subject->fs), "the unchanged image is refused");
	for (size_t i = 0; i < ARRAY_LEN(subject->fields); i++)
		try_fields(subject, disk, file, subject->fields[i].off, subject->fields[i].len);
	cr_assert(exercise(disk, subject->fs));
}

ParameterizedTestParameters(guestfs_mutation, random_changes)
{
	return cr_make_param_array(struct subject, (struct subject *)subjects, ARRAY_LEN(subjects));
}

ParameterizedTest(struct subject *subject, guestfs_mutation, random_changes)
{
	struct rng rng = rng_seed(0x67756573);
	unsigned accepted = 0;

	make(subject);
	struct file *file;
	struct disk *disk = lab_memory_disk("image", &file);

	for (unsigned round = 0; round < RANDOM_ROUNDS; round++) {
		uint8_t old[8][SECTOR], new[SECTOR];
		uint64_t at[8];
		unsigned changes = (unsigned)rng_between(&rng, 1, 8);

		for (unsigned i = 0; i < changes; i++) {
			at[i] = subject->metadata_off +
				rng_below(&rng, subject->metadata_bytes / SECTOR) * SECTOR;
			get(file, at[i], old[i], SECTOR);
			memcpy(new, old[i], SECTOR);
			if (rng_percent(&rng, 10))
				rng_fill(&rng, new, SECTOR);
			else
				new[rng_below(&rng, SECTOR)] = (uint8_t)rng_next(&rng);
			put(file, at[i], new, SECTOR);
		}
		probe(disk);
		accepted += exercise(disk, subject->fs);
		for (unsigned i = changes; i-- > 0;)
			put(file, at[i], old[i], SECTOR);
	}
	cr_assert(exercise(disk, subject->fs), "the image is not what it was");
	cr_assert_gt(accepted, 0, "no change was harmless: nothing was tested");
}
