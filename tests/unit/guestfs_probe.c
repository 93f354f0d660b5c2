/* SPDX-License-Identifier: MIT */
/* Partition tables and signatures, against sfdisk and the tools that make file systems. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/unit/guestfs_lab.h"
#include "util/bytes.h"

TestSuite(guestfs_probe, .init = lab_start, .fini = lab_stop);

#define MIB (1ull << 20)

static void check(const struct guestfs_partition *p, unsigned number, uint64_t start, uint64_t len,
		  const char *type, const char *fs)
{
	cr_assert_eq(p->number, number);
	cr_assert_eq(p->start_bytes, start, "%llu", (unsigned long long)p->start_bytes);
	cr_assert_eq(p->len_bytes, len, "%llu", (unsigned long long)p->len_bytes);
	cr_assert_str_eq(p->type, type);
	cr_assert_str_eq(p->fs, fs);
}

Test(guestfs_probe, empty_disk_has_nothing)
{
	lab_sh("truncate -s 1M image && truncate -s 512 sector");
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_str_eq(table->scheme, "");
	cr_assert_eq(table->count, 0);
	check(&table->whole, 0, 0, MIB, "", "");
	cr_assert_eq(lab_probe("sector")->count, 0);
}

Test(guestfs_probe, reads_mbr_with_logical_partitions)
{
	lab_need("sfdisk");
	lab_sh("truncate -s 64M image && printf '%s' | sfdisk -q image",
	       "label: dos\\n"
	       "start=2048, size=8192, type=83\\n"
	       "start=10240, size=106496, type=f\\n"
	       "start=12288, size=4096, type=7\\n"
	       "start=20480, size=8192, type=c\\n"
	       "start=40960, size=2048, type=82\\n");
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_str_eq(table->scheme, "dos");
	cr_assert_eq(table->count, 4);
	check(&table->partition[0], 1, 1 * MIB, 4 * MIB, "0x83", "");
	check(&table->partition[1], 5, 6 * MIB, 2 * MIB, "0x07", "");
	check(&table->partition[2], 6, 10 * MIB, 4 * MIB, "0x0c", "");
	check(&table->partition[3], 7, 20 * MIB, 1 * MIB, "0x82", "");
}

Test(guestfs_probe, reads_gpt_names_and_types)
{
	lab_need("sfdisk");
	lab_sh("truncate -s 64M image && printf '%s' | sfdisk -q image",
	       "label: gpt\\n"
	       "start=2048, size=8192, type=L, name=\"Größe\"\\n"
	       "start=20480, size=2048, type=U\\n");
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_str_eq(table->scheme, "gpt");
	cr_assert_eq(table->count, 2);
	check(&table->partition[0], 1, 1 * MIB, 4 * MIB, "0fc63daf-8483-4772-8e79-3d69d8477de4",
	      "");
	cr_assert_str_eq(table->partition[0].name, "Größe");
	check(&table->partition[1], 2, 10 * MIB, 1 * MIB, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
	      "");
}

Test(guestfs_probe, reads_the_backup_gpt)
{
	static const uint8_t zeros[512];

	lab_need("sfdisk");
	lab_sh("truncate -s 64M image && printf 'label: gpt\\nstart=2048, size=8192\\n' | "
	       "sfdisk -q image");
	lab_write("image", 512, zeros, sizeof(zeros));
	cr_assert_eq(lab_probe("image")->count, 1);
}

/* Several file systems in one disk, the label of each where its prober looks for it. */
Test(guestfs_probe, finds_file_systems_and_labels)
{
	lab_need("sfdisk");
	lab_need("mke2fs");
	lab_need("mkfs.fat");
	lab_need("mkntfs");
	lab_sh("truncate -s 300M image && printf '%s' | sfdisk -q image",
	       "label: gpt\\n"
	       "start=2048, size=20480\\n"
	       "start=22528, size=204800\\n"
	       "start=227328, size=204800\\n"
	       "start=432128, size=20480\\n");
	lab_sh("mke2fs -q -F -t ext4 -L first -U 01234567-89ab-cdef-0123-456789abcdef "
	       "-E offset=1048576 image 10M");
	lab_sh("truncate -s 100M fat ntfs && mkfs.fat -F32 -s 1 -n SECOND -i 12345678 fat && "
	       "mkntfs -F -q -L third ntfs && truncate -s 10M swap && mkswap -L fourth swap");
	lab_sh("dd if=fat of=image bs=1M seek=11 conv=notrunc && "
	       "dd if=ntfs of=image bs=1M seek=111 conv=notrunc && "
	       "dd if=swap of=image bs=1M seek=211 conv=notrunc");
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_eq(table->count, 4);
	cr_assert_str_eq(table->partition[0].fs, "ext4");
	cr_assert_str_eq(table->partition[0].fs_label, "first");
	cr_assert_str_eq(table->partition[0].fs_uuid, "01234567-89ab-cdef-0123-456789abcdef");
	cr_assert_str_eq(table->partition[1].fs, "vfat");
	cr_assert_str_eq(table->partition[1].fs_label, "SECOND");
	cr_assert_str_eq(table->partition[1].fs_uuid, "1234-5678");
	cr_assert_str_eq(table->partition[2].fs, "ntfs");
	cr_assert_str_eq(table->partition[2].fs_label, "third");
	cr_assert_str_eq(table->partition[3].fs, "swap");
	cr_assert_str_eq(table->partition[3].fs_label, "fourth");
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(lab_free_in("image", &table->partition[i]).err, ERR_OK);
	cr_assert_eq(lab_free_in("image", &table->partition[3]).err, ERR_UNSUPPORTED);
}

