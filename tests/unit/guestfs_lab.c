/* SPDX-License-Identifier: MIT */
#include "tests/unit/guestfs_lab.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/file_mem.h"
#include "block/queue.h"
#include "util/bytes.h"

#define SECTOR 512u
#define MAGIC  0x7374726174612121ull

/* Criterion runs each test in a process of its own. */
static struct {
	char dir[64];
	struct queue *queue;
	struct disk *disk[64];
	unsigned disks;
	struct mem_ns *memory;
	struct file *memory_file;
	void *kept[64];
	unsigned kept_count;
} lab;

static void *keep(void *p)
{
	cr_assert(p && lab.kept_count < ARRAY_LEN(lab.kept));
	lab.kept[lab.kept_count++] = p;
	return p;
}

void lab_start(void)
{
	struct err_why why = {0};

	strcpy(lab.dir, "/tmp/strata-guestfs-XXXXXX");
	cr_assert(mkdtemp(lab.dir));
	cr_assert_eq(queue_create(16, &lab.queue, &why), ERR_OK, "%s", why.text);
}

void lab_stop(void)
{
	char command[128];

	for (unsigned i = 0; i < lab.disks; i++)
		disk_close(lab.disk[i], NULL);
	file_close(lab.memory_file, NULL);
	if (lab.memory)
		mem_ns_free(lab.memory);
	queue_destroy(lab.queue);
	for (unsigned i = 0; i < lab.kept_count; i++)
		free(lab.kept[i]);
	snprintf(command, sizeof(command), "rm -rf '%s'", lab.dir);
	cr_assert_eq(system(command), 0);
}

void lab_need(const char *program)
{
	char command[256];

	snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin command -v %s >/dev/null",
		 program);
	if (system(command) != 0)
		cr_skip_test("%s is not installed", program);
}

const char *lab_path(const char *name)
{
	static char path[256];

	cr_assert_lt(snprintf(path, sizeof(path), "%s/%s", lab.dir, name), (int)sizeof(path));
	return path;
}

/* Run in the folder with its output in a file there; the exit status. */
static int __attribute__((format(printf, 1, 0))) run(const char *fmt, va_list args)
{
	char *command, *whole;
	int status;

	status = vasprintf(&command, fmt, args);
	cr_assert_gt(status, 0);
	cr_assert(asprintf(&whole, "cd '%s' && PATH=$PATH:/sbin:/usr/sbin && { %s; } >.out 2>.log",
			   lab.dir, command) > 0);
	status = system(whole);
	if (status != 0) {
		fprintf(stderr, "failed: %s\n", command);
		free(whole);
		cr_assert(asprintf(&whole, "cat '%s/.log' >&2", lab.dir) > 0);
		if (system(whole) != 0)
			fprintf(stderr, "(no log)\n");
	}
	free(whole);
	free(command);
	return status;
}

void lab_sh(const char *fmt, ...)
{
	va_list args;
	int status;

	va_start(args, fmt);
	status = run(fmt, args);
	va_end(args);
	cr_assert_eq(status, 0, "a command failed");
}

uint64_t lab_number(const char *fmt, ...)
{
	unsigned long long v = 0;
	va_list args;
	FILE *out;

	va_start(args, fmt);
	cr_assert_eq(run(fmt, args), 0, "a command failed");
	va_end(args);
	out = fopen(lab_path(".out"), "r");
	cr_assert(out);
	cr_assert_eq(fscanf(out, "%llu", &v), 1, "no number was printed");
	fclose(out);
	return v;
}

void lab_unpack(const char *fixture, const char *name)
{
	const char *dir = getenv("STRATA_FIXTURES");
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.xz", dir ? dir : "../shared/fixtures", fixture);
	if (access(path, R_OK) != 0)
		cr_skip_test("fixture %s is not there", path);
	lab_need("xz");
	char *real = keep(realpath(path, NULL));
	/* A fixed VHD is the raw content and a footer. */
	lab_sh("xz -dc '%s' >%s && truncate -s -512 %s", real, name, name);
}

void lab_read(const char *name, uint64_t off_bytes, void *buf, size_t len_bytes)
{
	int fd = open(lab_path(name), O_RDONLY);

	cr_assert_geq(fd, 0);
	cr_assert_eq(pread(fd, buf, len_bytes, (off_t)off_bytes), (ssize_t)len_bytes);
	close(fd);
}

void lab_write(const char *name, uint64_t off_bytes, const void *buf, size_t len_bytes)
{
	int fd = open(lab_path(name), O_WRONLY);

	cr_assert_geq(fd, 0);
	cr_assert_eq(pwrite(fd, buf, len_bytes, (off_t)off_bytes), (ssize_t)len_bytes);
	close(fd);
}

static void fill_pattern(uint8_t *sector, uint64_t id, uint64_t number)
{
	for (unsigned i = 0; i < SECTOR; i += 32) {
		put_le64(sector + i, MAGIC);
		put_le64(sector + i + 8, id);
		put_le64(sector + i + 16, number);
		put_le64(sector + i + 24, ~number);
	}
}

void lab_make_pattern(const char *name, uint64_t id, unsigned sectors)
{
	FILE *out = fopen(lab_path(name), "w");
	uint8_t sector[SECTOR];

	cr_assert(out);
	for (unsigned i = 0; i < sectors; i++) {
		fill_pattern(sector, id, i);
		cr_assert_eq(fwrite(sector, sizeof(sector), 1, out), 1);
	}
	cr_assert_eq(fclose(out), 0);
}

struct queue *lab_queue(void)
{
	return lab.queue;
}

