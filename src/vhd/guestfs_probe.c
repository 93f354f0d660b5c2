/* SPDX-License-Identifier: MIT */
/*
 * Partitions and signatures, by libblkid.
 *
 * The library wants a descriptor and a disk has none. So it gets a sparse file in memory, as large
 * as the disk, which holds copies of what it looks at and zeros elsewhere: the ends of the disk and
 * of each partition, the links of extended partitions, the GPT's entries, and the one place further
 * inside that the prober of some file systems reads. The copies take at most 64 MiB; with many
 * partitions each gets less.
 *
 * The library believes some lengths that it reads and allocates them. A table or boot sector with
 * such a length is blotted out in the copy, and only probers that are known to take bounded memory
 * and time are let loose: the others are for media that do not come as disk images.
 */
#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/bytes.h"
#include "vhd/guestfs.h"
#include "vhd/guestfs_internal.h"

#define MBR_ENTRIES     446u
#define MBR_ENTRY_BYTES 16u
#define MBR_SIGNATURE   510u
#define MAX_LINKS       256u
#define GPT_MAX_BYTES   (1u << 20)

#define END_BYTES         (1u << 20) /* copied from both ends of the disk */
#define VOLUME_HEAD_BYTES (1280u << 10)
#define VOLUME_TAIL_BYTES (128u << 10)
#define VOLUME_EXTRA_MAX  (16u << 10)
#define VOLUME_BYTES      (VOLUME_HEAD_BYTES + VOLUME_TAIL_BYTES + VOLUME_EXTRA_MAX)
#define VOLUMES_BYTES     (48u << 20) /* for all partitions together */
/* The prober walks a root directory entry by entry, and searches what it has read each time. */
#define EXFAT_HEAD_BYTES (16u << 10)
/* Larger ones are legal on paper only; the library would allocate them several times. */
#define MAX_BOOT_UNIT_BYTES (64u << 10)
/* A boot sector's fields; behind them code and, in a master boot record, the partitions. */
#define BOOT_FIELDS_BYTES 90u

/* The copy. */
struct image {
	struct guestfs_volume disk; /* the whole of it */
	int fd;
	uint8_t *buf; /* GUESTFS_PIECE_BYTES */
};

