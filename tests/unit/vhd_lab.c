/* SPDX-License-Identifier: MIT */
#include "tests/unit/vhd_lab.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LAB_BLOCK VHD_MIN_BLOCK

void vlab_start(struct vlab *lab)
{
	*lab = (struct vlab){.mem = mem_ns_new()};
	lab->fault = fault_ns_new(mem_ns_base(lab->mem));
	lab->ns = fault_ns_base(lab->fault);
}

void vlab_stop(struct vlab *lab)
{
	fault_ns_free(lab->fault);
	mem_ns_free(lab->mem);
}

struct vlab vlab_snapshot(struct vlab *lab)
{
	struct vlab copy = {.mem = mem_ns_clone(lab->mem)};

	copy.fault = fault_ns_new(mem_ns_base(copy.mem));
	copy.ns = fault_ns_base(copy.fault);
	return copy;
}

/* ---- images ---- */

enum err vlab_try_create(struct vlab *lab, const char *path, struct vhd_create_opts opts)
{
	lab->why = (struct err_why){0};
	opts.ns = lab->ns;
	return vhd_create(path, &opts, &lab->why);
}

void vlab_create(struct vlab *lab, const char *path, enum vhd_type type, uint64_t size_bytes,
		 const char *parent)
{
	struct vhd_create_opts opts = {.type = type, .size_bytes = size_bytes, .parent = parent};

	if (type != VHD_FIXED)
		opts.block_size = LAB_BLOCK;
	cr_assert_eq(vlab_try_create(lab, path, opts), ERR_OK, "create %s: %s", path,
		     lab->why.text);
}

enum err vlab_try_open(struct vlab *lab, const char *path, bool writable, struct disk **out)
{
	struct vhd_open_opts opts = {.ns = lab->ns, .writable = writable};

	lab->why = (struct err_why){0};
	return vhd_open(path, &opts, out, &lab->why);
}

struct disk *vlab_open(struct vlab *lab, const char *path, bool writable)
{
	struct disk *disk = NULL;

	cr_assert_eq(vlab_try_open(lab, path, writable, &disk), ERR_OK, "open %s: %s", path,
		     lab->why.text);
	return disk;
}

enum err vlab_probe(struct vlab *lab, const char *path, bool writable)
{
	struct disk *disk;
	enum err err = vlab_try_open(lab, path, writable, &disk);

	if (!err)
		err = disk_close(disk, &lab->why);
	return err;
}

void vlab_close(struct disk *disk)
{
	struct err_why why = {0};

	cr_assert_eq(disk_close(disk, &why), ERR_OK, "close: %s", why.text);
}

bool vlab_said(const struct vlab *lab, const char *part)
{
	return strstr(lab->why.text, part);
}

/* ---- content ---- */

static void fill_sector(uint8_t *sector, uint64_t tag, uint64_t number)
{
	if (!tag)
		memset(sector, 0, DISK_SECTOR);
	for (unsigned i = 0; tag && i < DISK_SECTOR; i += 16) {
		put_le64(sector + i, tag);
		put_le64(sector + i + 8, number);
	}
}

enum err vlab_try_write(struct vlab *lab, struct disk *disk, uint64_t off_bytes, uint64_t len_bytes,
			uint64_t tag)
{
	uint8_t *buf = calloc(1, len_bytes + 1);

	cr_assert_not_null(buf);
	for (uint64_t at = 0; at < len_bytes; at += DISK_SECTOR)
		fill_sector(buf + at, tag, (off_bytes + at) / DISK_SECTOR);
	lab->why = (struct err_why){0};
	enum err err = disk_write(disk, exercise_queue(), buf, off_bytes, len_bytes, &lab->why);
	free(buf);
	return err;
}

void vlab_write(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes, uint64_t tag)
{
	struct vlab lab;

	cr_assert_eq(vlab_try_write(&lab, disk, off_bytes, len_bytes, tag), ERR_OK, "write: %s",
		     lab.why.text);
}

