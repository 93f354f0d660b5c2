/* SPDX-License-Identifier: MIT */
#include "vhd/guestfs_ntfs.h"

#include <string.h>

#include "util/bytes.h"

/* Offsets of the fields of a record ... */
enum {
	R_FIXUP_OFF = 4,
	R_FIXUP_COUNT = 6,
	R_ATTRIBUTES = 20,
	R_FLAGS = 22,
	R_USED_BYTES = 24,
	R_BASE = 32,
	R_HEADER_BYTES = 42,
};

/* ... and of an attribute, resident or not. */
enum {
	A_TYPE = 0,
	A_LEN = 4,
	A_NON_RESIDENT = 8,
	A_NAME_LEN = 9,
	A_FLAGS = 12,
	A_VALUE_LEN = 16,
	A_VALUE_OFF = 20,
	A_RESIDENT_BYTES = 24,
	A_FIRST_VCN = 16,
	A_LAST_VCN = 24,
	A_RUNS_OFF = 32,
	A_DATA_BYTES = 48,
	A_INIT_BYTES = 56,
	A_NON_RESIDENT_BYTES = 64,
};

#define RECORD_IN_USE 1u

bool ntfs_fixup(uint8_t *buf, uint32_t len_bytes)
{
	uint32_t off = get_le16(buf + R_FIXUP_OFF);
	uint32_t sectors = len_bytes / DISK_SECTOR;

	if (get_le16(buf + R_FIXUP_COUNT) != sectors + 1 || off % 2 ||
	    off + 2 * (sectors + 1) > DISK_SECTOR - 2)
		return false;
	for (size_t i = 1; i <= sectors; i++) {
		uint8_t *last = buf + i * DISK_SECTOR - 2;

		if (memcmp(last, buf + off, 2) != 0)
			return false;
		memcpy(last, buf + off + 2 * i, 2);
	}
	return true;
}

enum err ntfs_read_record(const struct ntfs *ntfs, unsigned number, uint8_t *record,
			  struct err_why *why)
{
	uint64_t off = ntfs->mft_lcn * ntfs->cluster_bytes + (uint64_t)number * ntfs->record_bytes;
	enum err e = guestfs_read(ntfs->volume, record, off, ntfs->record_bytes, why);
	uint32_t first, used;

	if (e)
		return e;
	if (memcmp(record, "FILE", 4) != 0 || !ntfs_fixup(record, ntfs->record_bytes))
		return err_set(why, ERR_UNSUPPORTED, "MFT record %u at 0x%llx: not a whole record",
			       number, (unsigned long long)off);
	first = get_le16(record + R_ATTRIBUTES);
	used = get_le32(record + R_USED_BYTES);
	if (!(get_le16(record + R_FLAGS) & RECORD_IN_USE) || get_le64(record + R_BASE) != 0 ||
	    used > ntfs->record_bytes || first < R_HEADER_BYTES || first % 8 || first > used)
		return err_set(why, ERR_UNSUPPORTED,
			       "MFT record %u: not a base record in use, or its lengths (%u, %u) "
			       "are wrong",
			       number, first, used);
	return ERR_OK;
}

/*
 * The first unnamed attribute of this type, with its header and length checked. `listed`: an
 * attribute list, which says that more attributes are in other records, is no obstacle.
 */
static enum err find(const uint8_t *record, enum ntfs_attribute type, bool listed,
		     const uint8_t **out, struct err_why *why)
{
	uint32_t used = get_le32(record + R_USED_BYTES);
	uint32_t off = get_le16(record + R_ATTRIBUTES);

	while (off + 4 <= used && get_le32(record + off) != (uint32_t)NTFS_END) {
		const uint8_t *attr = record + off;
		uint32_t found = get_le32(attr + A_TYPE);
		uint32_t room = used - off;
		uint32_t len = room < A_RESIDENT_BYTES ? 0 : get_le32(attr + A_LEN);

		if (len % 8 || len > room ||
		    len < (attr[A_NON_RESIDENT] ? A_NON_RESIDENT_BYTES : A_RESIDENT_BYTES))
			return err_set(why, ERR_UNSUPPORTED,
				       "attribute 0x%x at +%u of its record: length %u", found, off,
				       len);
		if (found == NTFS_ATTRIBUTE_LIST && !listed)
			return err_set(why, ERR_UNSUPPORTED, "attributes in several records");
		if (found == (uint32_t)type && attr[A_NAME_LEN] == 0) {
			*out = attr;
			return ERR_OK;
		}
		off += len;
	}
	return err_set(why, ERR_UNSUPPORTED, "no attribute 0x%x in the record", (unsigned)type);
}

