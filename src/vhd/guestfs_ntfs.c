/* SPDX-License-Identifier: MIT */
/*
 * Free clusters of NTFS, from $Bitmap (record 6 of the MFT).
 *
 * Before the bitmap is believed:
 * - the boot sector and the records used are well formed, their fixups intact;
 * - the MFT says itself that its first 16 records lie where the boot sector says;
 * - the volume is not marked dirty ($Volume);
 * - $LogFile is empty or was closed. A hibernated or fast-started Windows keeps its volumes
 *   mounted: the restart area is then not marked clean, or the log has version 2, which Windows 8
 *   and later write back to 1 when they unmount. So looking for hiberfil.sys is not needed;
 * - there are no shadow copies: they keep old content in clusters that are free by now;
 * - the clusters of the metadata just read are in use, as far as the bitmap goes.
 */
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/guestfs_internal.h"
#include "vhd/guestfs_ntfs.h"

/* Offsets of the fields of the boot sector. */
enum {
	B_OEM = 3,
	B_SECTOR_BYTES = 11,
	B_CLUSTER_SECTORS = 13,
	B_TOTAL = 40,
	B_MFT_LCN = 48,
	B_MIRROR_LCN = 56,
	B_RECORD_SIZE = 64,
};

enum { RECORD_MFT = 0, RECORD_LOGFILE = 2, RECORD_VOLUME = 3, RECORD_BITMAP = 6 };

#define FIXED_RECORDS     16ull
#define MAX_CLUSTER_BYTES (2u << 20)
#define SHADOW_HEADER_OFF 0x1e00u
#define SHADOW_CATALOG    48u

/* At SHADOW_HEADER_OFF of a volume on which shadow copies were ever enabled. */
static const uint8_t shadow_guid[16] = {0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e,
					0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52};

/* Clusters in sectors: a power of two, or, above 128, its negated exponent. */
static uint32_t cluster_sectors(uint8_t v)
{
	if (v <= 128)
		return v;
	return v >= 0xf0 ? 1u << (256 - v) : 0;
}

static enum err read_boot(struct ntfs *ntfs, struct err_why *why)
{
	uint8_t boot[DISK_SECTOR];
	enum err e = guestfs_read(ntfs->volume, boot, 0, sizeof(boot), why);
	uint32_t sector, cluster;
	uint64_t total, bytes;
	int8_t record;

	if (e)
		return e;
	sector = get_le16(boot + B_SECTOR_BYTES);
	cluster = cluster_sectors(boot[B_CLUSTER_SECTORS]);
	record = (int8_t)boot[B_RECORD_SIZE];
	total = get_le64(boot + B_TOTAL);
	if (memcmp(boot + B_OEM, "NTFS    ", 8) != 0)
		return err_set(why, ERR_UNSUPPORTED, "boot sector: no NTFS at +3");
	if (!is_power_of_two(sector) || sector < 512 || sector > 4096 ||
	    !is_power_of_two(cluster) || (uint64_t)sector * cluster > MAX_CLUSTER_BYTES)
		return err_set(why, ERR_UNSUPPORTED,
			       "boot sector: sectors of %u bytes at +11, clusters of %u at +13",
			       sector, cluster);
	if (!checked_mul(total, sector, &bytes) || bytes > ntfs->volume->len_bytes)
		return err_set(why, ERR_UNSUPPORTED,
			       "boot sector: %llu sectors of %u bytes do not fit the partition of "
			       "%llu bytes",
			       (unsigned long long)total, sector,
			       (unsigned long long)ntfs->volume->len_bytes);
	ntfs->cluster_bytes = sector * cluster;
	ntfs->clusters = total / cluster;
	ntfs->mft_lcn = get_le64(boot + B_MFT_LCN);
	ntfs->mirror_lcn = get_le64(boot + B_MIRROR_LCN);
	if (!ntfs->mft_lcn || ntfs->mft_lcn >= ntfs->clusters || !ntfs->mirror_lcn ||
	    ntfs->mirror_lcn >= ntfs->clusters)
		return err_set(why, ERR_UNSUPPORTED,
			       "boot sector: MFT at cluster %llu, mirror at %llu of %llu",
			       (unsigned long long)ntfs->mft_lcn,
			       (unsigned long long)ntfs->mirror_lcn,
			       (unsigned long long)ntfs->clusters);
	/* Positive: in clusters; negative: the negated exponent, in bytes. */
	bytes = record > 0      ? (uint64_t)record * ntfs->cluster_bytes
		: record >= -12 ? 1ull << -record
				: 0;
	if (!is_power_of_two(bytes) || bytes < DISK_SECTOR || bytes > NTFS_MAX_RECORD_BYTES)
		return err_set(why, ERR_UNSUPPORTED, "boot sector: size of MFT records %d at +64",
			       record);
	ntfs->record_bytes = (uint32_t)bytes;
	return ERR_OK;
}