static enum err put(const struct image *image, const uint8_t *data, uint64_t off_bytes,
		    uint64_t len_bytes, struct err_why *why)
{
	while (len_bytes > 0) {
		ssize_t n = pwrite(image->fd, data, len_bytes, (off_t)off_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(why, n < 0 ? errno : EIO, "copy for libblkid");
		data += n;
		off_bytes += (uint64_t)n;
		len_bytes -= (uint64_t)n;
	}
	return ERR_OK;
}

/* Copy what lies in this range and on the disk; zeros stay holes. */
static enum err copy(const struct image *image, uint64_t off_bytes, uint64_t len_bytes,
		     struct err_why *why)
{
	uint64_t end = min_u64(off_bytes + len_bytes, image->disk.len_bytes);

	while (off_bytes < end) {
		uint64_t piece = min_u64(end - off_bytes, GUESTFS_PIECE_BYTES);
		enum err e = guestfs_read(&image->disk, image->buf, off_bytes, piece, why);

		if (!e && !bytes_are_zero(image->buf, piece))
			e = put(image, image->buf, off_bytes, piece, why);
		if (e)
			return e;
		off_bytes += piece;
	}
	return ERR_OK;
}

/* ---- partition tables ---- */

static bool is_extended(const uint8_t *entry)
{
	return (entry[4] == 0x05 || entry[4] == 0x0f || entry[4] == 0x85) && get_le32(entry + 12);
}

/* The link of an extended partition to the next one: the first that leads anywhere. */
static uint64_t next_link(const uint8_t *sector, uint64_t extended_start)
{
	if (sector[MBR_SIGNATURE] != 0x55 || sector[MBR_SIGNATURE + 1] != 0xaa)
		return 0;
	for (size_t i = 0; i < 4; i++) {
		const uint8_t *entry = sector + MBR_ENTRIES + i * MBR_ENTRY_BYTES;

		if (is_extended(entry) && get_le32(entry + 8))
			return extended_start + get_le32(entry + 8);
	}
	return 0;
}

static bool seen(const uint64_t *links, unsigned count, uint64_t sector)
{
	for (unsigned i = 0; i < count; i++) {
		if (links[i] == sector)
			return true;
	}
	return false;
}

/*
 * Copy the chain of links of an extended partition. Links may lead backwards (logical partitions
 * out of order are usual), so what keeps the chain finite is that no link is followed twice.
 */
static enum err copy_links(const struct image *image, uint64_t extended_start, uint64_t *links,
			   unsigned *count, struct err_why *why)
{
	uint64_t sector = extended_start;

	while (sector != 0 && *count < MAX_LINKS && !seen(links, *count, sector) &&
	       sector < image->disk.len_bytes / DISK_SECTOR) {
		enum err e = copy(image, sector * DISK_SECTOR, DISK_SECTOR, why);

		if (e)
			return e;
		links[(*count)++] = sector;
		sector = next_link(image->buf, extended_start);
	}
	return ERR_OK;
}

static enum err copy_mbr(const struct image *image, struct err_why *why)
{
	uint64_t links[MAX_LINKS];
	unsigned count = 0;
	uint8_t mbr[DISK_SECTOR];
	enum err e = guestfs_read(&image->disk, mbr, 0, sizeof(mbr), why);

	if (e || mbr[MBR_SIGNATURE] != 0x55 || mbr[MBR_SIGNATURE + 1] != 0xaa)
		return e;
	for (size_t i = 0; !e && i < 4; i++) {
		const uint8_t *entry = mbr + MBR_ENTRIES + i * MBR_ENTRY_BYTES;

		if (is_extended(entry))
			e = copy_links(image, get_le32(entry + 8), links, &count, why);
	}
	return e;
}

/* Length of the entries of a GPT, and where they are. */
static uint64_t gpt_entries(const uint8_t *header, uint64_t *off)
{
	if (memcmp(header, "EFI PART", 8) != 0 ||
	    !checked_mul(get_le64(header + 72), DISK_SECTOR, off))
		return 0;
	return (uint64_t)get_le32(header + 80) * get_le32(header + 84);
}

/* The entries of a GPT whose header is at this sector. */
static enum err copy_gpt(const struct image *image, uint64_t sector, struct err_why *why)
{
	uint8_t header[DISK_SECTOR];
	uint64_t off = 0, len;
	enum err e = guestfs_read(&image->disk, header, sector * DISK_SECTOR, sizeof(header), why);

	if (e)
		return e;
	len = gpt_entries(header, &off);
	if (len > GPT_MAX_BYTES || off >= image->disk.len_bytes)
		return ERR_OK;
	return copy(image, off, round_up(len, DISK_SECTOR), why);
}

/* ---- volumes ---- */

/* The sizes that the boot sectors of NTFS and FAT32 give for what libblkid reads as a whole. */
static uint64_t boot_unit_bytes(const uint8_t *boot)
{
	uint64_t sector = get_le16(boot + 11);
	uint64_t cluster = boot[13] <= 128 ? boot[13] : 1ull << ((256 - boot[13]) & 31);
	int8_t record = (int8_t)boot[64];

	if (memcmp(boot + 3, "NTFS    ", 8) == 0)
		return record > 0 ? (uint64_t)record * cluster * sector : 1ull << (-record & 63);
	return get_le16(boot + 22) == 0 && get_le32(boot + 36) != 0 ? cluster * sector : 0;
}

/* The place further inside that a prober reads: offset in the volume and length; 0 for none. */
static void find_extra(const uint8_t *boot, uint64_t *off, uint64_t *len)
{
	uint64_t sector = get_le16(boot + 11);
	uint64_t cluster = sector * (boot[13] <= 128 ? boot[13] : 1ull << ((256 - boot[13]) & 31));

	*len = 0;
	if (memcmp(boot + 3, "NTFS    ", 8) == 0) {
		/* The first records of the MFT; the fourth has the label. */
		if (checked_mul(get_le64(boot + 48), cluster, off))
			*len = VOLUME_EXTRA_MAX;
	} else if (memcmp(boot + 3, "-FVE-FS-", 8) == 0) {
		*off = get_le64(boot + 176);
		*len = 4096;
	} else if (memcmp(boot + 3, "EXFAT   ", 8) == 0) {
		/* Root directory: the first cluster has number 2. */
		unsigned sector_shift = boot[108] & 31, cluster_shift = boot[109] & 31;

		*off =
		    ((uint64_t)get_le32(boot + 88) << sector_shift) +
		    ((uint64_t)(get_le32(boot + 96) - 2u) << ((sector_shift + cluster_shift) & 31));
		*len = 4096;
	} else if (memcmp(boot + 82, "FAT32   ", 8) == 0) {
		*off = (get_le16(boot + 14) + (uint64_t)boot[16] * get_le32(boot + 36)) * sector +
		       (uint64_t)(get_le32(boot + 44) - 2u) * cluster;
		*len = 4096;
	}
}

/*
 * Blot out what would make libblkid allocate too much, in the copy: after everything that could
 * put it there once more.
 */
static enum err defuse_gpt(const struct image *image, uint64_t sector, struct err_why *why)
{
	static const uint8_t zeros[DISK_SECTOR];
	uint8_t header[DISK_SECTOR];
	uint64_t off = 0;
	enum err e = guestfs_read(&image->disk, header, sector * DISK_SECTOR, sizeof(header), why);

	if (!e && gpt_entries(header, &off) > GPT_MAX_BYTES)
		e = put(image, zeros, sector * DISK_SECTOR, sizeof(zeros), why);
	return e;
}

static enum err defuse_boot(const struct image *image, uint64_t start, struct err_why *why)
{
	static const uint8_t zeros[BOOT_FIELDS_BYTES];
	uint8_t boot[DISK_SECTOR];
	enum err e = guestfs_read(&image->disk, boot, start, sizeof(boot), why);

	if (!e && boot_unit_bytes(boot) > MAX_BOOT_UNIT_BYTES)
		e = put(image, zeros, start, sizeof(zeros), why);
	return e;
}

/* Copy what probers look at in a volume, `room_bytes` at most. */
static enum err copy_volume(const struct image *image, uint64_t start, uint64_t len,
			    uint64_t room_bytes, struct err_why *why)
{
	uint64_t tail = round_down(min_u64(VOLUME_TAIL_BYTES, room_bytes / 4), DISK_SECTOR);
	uint64_t head = min_u64(VOLUME_HEAD_BYTES, room_bytes - tail - VOLUME_EXTRA_MAX);
	uint64_t extra_off = 0, extra_len;
	uint8_t boot[DISK_SECTOR];
	enum err e = guestfs_read(&image->disk, boot, start, sizeof(boot), why);

	if (e)
		return e;
	if (memcmp(boot + 3, "EXFAT   ", 8) == 0)
		head = min_u64(head, EXFAT_HEAD_BYTES);
	find_extra(boot, &extra_off, &extra_len);
	e = copy(image, start, min_u64(head, len), why);
	if (!e && len > head)
		e = copy(image, start + max_u64(head, len - min_u64(tail, len)),
			 min_u64(tail, len - head), why);
	if (!e && extra_off < len && extra_off % DISK_SECTOR == 0)
		e = copy(image, start + extra_off, min_u64(extra_len, len - extra_off), why);
	return e ? e : defuse_boot(image, start, why);
}

/* `text` cut to whole characters of UTF-8. */
static void copy_text(char *out, size_t out_bytes, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (len >= out_bytes) {
		len = out_bytes - 1;
		while (len > 0 && ((uint8_t)text[len] & 0xc0) == 0x80)
			len--;
	}
	if (len)
		memcpy(out, text, len);
	out[len] = '\0';
}

static void copy_value(blkid_probe probe, const char *name, char *out, size_t out_bytes)
{
	const char *value = NULL;

	if (blkid_probe_lookup_value(probe, name, &value, NULL) != 0)
		value = NULL;
	copy_text(out, out_bytes, value);
}

/* Signature of one volume. Two different ones are as good as none. */
static enum err probe_volume(const struct image *image, struct guestfs_partition *volume,
			     struct err_why *why)
{
	static const char *const names[] = {
	    "vfat",      "exfat",       "ntfs",        "ReFS",    "BitLocker", "ext2",
	    "ext3",      "ext4",        "jbd",         "xfs",     "btrfs",     "swap",
	    "swsuspend", "LVM2_member", "crypto_LUKS", "f2fs",    "reiserfs",  "jfs",
	    "ufs",       "hfs",         "hfsplus",     "iso9660", "squashfs",  "linux_raid_member",
	    NULL,
	};
	blkid_probe probe = blkid_new_probe();

	if (!probe)
		return err_set(why, ERR_NOMEM, "no memory for libblkid");
	if (blkid_probe_set_device(probe, image->fd, (blkid_loff_t)volume->start_bytes,
				   (blkid_loff_t)volume->len_bytes) == 0 &&
	    blkid_probe_enable_superblocks(probe, 1) == 0 &&
	    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL |
							 BLKID_SUBLKS_UUID) == 0 &&
	    blkid_probe_filter_superblocks_type(probe, BLKID_FLTR_ONLYIN, (char **)names) == 0 &&
	    blkid_do_safeprobe(probe) == 0) {
		copy_value(probe, "TYPE", volume->fs, sizeof(volume->fs));
		copy_value(probe, "LABEL", volume->fs_label, sizeof(volume->fs_label));
		copy_value(probe, "UUID", volume->fs_uuid, sizeof(volume->fs_uuid));
	}
	blkid_free_probe(probe);
	return ERR_OK;
}