/* A boot sector of NTFS has the signature of a master boot record. */
Test(guestfs_probe, tells_a_file_system_from_a_partition_table)
{
	lab_need("mkntfs");
	lab_sh("truncate -s 100M image && mkntfs -F -q image");
	cr_assert_eq(lab_probe("image")->count, 0);
	cr_assert_str_eq(lab_probe("image")->whole.fs, "ntfs");
}

/* 2040 GiB, almost all of it a hole, with a partition at its end. */
Test(guestfs_probe, reads_the_largest_disk)
{
	lab_need("sfdisk");
	lab_need("mke2fs");
	lab_sh("truncate -s 2040G image && printf 'label: gpt\\nstart=2048, size=2048\\n"
	       "start=4278165504, size=20480\\n' | sfdisk -q image && "
	       "mke2fs -q -F -t ext4 -L last -E offset=2190420738048 image 10M");
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_eq(table->count, 2);
	cr_assert_str_eq(table->partition[1].fs_label, "last");
	struct lab_free found = lab_free_in("image", &table->partition[1]);

	cr_assert_eq(found.err, ERR_OK, "%s", found.why.text);
	cr_assert_gt(found.bytes, 5 * MIB);
}

/* ---- partition tables made by hand ---- */

static void put_entry(uint8_t *sector, unsigned idx, uint8_t type, uint32_t start, uint32_t count)
{
	uint8_t *entry = sector + 446 + idx * 16;

	entry[4] = type;
	put_le32(entry + 8, start);
	put_le32(entry + 12, count);
	sector[510] = 0x55;
	sector[511] = 0xaa;
}

Test(guestfs_probe, cuts_partitions_to_the_disk)
{
	uint8_t mbr[512] = {0};

	put_entry(mbr, 0, 0x83, 100, 1000);
	put_entry(mbr, 1, 0x83, 1900, 1000);
	put_entry(mbr, 2, 0x83, 2048, 10);
	put_entry(mbr, 3, 0x83, 0xfffffff0, 0xffffffff);
	lab_sh("truncate -s 1M image");
	lab_write("image", 0, mbr, sizeof(mbr));
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_eq(table->count, 2);
	check(&table->partition[0], 1, 100 * 512, 1000 * 512, "0x83", "");
	check(&table->partition[1], 2, 1900 * 512, 148 * 512, "0x83", "");
}

/* Logical partitions out of order on the disk: links that lead backwards. */
Test(guestfs_probe, follows_links_that_lead_backwards)
{
	uint8_t mbr[512] = {0}, first[512] = {0}, second[512] = {0}, third[512] = {0};

	put_entry(mbr, 0, 0x05, 4096, 100000);
	put_entry(first, 0, 0x83, 63, 100);
	put_entry(first, 1, 0x05, 50000, 1000);
	put_entry(second, 0, 0x83, 63, 200);
	put_entry(second, 1, 0x05, 20000, 1000);
	put_entry(third, 0, 0x83, 63, 300);
	lab_sh("truncate -s 64M image");
	lab_write("image", 0, mbr, sizeof(mbr));
	lab_write("image", 4096 * 512, first, sizeof(first));
	lab_write("image", 54096 * 512, second, sizeof(second));
	lab_write("image", 24096 * 512, third, sizeof(third));
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_eq(table->count, 3);
	check(&table->partition[0], 5, 4159 * 512, 100 * 512, "0x83", "");
	check(&table->partition[1], 6, 54159 * 512, 200 * 512, "0x83", "");
	check(&table->partition[2], 7, 24159 * 512, 300 * 512, "0x83", "");
}