/* Only the records this reader uses have to lie together at the start of the MFT. */
static enum err check_mft(const struct ntfs *ntfs, struct ntfs_file *file, struct err_why *why)
{
	uint64_t need = div_round_up(FIXED_RECORDS * ntfs->record_bytes, ntfs->cluster_bytes);
	enum err e = ntfs_open(ntfs, RECORD_MFT, true, file, why);

	if (e)
		return e;
	if (file->run_count == 0 || file->run[0].lcn != ntfs->mft_lcn ||
	    file->run[0].clusters < need)
		return err_set(why, ERR_UNSUPPORTED,
			       "the MFT does not have its first %llu records at cluster %llu",
			       FIXED_RECORDS, (unsigned long long)ntfs->mft_lcn);
	return ERR_OK;
}

static enum err check_volume(const struct ntfs *ntfs, struct err_why *why)
{
	enum { MAJOR = 8, FLAGS = 10, BYTES = 12 };
	/* Dirty, and the flags for work that is waiting for or going on in chkdsk. */
	const unsigned unclean = 0x0001 | 0x4000;
	uint8_t record[NTFS_MAX_RECORD_BYTES];
	const uint8_t *value;
	enum err e = ntfs_read_record(ntfs, RECORD_VOLUME, record, why);

	if (!e)
		e = ntfs_value(record, NTFS_VOLUME_INFORMATION, BYTES, &value, why);
	if (e)
		return e;
	if (value[MAJOR] < 1 || value[MAJOR] > 3)
		return err_set(why, ERR_UNSUPPORTED, "NTFS version %u.%u", value[MAJOR],
			       value[MAJOR + 1]);
	if (get_le16(value + FLAGS) & unclean)
		return err_set(why, ERR_UNSUPPORTED, "is marked dirty ($Volume, flags 0x%x)",
			       get_le16(value + FLAGS));
	return ERR_OK;
}

/* Offsets of the fields of a restart page and, from its own start, of the restart area. */
enum {
	P_PAGE_BYTES = 16,
	P_AREA_OFF = 24,
	P_MAJOR = 28,
	P_HEADER_BYTES = 30,
	AREA_LSN = 0,
	AREA_IN_USE = 12,
	AREA_FLAGS = 14,
	AREA_BYTES = 16,
};

#define LOG_NO_CLIENT   0xffffu
#define LOG_IS_CLEAN    2u
#define LOG_MIN_PAGE    512u
#define LOG_MAX_PAGE    ((size_t)64 << 10)
#define LOG_EMPTY_BYTES 8192u

/* A restart page, decoded. There are two: the one with the higher LSN counts. */
struct restart {
	uint64_t lsn;
	unsigned major;
	bool clean;
};

/* False when the page is not a whole restart page. */
static bool decode_restart(uint8_t *page, uint32_t page_bytes, struct restart *out)
{
	const uint8_t *area;
	uint32_t off;

	if (memcmp(page, "RSTR", 4) != 0 || !ntfs_fixup(page, page_bytes))
		return false;
	off = get_le16(page + P_AREA_OFF);
	if (off < P_HEADER_BYTES || off + AREA_BYTES > page_bytes)
		return false;
	area = page + off;
	*out = (struct restart){
	    .lsn = get_le64(area + AREA_LSN),
	    .major = get_le16(page + P_MAJOR),
	    .clean = get_le16(area + AREA_IN_USE) == LOG_NO_CLIENT ||
		     get_le16(area + AREA_FLAGS) & LOG_IS_CLEAN,
	};
	return true;
}

/* All ones at its beginning is how a log looks that was emptied and not used since. */
static bool is_empty_log(const uint8_t *log)
{
	for (unsigned i = 0; i < LOG_EMPTY_BYTES; i++) {
		if (log[i] != 0xff)
			return false;
	}
	return true;
}

static enum err check_log(const struct ntfs *ntfs, struct ntfs_file *file, uint8_t *buf,
			  struct err_why *why)
{
	struct restart last = {0}, second;
	uint32_t page_bytes;
	enum err e = ntfs_open(ntfs, RECORD_LOGFILE, false, file, why);

	if (!e)
		e = ntfs_read(ntfs, file, 0, buf, LOG_EMPTY_BYTES, why);
	if (e)
		return e;
	if (is_empty_log(buf))
		return ERR_OK;
	page_bytes = get_le32(buf + P_PAGE_BYTES);
	if (!is_power_of_two(page_bytes) || page_bytes < LOG_MIN_PAGE || page_bytes > LOG_MAX_PAGE)
		return err_set(why, ERR_UNSUPPORTED, "$LogFile: pages of %u bytes", page_bytes);
	e = ntfs_read(ntfs, file, 0, buf, 2ull * page_bytes, why);
	if (e)
		return e;
	if (!decode_restart(buf, page_bytes, &last))
		return err_set(why, ERR_UNSUPPORTED, "$LogFile: no whole restart page");
	if (decode_restart(buf + page_bytes, page_bytes, &second) && second.lsn > last.lsn)
		last = second;
	if (last.major != 1)
		return err_set(why, ERR_UNSUPPORTED,
			       "$LogFile has version %u: Windows did not unmount the volume "
			       "(hibernation, fast start or a crash)",
			       last.major);
	if (!last.clean)
		return err_set(why, ERR_UNSUPPORTED, "$LogFile was not closed cleanly");
	return ERR_OK;
}