static enum err resident_value(const uint8_t *attr, const uint8_t **value, uint32_t *len,
			       struct err_why *why)
{
	uint32_t off = get_le16(attr + A_VALUE_OFF);
	uint32_t attr_len = get_le32(attr + A_LEN);

	*len = get_le32(attr + A_VALUE_LEN);
	*value = attr + off;
	if (off < A_RESIDENT_BYTES || off > attr_len || *len > attr_len - off)
		return err_set(why, ERR_UNSUPPORTED,
			       "attribute 0x%x: a value of %u bytes at +%u is not inside it",
			       get_le32(attr + A_TYPE), *len, off);
	return ERR_OK;
}

enum err ntfs_value(const uint8_t *record, enum ntfs_attribute type, uint32_t min_bytes,
		    const uint8_t **value, struct err_why *why)
{
	const uint8_t *attr;
	uint32_t len;
	enum err e = find(record, type, false, &attr, why);

	if (e)
		return e;
	if (attr[A_NON_RESIDENT])
		return err_set(why, ERR_UNSUPPORTED, "attribute 0x%x is not resident",
			       (unsigned)type);
	e = resident_value(attr, value, &len, why);
	if (!e && len < min_bytes)
		e = err_set(why, ERR_UNSUPPORTED, "attribute 0x%x: a value of %u bytes",
			    (unsigned)type, len);
	return e;
}

/* `bytes` (0 to 8) little-endian bytes. */
static uint64_t get_le(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | p[bytes];
	return v;
}

/* As get_le, with the sign of the highest bit. */
static int64_t get_signed_le(const uint8_t *p, unsigned bytes)
{
	uint64_t sign = 1ull << (8 * bytes - 1);

	return (int64_t)((get_le(p, bytes) ^ sign) - sign);
}

/*
 * One run: a byte with the widths of the two numbers, the length in clusters, and the distance of
 * its first cluster from that of the run before. Returns the bytes taken, 0 when it breaks a rule.
 */
static unsigned decode_run(const struct ntfs *ntfs, const uint8_t *p, uint32_t room, int64_t *lcn,
			   struct ntfs_run *out)
{
	unsigned len_bytes = p[0] & 15, lcn_bytes = p[0] >> 4;
	uint64_t len;

	/* Without a distance the run is sparse: none of the files read here has holes. */
	if (len_bytes < 1 || len_bytes > 8 || lcn_bytes < 1 || lcn_bytes > 8 ||
	    1 + len_bytes + lcn_bytes > room)
		return 0;
	len = get_le(p + 1, len_bytes);
	if (__builtin_add_overflow(*lcn, get_signed_le(p + 1 + len_bytes, lcn_bytes), lcn))
		return 0;
	if (!len || *lcn < 0 || (uint64_t)*lcn >= ntfs->clusters ||
	    len > ntfs->clusters - (uint64_t)*lcn)
		return 0;
	*out = (struct ntfs_run){(uint64_t)*lcn, len};
	return 1 + len_bytes + lcn_bytes;
}

/* The run list of a non-resident attribute; *clusters is what it adds up to. */
static enum err decode_runs(const struct ntfs *ntfs, const uint8_t *attr, struct ntfs_file *out,
			    uint64_t *clusters, struct err_why *why)
{
	uint32_t off = get_le16(attr + A_RUNS_OFF);
	uint32_t end = get_le32(attr + A_LEN);
	int64_t lcn = 0;

	*clusters = 0;
	out->run_count = 0;
	if (off < A_NON_RESIDENT_BYTES || off > end)
		return err_set(why, ERR_UNSUPPORTED, "run list at +%u of an attribute of %u bytes",
			       off, end);
	while (off < end && attr[off] != 0) {
		struct ntfs_run *run = &out->run[out->run_count];
		unsigned taken = out->run_count < NTFS_MAX_RUNS
				     ? decode_run(ntfs, attr + off, end - off, &lcn, run)
				     : 0;

		if (!taken || !checked_add(*clusters, run->clusters, clusters))
			return err_set(why, ERR_UNSUPPORTED,
				       "run %u at +%u of its attribute breaks a rule",
				       out->run_count, off);
		out->run_count++;
		off += taken;
	}
	return ERR_OK;
}