void vlab_zero(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes)
{
	struct err_why why = {0};

	cr_assert_eq(disk_zero(disk, exercise_queue(), off_bytes, len_bytes, &why), ERR_OK,
		     "zero: %s", why.text);
}

void vlab_trim(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes)
{
	struct err_why why = {0};

	cr_assert_eq(disk_trim(disk, exercise_queue(), off_bytes, len_bytes, &why), ERR_OK,
		     "trim: %s", why.text);
}

enum err vlab_try_flush(struct vlab *lab, struct disk *disk)
{
	lab->why = (struct err_why){0};
	return disk_flush(disk, exercise_queue(), &lab->why);
}

void vlab_flush(struct disk *disk)
{
	struct vlab lab;

	cr_assert_eq(vlab_try_flush(&lab, disk), ERR_OK, "flush: %s", lab.why.text);
}

bool vlab_holds(struct vlab *lab, struct disk *disk, uint64_t off_bytes, uint64_t len_bytes,
		uint64_t tag)
{
	uint8_t *buf = malloc(len_bytes + 1);
	uint8_t want[DISK_SECTOR];
	uint64_t at = 0;

	cr_assert_not_null(buf);
	memset(buf, 0xa5, len_bytes + 1);
	lab->why = (struct err_why){0};
	enum err err = disk_read(disk, exercise_queue(), buf, off_bytes, len_bytes, &lab->why);
	for (; !err && at < len_bytes; at += DISK_SECTOR) {
		fill_sector(want, tag, (off_bytes + at) / DISK_SECTOR);
		if (memcmp(buf + at, want, DISK_SECTOR) != 0)
			err = err_set(
			    &lab->why, ERR_CORRUPT, "sector %llu starts with %llx, not %llx",
			    (unsigned long long)(off_bytes + at) / DISK_SECTOR,
			    (unsigned long long)get_le64(buf + at), (unsigned long long)tag);
	}
	free(buf);
	return !err;
}

uint64_t vlab_tag(struct disk *disk, uint64_t off_bytes)
{
	uint8_t buf[DISK_SECTOR], want[DISK_SECTOR];
	struct err_why why = {0};

	cr_assert_eq(disk_read(disk, exercise_queue(), buf, off_bytes, sizeof(buf), &why), ERR_OK,
		     "read: %s", why.text);
	uint64_t tag = get_le64(buf);
	fill_sector(want, tag, off_bytes / DISK_SECTOR);
	return memcmp(buf, want, sizeof(buf)) == 0 ? tag : UINT64_MAX;
}

uint64_t vlab_tag_of(struct vlab *lab, const char *path, uint64_t off_bytes)
{
	struct disk *disk = vlab_open(lab, path, false);
	uint64_t tag = vlab_tag(disk, off_bytes);

	vlab_close(disk);
	return tag;
}

/* ---- spoiling a file ---- */

static struct file *open_file(struct vlab *lab, const char *path)
{
	struct file *file = NULL;

	cr_assert_eq(file_ns_open(mem_ns_base(lab->mem), path, FILE_OPEN_RDWR, &file, NULL), ERR_OK,
		     "%s is not there", path);
	return file;
}

uint64_t vlab_size(struct vlab *lab, const char *path)
{
	return mem_ns_size(lab->mem, path);
}

void vlab_get(struct vlab *lab, const char *path, uint64_t off_bytes, void *buf, size_t len_bytes)
{
	mem_ns_get(lab->mem, path, off_bytes, buf, len_bytes);
}

void vlab_put(struct vlab *lab, const char *path, uint64_t off_bytes, const void *buf,
	      size_t len_bytes)
{
	struct file *file = open_file(lab, path);

	cr_assert_eq(file_write(file, EV_DATA, buf, off_bytes, len_bytes, NULL), ERR_OK);
	file_close(file, NULL);
}

