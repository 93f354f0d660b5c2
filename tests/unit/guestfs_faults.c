/* SPDX-License-Identifier: MIT */
/* T3: every read fails once, at every place; the error must arrive as what it is. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/fault.h"
#include "tests/unit/guestfs_lab.h"

TestSuite(guestfs_faults, .init = lab_start, .fini = lab_stop);

static void ignore(void *arg, uint64_t off_bytes, uint64_t len_bytes)
{
	(void)arg;
	(void)off_bytes;
	(void)len_bytes;
}

static enum err read_all(struct disk *disk, const char *fs, struct err_why *why)
{
	static struct guestfs_table table;
	enum err e = guestfs_probe(disk, lab_queue(), &table, why);

	if (e)
		return e;
	cr_assert_str_eq(table.whole.fs, fs);
	return guestfs_free_ranges(disk, lab_queue(), &table.whole, ignore, NULL, why);
}

static void fail_each_read(const char *fs)
{
	struct fault_ns *faults = fault_ns_new(&file_ns_posix);
	struct fault_rule rule = {.op = FILE_READ, .event = FAULT_ANY, .sys_errno = EIO};
	struct err_why why = {0};
	struct file *file;
	struct disk *disk;
	enum err e;

	cr_assert_eq(file_ns_open(fault_ns_base(faults), lab_path("image"), 0, &file, &why), ERR_OK,
		     "%s", why.text);
	cr_assert_eq(raw_disk_open(file, &disk, &why), ERR_OK, "%s", why.text);
	do {
		rule.nth++;
		fault_ns_set(faults, &rule);
		why = (struct err_why){0};
		e = read_all(disk, fs, &why);
		cr_assert_eq(e, fault_ns_fired(faults) ? ERR_IO : ERR_OK, "read %llu: %s",
			     (unsigned long long)rule.nth, why.text);
		cr_assert_eq(why.code, e);
	} while (fault_ns_fired(faults));
	cr_assert_gt(rule.nth, 5);
	disk_close(disk, NULL);
	fault_ns_free(faults);
}

Test(guestfs_faults, every_read_of_ext4)
{
	lab_need("mke2fs");
	lab_sh("truncate -s 32M image && mke2fs -q -F -t ext4 -b 1024 image");
	fail_each_read("ext4");
}

Test(guestfs_faults, every_read_of_ntfs)
{
	lab_need("mkntfs");
	lab_sh("truncate -s 8M image && mkntfs -F -q image");
	fail_each_read("ntfs");
}

Test(guestfs_faults, every_read_of_fat)
{
	lab_need("mkfs.fat");
	lab_sh("truncate -s 34M image && mkfs.fat -F32 -s 1 image");
	fail_each_read("vfat");
}