/* ---- what libblkid found ---- */

static bool add_partition(const struct image *image, blkid_partition from,
			  struct guestfs_partition *out)
{
	uint64_t start, len;
	const char *type = blkid_partition_get_type_string(from);

	if (blkid_partition_is_extended(from) ||
	    blkid_parttable_get_parent(blkid_partition_get_table(from)) ||
	    !checked_mul((uint64_t)blkid_partition_get_start(from), DISK_SECTOR, &start) ||
	    !checked_mul((uint64_t)blkid_partition_get_size(from), DISK_SECTOR, &len) ||
	    start >= image->disk.len_bytes || len == 0)
		return false;
	*out = (struct guestfs_partition){
	    .number = (unsigned)blkid_partition_get_partno(from),
	    .start_bytes = start,
	    .len_bytes = min_u64(len, image->disk.len_bytes - start),
	};
	copy_text(out->name, sizeof(out->name), blkid_partition_get_name(from));
	if (type)
		copy_text(out->type, sizeof(out->type), type);
	else
		snprintf(out->type, sizeof(out->type), "0x%02x",
			 (unsigned)blkid_partition_get_type(from));
	return true;
}

static void add_partitions(const struct image *image, blkid_partlist list,
			   struct guestfs_table *out)
{
	blkid_parttable table = blkid_partlist_get_table(list);
	int count = blkid_partlist_numof_partitions(list);