Test(guestfs_probe, ends_on_a_loop_of_links)
{
	uint8_t mbr[512] = {0}, link[512] = {0};

	put_entry(mbr, 0, 0x05, 4096, 100000);
	put_entry(link, 0, 0x83, 63, 100);
	put_entry(link, 1, 0x05, 50000, 1000);
	lab_sh("truncate -s 64M image");
	lab_write("image", 0, mbr, sizeof(mbr));
	lab_write("image", 4096 * 512, link, sizeof(link));
	lab_write("image", 54096 * 512, link, sizeof(link));
	cr_assert_leq(lab_probe("image")->count, 2);
}

/* More than there is room for: 400 logical partitions with a file system in the last that fits. */
Test(guestfs_probe, bounds_the_number_of_partitions)
{
	uint8_t mbr[512] = {0};

	put_entry(mbr, 0, 0x05, 2048, 400 * 4096);
	lab_sh("truncate -s 802M image");
	lab_write("image", 0, mbr, sizeof(mbr));
	for (uint32_t i = 0; i < 400; i++) {
		uint8_t link[512] = {0};

		put_entry(link, 0, 0x83, 2048, 2048);
		put_entry(link, 1, 0x05, (i + 1) * 4096, 4096);
		lab_write("image", (2048 + i * 4096ull) * 512, link, sizeof(link));
	}
	lab_need("mke2fs");
	lab_sh("mke2fs -q -F -t ext2 -L here -E offset=%llu image 1M",
	       (unsigned long long)(2048 + 255 * 4096 + 2048) * 512);
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_eq(table->count, GUESTFS_MAX_PARTITIONS);
	cr_assert_eq(table->partition[255].number, 260);
	cr_assert_str_eq(table->partition[255].fs_label, "here");
}

/* The label of exFAT is in the root directory, here beyond what is copied anyway. */
Test(guestfs_probe, finds_the_label_of_exfat)
{
	const uint32_t heap = 8192, cluster = 1000;
	uint8_t boot[512] = {0}, entry[32] = {0x83, 5, 'h', 0, 'e', 0, 'l', 0, 'l', 0, 'o', 0};

	lab_sh("truncate -s 64M image");
	memcpy(boot,
	       "\xeb\x76\x90"
	       "EXFAT   ",
	       11);
	put_le64(boot + 72, 131072);
	put_le32(boot + 80, 128);
	put_le32(boot + 84, 128);
	put_le32(boot + 88, heap);
	put_le32(boot + 92, 15000);
	put_le32(boot + 96, cluster);
	put_le32(boot + 100, 0x12345678);
	boot[105] = 1;
	boot[108] = 9;
	boot[109] = 3;
	boot[110] = 1;
	boot[510] = 0x55;
	boot[511] = 0xaa;
	lab_write("image", 0, boot, sizeof(boot));
	lab_write("image", (heap + (cluster - 2) * 8ull) * 512, entry, sizeof(entry));
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_str_eq(table->whole.fs, "exfat");
	cr_assert_str_eq(table->whole.fs_label, "hello");
	cr_assert_eq(lab_free_in("image", &table->whole).err, ERR_UNSUPPORTED);
}

/* 36 characters of three bytes do not fit: cut between characters. */
Test(guestfs_probe, cuts_long_names_between_characters)
{
	lab_need("sfdisk");
	lab_sh(
	    "truncate -s 8M image && printf 'label: gpt\\nstart=2048, size=2048, name=\"%s\"\\n' "
	    "| sfdisk -q image",
	    "€€€€€€€€€€€€€€€€€€€€€€€€€€€€€€€€€€€€");
	cr_assert_str_eq(lab_probe("image")->partition[0].name, "€€€€€€€€€€€€€€€€€€€€€€€€€€");
}

/* ---- hostile lengths ---- */

static uint64_t peak_kib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)usage.ru_maxrss;
}