static struct disk *open_disk(struct file_ns *ns, const char *path)
{
	struct err_why why = {0};
	struct file *file;
	struct disk *disk;

	cr_assert_eq(file_ns_open(ns, path, 0, &file, &why), ERR_OK, "%s", why.text);
	cr_assert_eq(raw_disk_open(file, &disk, &why), ERR_OK, "%s", why.text);
	cr_assert(lab.disks < ARRAY_LEN(lab.disk));
	lab.disk[lab.disks++] = disk;
	return disk;
}

struct disk *lab_disk(const char *name)
{
	return open_disk(&file_ns_posix, lab_path(name));
}

struct disk *lab_memory_disk(const char *name, struct file **file)
{
	struct err_why why = {0};
	struct stat st;
	uint8_t *bytes;

	cr_assert_eq(stat(lab_path(name), &st), 0);
	bytes = keep(malloc((size_t)st.st_size));
	lab_read(name, 0, bytes, (size_t)st.st_size);
	lab.memory = mem_ns_new();
	mem_ns_put(lab.memory, name, bytes, (uint64_t)st.st_size);
	cr_assert_eq(file_ns_open(mem_ns_base(lab.memory), name, FILE_OPEN_RDWR, file, &why),
		     ERR_OK, "%s", why.text);
	lab.memory_file = *file;
	return open_disk(mem_ns_base(lab.memory), name);
}

const struct guestfs_table *lab_probe(const char *name)
{
	struct guestfs_table *table = keep(malloc(sizeof(*table)));
	struct err_why why = {0};

	cr_assert_eq(guestfs_probe(lab_disk(name), lab.queue, table, &why), ERR_OK, "%s", why.text);
	return table;
}

static void add_range(void *arg, uint64_t off_bytes, uint64_t len_bytes)
{
	struct lab_free *out = arg;

	if (is_power_of_two(out->count) || out->count == 0)
		out->range =
		    realloc(out->range, (out->count ? out->count * 2 : 1) * sizeof(*out->range));
	cr_assert(out->range);
	out->range[out->count++] = (struct lab_range){off_bytes, len_bytes};
	out->bytes += len_bytes;
}

struct lab_free lab_free_in(const char *name, const struct guestfs_partition *partition)
{
	struct lab_free out = {0};
	uint64_t end = partition->start_bytes;

	out.err =
	    guestfs_free_ranges(lab_disk(name), lab.queue, partition, add_range, &out, &out.why);
	if (out.range)
		keep(out.range);
	for (size_t i = 0; i < out.count; i++) {
		cr_assert_eq(out.range[i].off_bytes % SECTOR, 0);
		cr_assert_eq(out.range[i].len_bytes % SECTOR, 0);
		cr_assert_gt(out.range[i].len_bytes, 0);
		cr_assert(out.range[i].off_bytes > end || i == 0, "neighbours are not joined");
		cr_assert_geq(out.range[i].off_bytes, end);
		end = out.range[i].off_bytes + out.range[i].len_bytes;
	}
	cr_assert_leq(end, partition->start_bytes + partition->len_bytes);
	return out;
}

struct lab_free lab_free(const char *name, const char *fs)
{
	const struct guestfs_table *table = lab_probe(name);

	cr_assert_eq(table->count, 0);
	cr_assert_str_eq(table->whole.fs, fs);
	return lab_free_in(name, &table->whole);
}

void lab_refused(const char *name, const char *fs, const char *text)
{
	struct guestfs_partition whole = {0};
	struct disk_info info;
	struct lab_free out;

	disk_get_info(lab_disk(name), &info);
	whole.len_bytes = info.size_bytes;
	strcpy(whole.fs, fs);
	out = lab_free_in(name, &whole);
	cr_assert_eq(out.err, ERR_UNSUPPORTED, "%s: %s", err_name(out.err), out.why.text);
	cr_assert(strstr(out.why.text, text), "\"%s\" is not about \"%s\"", out.why.text, text);
	cr_assert_eq(out.count, 0, "ranges were reported before the refusal");
}

bool lab_is_free(const struct lab_free *free, uint64_t off_bytes)
{
	size_t low = 0, high = free->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (free->range[mid].off_bytes + free->range[mid].len_bytes <= off_bytes)
			low = mid + 1;
		else
			high = mid;
	}
	return low < free->count && off_bytes >= free->range[low].off_bytes;
}

void lab_check_pattern(const char *name, const struct lab_free *free, uint64_t id, unsigned sectors,
		       bool is_free)
{
	FILE *in = fopen(lab_path(name), "r");
	bool *found = keep(calloc(sectors, sizeof(*found)));
	uint8_t sector[SECTOR], want[SECTOR];
	unsigned count = 0;

	cr_assert(in);
	for (uint64_t off = 0; fread(sector, sizeof(sector), 1, in) == 1; off += SECTOR) {
		uint64_t number = get_le64(sector + 16);

		if (get_le64(sector) != MAGIC || get_le64(sector + 8) != id || number >= sectors)
			continue;
		fill_pattern(want, id, number);
		cr_assert_arr_eq(sector, want, SECTOR);
		cr_assert_eq(lab_is_free(free, off), is_free, "sector %llu of pattern %llu at %llu",
			     (unsigned long long)number, (unsigned long long)id,
			     (unsigned long long)off);
		count += !found[number];
		found[number] = true;
	}
	fclose(in);
	cr_assert_eq(count, sectors, "only %u of %u sectors of pattern %llu are in the image",
		     count, sectors, (unsigned long long)id);
}