	if (table)
		copy_text(out->scheme, sizeof(out->scheme), blkid_parttable_get_type(table));
	for (int i = 0; i < count && out->count < GUESTFS_MAX_PARTITIONS; i++) {
		blkid_partition from = blkid_partlist_get_partition(list, i);

		if (from && add_partition(image, from, &out->partition[out->count]))
			out->count++;
	}
}

static enum err probe_table(const struct image *image, struct guestfs_table *out,
			    struct err_why *why)
{
	static const char *const names[] = {"dos", "gpt", NULL};
	blkid_probe probe = blkid_new_probe();

	if (!probe)
		return err_set(why, ERR_NOMEM, "no memory for libblkid");
	if (blkid_probe_set_device(probe, image->fd, 0, (blkid_loff_t)image->disk.len_bytes) == 0 &&
	    blkid_probe_enable_partitions(probe, 1) == 0 &&
	    blkid_probe_filter_partitions_type(probe, BLKID_FLTR_ONLYIN, (char **)names) == 0) {
		blkid_partlist list = blkid_probe_get_partitions(probe);

		if (list)
			add_partitions(image, list, out);
	}
	blkid_free_probe(probe);
	return ERR_OK;
}

static enum err copy_disk(const struct image *image, struct err_why *why)
{
	uint64_t size = image->disk.len_bytes;
	uint64_t last = size / DISK_SECTOR - 1;
	enum err e = copy(image, 0, END_BYTES, why);