static enum err open_clusters(const struct ntfs *ntfs, const uint8_t *attr, bool first_part,
			      struct ntfs_file *out, struct err_why *why)
{
	uint64_t clusters;
	enum err e = decode_runs(ntfs, attr, out, &clusters, why);

	if (e)
		return e;
	/* An empty attribute has -1 for its last cluster. */
	if (get_le64(attr + A_FIRST_VCN) != 0 || get_le64(attr + A_LAST_VCN) + 1 != clusters)
		return err_set(why, ERR_UNSUPPORTED,
			       "the run list has %llu clusters, its attribute says %llu to %llu",
			       (unsigned long long)clusters,
			       (unsigned long long)get_le64(attr + A_FIRST_VCN),
			       (unsigned long long)get_le64(attr + A_LAST_VCN));
	out->valid_bytes = min_u64(get_le64(attr + A_DATA_BYTES), get_le64(attr + A_INIT_BYTES));
	/* No overflow: the sum of runs inside the volume, at most 2048 of them. */
	if (out->valid_bytes > clusters * ntfs->cluster_bytes) {
		if (!first_part)
			return err_set(why, ERR_UNSUPPORTED, "%llu bytes of data in %llu clusters",
				       (unsigned long long)out->valid_bytes,
				       (unsigned long long)clusters);
		out->valid_bytes = clusters * ntfs->cluster_bytes;
	}
	return ERR_OK;
}

static enum err open_value(const uint8_t *attr, struct ntfs_file *out, struct err_why *why)
{
	const uint8_t *value;
	uint32_t len;
	enum err e = resident_value(attr, &value, &len, why);

	if (e)
		return e;
	memset(out->value, 0, sizeof(out->value));
	memcpy(out->value, value, len);
	out->valid_bytes = len;
	out->run_count = 0;
	return ERR_OK;
}

static enum err open_attribute(const struct ntfs *ntfs, const uint8_t *attr, bool first_part,
			       struct ntfs_file *out, struct err_why *why)
{
	if (get_le16(attr + A_FLAGS) != 0)
		return err_set(why, ERR_UNSUPPORTED, "compressed, sparse or encrypted data");
	out->resident = !attr[A_NON_RESIDENT];
	if (out->resident)
		return open_value(attr, out, why);
	return open_clusters(ntfs, attr, first_part, out, why);
}

enum err ntfs_open(const struct ntfs *ntfs, unsigned number, bool first_part, struct ntfs_file *out,
		   struct err_why *why)
{
	uint8_t record[NTFS_MAX_RECORD_BYTES];
	const uint8_t *attr;
	enum err e = ntfs_read_record(ntfs, number, record, why);

	if (e)
		return e;
	e = find(record, NTFS_DATA, first_part, &attr, why);
	if (!e)
		e = open_attribute(ntfs, attr, first_part, out, why);
	if (e)
		err_context(why, "data of MFT record %u", number);
	return e;
}

enum err ntfs_read(const struct ntfs *ntfs, const struct ntfs_file *file, uint64_t off_bytes,
		   void *buf, uint64_t len_bytes, struct err_why *why)
{
	uint8_t *out = buf;

	if (file->resident) {
		if (off_bytes > sizeof(file->value) || len_bytes > sizeof(file->value) - off_bytes)
			return err_set(why, ERR_UNSUPPORTED, "a resident file ends too early");
		memcpy(out, file->value + off_bytes, len_bytes);
		return ERR_OK;
	}
	for (unsigned i = 0; i < file->run_count && len_bytes > 0; i++) {
		uint64_t run_bytes = file->run[i].clusters * ntfs->cluster_bytes;
		uint64_t piece;
		enum err e;

		if (off_bytes >= run_bytes) {
			off_bytes -= run_bytes;
			continue;
		}
		piece = min_u64(len_bytes, run_bytes - off_bytes);
		e = guestfs_read(ntfs->volume, out,
				 file->run[i].lcn * ntfs->cluster_bytes + off_bytes, piece, why);
		if (e)
			return e;
		out += piece;
		len_bytes -= piece;
		off_bytes = 0;
	}
	if (len_bytes)
		return err_set(why, ERR_UNSUPPORTED, "a file ends too early");
	return ERR_OK;
}