void vlab_put32(struct vlab *lab, const char *path, uint64_t off_bytes, uint32_t value)
{
	uint8_t buf[4];

	put_be32(buf, value);
	vlab_put(lab, path, off_bytes, buf, sizeof(buf));
}

void vlab_put64(struct vlab *lab, const char *path, uint64_t off_bytes, uint64_t value)
{
	uint8_t buf[8];

	put_be64(buf, value);
	vlab_put(lab, path, off_bytes, buf, sizeof(buf));
}

void vlab_truncate(struct vlab *lab, const char *path, uint64_t size_bytes)
{
	struct file *file = open_file(lab, path);

	cr_assert_eq(file_truncate(file, size_bytes, NULL), ERR_OK);
	file_close(file, NULL);
}

void vlab_mend(struct vlab *lab, const char *path, uint64_t off_bytes, bool header)
{
	uint8_t buf[HEADER_BYTES];
	uint32_t len = header ? HEADER_BYTES : FOOTER_BYTES;
	uint32_t at = header ? 36 : 64;

	vlab_get(lab, path, off_bytes, buf, len);
	vlab_put32(lab, path, off_bytes + at, vhd_checksum(buf, len, at));
}

static void set_field(struct vlab *lab, const char *path, uint64_t base, unsigned at,
		      unsigned width, uint64_t value, bool header)
{
	uint8_t buf[8];

	put_be64(buf, value);
	vlab_put(lab, path, base + at, buf + 8 - width, width);
	vlab_mend(lab, path, base, header);
}

void vlab_set_footers(struct vlab *lab, const char *path, unsigned at, unsigned width,
		      uint64_t value)
{
	uint8_t copy[FOOTER_BYTES];

	set_field(lab, path, vlab_size(lab, path) - FOOTER_BYTES, at, width, value, false);
	vlab_get(lab, path, 0, copy, sizeof(copy));
	if (footer_has_cookie(copy))
		set_field(lab, path, 0, at, width, value, false);
}

void vlab_set_header(struct vlab *lab, const char *path, unsigned at, unsigned width,
		     uint64_t value)
{
	set_field(lab, path, FOOTER_BYTES, at, width, value, true);
}

struct vhd_layer *vlab_layer(struct vlab *lab, const char *path)
{
	struct vhd_layer *layer = NULL;

	lab->why = (struct err_why){0};
	cr_assert_eq(layer_open(lab->ns, path, 0, FILE_UNLOCKED, &layer, &lab->why), ERR_OK,
		     "%s: %s", path, lab->why.text);
	return layer;
}

uint32_t vlab_bat_entry(struct vlab *lab, const char *path, uint32_t idx)
{
	struct vhd_layer *layer = vlab_layer(lab, path);
	uint32_t entry;

	cr_assert_eq(layer_read_bat(layer, idx, 1, &entry, NULL), ERR_OK);
	layer_close(layer, NULL);
	return entry;
}

/* ---- fixtures ---- */

void vlab_fixture(struct vlab *lab, const char *fixture, const char *path)
{
	const char *root = getenv("STRATA_FIXTURES");
	char name[1000], command[1100];
	uint8_t *bytes = NULL;
	size_t len = 0, got;

	snprintf(name, sizeof(name), "%s/%s.xz", root ? root : "../shared/fixtures", fixture);
	if (access(name, R_OK))
		cr_skip_test("%s is not there", name);
	snprintf(command, sizeof(command), "xz -dc '%s'", name);
	FILE *pipe = popen(command, "r");
	cr_assert_not_null(pipe);
	do {
		bytes = realloc(bytes, len + MIB);
		cr_assert_not_null(bytes);
		got = fread(bytes + len, 1, MIB, pipe);
		len += got;
	} while (got);
	cr_assert_eq(pclose(pipe), 0, "%s does not unpack", name);
	mem_ns_put(lab->mem, path, bytes, len);
	free(bytes);
}