static uint32_t crc32_of(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/* Two valid headers, each with entries of almost 4 GiB; the second ones' lie over the first. */
Test(guestfs_probe, takes_little_memory_for_a_gpt_of_4_gib)
{
	uint64_t before;
	uint8_t mbr[512] = {0}, header[512] = {0};

	lab_sh("truncate -s 64G image");
	put_entry(mbr, 0, 0xee, 1, 0xffffffff);
	lab_write("image", 0, mbr, sizeof(mbr));
	memcpy(header, "EFI PART\0\0\1\0", 12);
	put_le32(header + 12, 92);
	put_le64(header + 24, 1);
	put_le64(header + 40, 40);
	put_le64(header + 48, 1000000);
	put_le64(header + 72, 2);
	put_le32(header + 80, 0x1ffffff);
	put_le32(header + 84, 128);
	put_le32(header + 16, crc32_of(header, 92));
	lab_write("image", 512, header, sizeof(header));
	put_le32(header + 16, 0);
	put_le64(header + 24, (64ull << 21) - 1);
	put_le64(header + 72, 1);
	put_le32(header + 80, 4);
	put_le32(header + 16, crc32_of(header, 92));
	lab_write("image", (64ull << 30) - 512, header, sizeof(header));
	before = peak_kib();
	cr_assert_eq(lab_probe("image")->count, 0);
	cr_assert_lt(peak_kib() - before, 64 * 1024, "%llu KiB",
		     (unsigned long long)(peak_kib() - before));
}

Test(guestfs_probe, takes_little_memory_for_a_record_of_2_gib)
{
	uint8_t boot[512] = {0}, file[4] = {'F', 'I', 'L', 'E'};
	uint64_t before;

	lab_sh("truncate -s 64G image");
	memcpy(boot, "\xeb\x52\x90NTFS    ", 11);
	put_le16(boot + 11, 512);
	boot[13] = 8;
	put_le64(boot + 40, 1 << 27);
	put_le64(boot + 48, 4);
	boot[64] = 0xe1;
	boot[510] = 0x55;
	boot[511] = 0xaa;
	lab_write("image", 0, boot, sizeof(boot));
	lab_write("image", 4 * 4096, file, sizeof(file));
	before = peak_kib();
	cr_assert_str_eq(lab_probe("image")->whole.fs, "");
	cr_assert_lt(peak_kib() - before, 64 * 1024, "%llu KiB",
		     (unsigned long long)(peak_kib() - before));
}

/* ---- images of real products ---- */

Test(guestfs_probe, reads_a_fat16_disk_of_windows)
{
	lab_unpack("dfirorc-fat16.vhd", "image");
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_eq(table->count, 1);
	check(&table->partition[0], 1, 128 * 512, 403456 * 512ull, "0x06", "vfat");
	cr_assert_str_eq(table->partition[0].fs_label, "FAT16");
	lab_need("fsck.fat");
	struct lab_free found = lab_free_in("image", &table->partition[0]);

	cr_assert_eq(found.err, ERR_OK, "%s", found.why.text);
	lab_sh("dd if=image of=part bs=64K skip=1 count=3152");
	cr_assert_eq(found.bytes,
		     lab_number("fsck.fat -n -v part | awk '/bytes per cluster/ {b = $1} "
				"/files, .* clusters/ {split($4, n, \"/\"); f = n[2] - n[1]} "
				"END {printf \"%%.0f\\n\", f * b}'"));
}

Test(guestfs_probe, reads_an_empty_table_of_windows)
{
	lab_unpack("imhex-fixed-3M.vhd", "image");
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_str_eq(table->scheme, "dos");
	cr_assert_eq(table->count, 0);
	cr_assert_str_eq(table->whole.fs, "");
}

/* A dynamic disk: the NTFS there may be one piece of a volume, with another one behind it. */
Test(guestfs_probe, free_ranges_refuses_dynamic_disks)
{
	lab_unpack("dissect-fixed.vhd", "image");
	lab_write("image", 446 + 4, "\x42", 1);
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_str_eq(table->partition[0].fs, "ntfs");
	struct lab_free found = lab_free_in("image", &table->partition[0]);

	cr_assert_eq(found.err, ERR_UNSUPPORTED);
	cr_assert(strstr(found.why.text, "dynamic disk"), "%s", found.why.text);
}

/* ---- what the caller gets wrong ---- */

Test(guestfs_probe, free_ranges_refuses_partitions_outside_the_disk)
{
	struct guestfs_partition partition = {.fs = "ext4", .start_bytes = 512, .len_bytes = MIB};

	lab_sh("truncate -s 1M image");
	cr_assert_eq(lab_free_in("image", &partition).err, ERR_USAGE);
	partition = (struct guestfs_partition){.fs = "xfs", .len_bytes = MIB};
	struct lab_free found = lab_free_in("image", &partition);

	cr_assert_eq(found.err, ERR_UNSUPPORTED);
	cr_assert(strstr(found.why.text, "xfs"));
}