static enum err check_shadows(const struct ntfs *ntfs, struct err_why *why)
{
	uint8_t header[DISK_SECTOR];
	enum err e = guestfs_read(ntfs->volume, header, SHADOW_HEADER_OFF, sizeof(header), why);

	if (e)
		return e;
	if (memcmp(header, shadow_guid, sizeof(shadow_guid)) == 0 &&
	    get_le64(header + SHADOW_CATALOG) != 0)
		return err_set(why, ERR_UNSUPPORTED,
			       "has shadow copies (catalogue at 0x%llx): they may need what is "
			       "free now",
			       (unsigned long long)get_le64(header + SHADOW_CATALOG));
	return ERR_OK;
}

/* ERR_UNSUPPORTED when the bitmap calls `lcn` free or does not reach it. */
static enum err check_used(const struct ntfs *ntfs, const struct ntfs_file *bitmap, uint64_t lcn,
			   struct err_why *why)
{
	uint8_t sector[DISK_SECTOR];
	uint64_t byte = lcn / 8;
	enum err e;

	if (byte >= bitmap->valid_bytes)
		return err_set(why, ERR_UNSUPPORTED, "$Bitmap ends before cluster %llu",
			       (unsigned long long)lcn);
	e = ntfs_read(ntfs, bitmap, round_down(byte, DISK_SECTOR), sector, sizeof(sector), why);
	if (e)
		return e;
	if (!(sector[byte % DISK_SECTOR] >> lcn % 8 & 1u))
		return err_set(why, ERR_UNSUPPORTED, "$Bitmap calls cluster %llu free, it is not",
			       (unsigned long long)lcn);
	return ERR_OK;
}

static enum err check_bitmap(const struct ntfs *ntfs, const struct ntfs_file *bitmap,
			     struct err_why *why)
{
	enum err e = check_used(ntfs, bitmap, 0, why);

	if (!e)
		e = check_used(ntfs, bitmap, ntfs->mft_lcn, why);
	if (!e)
		e = check_used(ntfs, bitmap, ntfs->mirror_lcn, why);
	for (unsigned i = 0; !e && i < bitmap->run_count; i++)
		e = check_used(ntfs, bitmap, bitmap->run[i].lcn, why);
	return e;
}

/* What the bitmap does not reach counts as used. */
static enum err report(const struct ntfs *ntfs, const struct ntfs_file *bitmap,
		       struct guestfs_runs *runs, uint8_t *buf, struct err_why *why)
{
	uint64_t bytes = min_u64(bitmap->valid_bytes, div_round_up(ntfs->clusters, 8));

	runs->limit_bytes = ntfs->clusters * ntfs->cluster_bytes;
	for (uint64_t off = 0; off < bytes; off += GUESTFS_PIECE_BYTES) {
		uint64_t piece = min_u64(bytes - off, GUESTFS_PIECE_BYTES);
		uint64_t count = min_u64(piece * 8, ntfs->clusters - off * 8);
		enum err e = ntfs_read(ntfs, bitmap, off, buf, round_up(piece, DISK_SECTOR), why);

		if (e)
			return e;
		guestfs_runs_add_bits(runs, buf, count, off * 8 * ntfs->cluster_bytes,
				      ntfs->cluster_bytes);
	}
	return ERR_OK;
}

static enum err read_ntfs(struct ntfs *ntfs, struct guestfs_runs *runs, struct ntfs_file *file,
			  uint8_t *buf, struct err_why *why)
{
	enum err e = read_boot(ntfs, why);

	if (!e)
		e = check_mft(ntfs, file, why);
	if (!e)
		e = check_volume(ntfs, why);
	if (!e)
		e = check_log(ntfs, file, buf, why);
	if (!e)
		e = check_shadows(ntfs, why);
	if (!e)
		e = ntfs_open(ntfs, RECORD_BITMAP, false, file, why);
	if (!e)
		e = check_bitmap(ntfs, file, why);
	if (!e)
		e = report(ntfs, file, runs, buf, why);
	return e;
}

enum err guestfs_ntfs_free(const struct guestfs_volume *volume, struct guestfs_runs *runs,
			   struct err_why *why)
{
	struct ntfs ntfs = {.volume = volume};
	struct ntfs_file *file = malloc(sizeof(*file));
	uint8_t *buf = malloc(2 * LOG_MAX_PAGE);
	enum err e;

	if (file && buf)
		e = read_ntfs(&ntfs, runs, file, buf, why);
	else
		e = err_set(why, ERR_NOMEM, "no memory to read NTFS");
	free(file);
	free(buf);
	return e;
}