	if (!e && size > END_BYTES)
		e = copy(image, max_u64(size - END_BYTES, END_BYTES), END_BYTES, why);
	if (!e)
		e = copy_mbr(image, why);
	if (!e && last > 1)
		e = copy_gpt(image, 1, why);
	if (!e && last > 1)
		e = copy_gpt(image, last, why);
	/* libblkid must tell a file system without partitions from a table of them. */
	if (!e)
		e = copy_volume(image, 0, size, VOLUME_BYTES, why);
	if (!e && last > 1)
		e = defuse_gpt(image, 1, why);
	if (!e && last > 1)
		e = defuse_gpt(image, last, why);
	return e;
}

static enum err probe_image(const struct image *image, struct guestfs_table *out,
			    struct err_why *why)
{
	enum err e = copy_disk(image, why);
	uint64_t room;

	if (!e)
		e = probe_table(image, out, why);
	if (e)
		return e;
	if (out->count == 0)
		return probe_volume(image, &out->whole, why);
	room = round_down(min_u64(VOLUME_BYTES, VOLUMES_BYTES / out->count), 4096);
	for (unsigned i = 0; !e && i < out->count; i++) {
		struct guestfs_partition *partition = &out->partition[i];

		e = copy_volume(image, partition->start_bytes, partition->len_bytes, room, why);
		if (!e)
			e = probe_volume(image, partition, why);
	}
	return e;
}

static enum err open_image(struct image *image, struct err_why *why)
{
	image->buf = malloc(GUESTFS_PIECE_BYTES);
	if (!image->buf)
		return err_set(why, ERR_NOMEM, "no memory to read the partition table");
	image->fd = memfd_create("strata-probe", MFD_CLOEXEC);
	if (image->fd < 0 || ftruncate(image->fd, (off_t)image->disk.len_bytes) != 0)
		return err_sys(why, errno, "copy for libblkid");
	return ERR_OK;
}

enum err guestfs_probe(struct disk *disk, struct queue *queue, struct guestfs_table *out,
		       struct err_why *why)
{
	struct image image = {.fd = -1};
	struct disk_info info;
	enum err e;

	disk_get_info(disk, &info);
	image.disk = (struct guestfs_volume){disk, queue, 0, info.size_bytes};
	*out = (struct guestfs_table){.whole.len_bytes = info.size_bytes};
	if (info.size_bytes == 0)
		return ERR_OK;
	e = open_image(&image, why);
	if (!e)
		e = probe_image(&image, out, why);
	if (image.fd >= 0)
		close(image.fd);
	free(image.buf);
	return e;
}
