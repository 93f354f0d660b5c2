/* SPDX-License-Identifier: MIT */
/*
 * Free clusters of FAT12, FAT16 and FAT32, from the file allocation tables themselves.
 *
 * Believed are only volumes whose type is the same by both rules in use (number of clusters,
 * presence of a 16-bit table size), that no system left mounted (the flags in FAT[1] and the state
 * byte of the boot sector), and whose tables are mirrored. A cluster is free when every copy of
 * the table says so. FAT12 has no flags in its table: there only the state byte can tell.
 */
#include <stdlib.h>

#include "util/bytes.h"
#include "vhd/guestfs_internal.h"

/* Offsets of the fields of the boot sector. */
enum {
	B_SECTOR_BYTES = 11,
	B_CLUSTER_SECTORS = 13,
	B_RESERVED = 14,
	B_FATS = 16,
	B_ROOT_ENTRIES = 17,
	B_TOTAL_16 = 19,
	B_MEDIA = 21,
	B_FAT_SECTORS_16 = 22,
	B_TOTAL_32 = 32,
	B_STATE_16 = 37, /* FAT12 and FAT16 */
	B_EXTENDED_16 = 38,
	B_FAT_SECTORS_32 = 36, /* from here on FAT32 */
	B_FLAGS_32 = 40,
	B_VERSION_32 = 42,
	B_STATE_32 = 65,
	B_SIGNATURE = 510,
};

#define MAX_FAT12_CLUSTERS 4084u
#define MAX_FAT16_CLUSTERS 65524u
#define MAX_FAT32_CLUSTERS 0x0ffffff5u
#define STATE_DIRTY        1u
#define NOT_MIRRORED       0x80u
#define DIR_ENTRY_BYTES    32u

struct fat {
	const struct guestfs_volume *volume;
	unsigned bits; /* 12, 16, 32 */
	unsigned copies;
	uint8_t media;
	uint32_t clusters; /* numbered from 2 */
	uint32_t cluster_bytes;
	uint64_t table_off;
	uint64_t table_bytes; /* of one copy */
	uint64_t data_off;
};

/* What does not depend on the type of table, in sectors. */
struct layout {
	uint32_t sector_bytes;
	uint32_t reserved;
	uint32_t root_sectors;
	uint32_t fat_sectors;
	uint32_t total;
	bool has_fat_sectors_16;
};

static enum err read_layout(const struct guestfs_volume *volume, const uint8_t *boot,
			    struct layout *out, struct err_why *why)
{
	uint32_t sector = get_le16(boot + B_SECTOR_BYTES);
	uint32_t root_bytes = get_le16(boot + B_ROOT_ENTRIES) * DIR_ENTRY_BYTES;

	if (boot[B_SIGNATURE] != 0x55 || boot[B_SIGNATURE + 1] != 0xaa)
		return err_set(why, ERR_UNSUPPORTED, "boot sector: no signature at +510");
	if (!is_power_of_two(sector) || sector < 512 || sector > 4096)
		return err_set(why, ERR_UNSUPPORTED, "boot sector: sector size %u at +11", sector);
	if (!is_power_of_two(boot[B_CLUSTER_SECTORS]))
		return err_set(why, ERR_UNSUPPORTED, "boot sector: cluster of %u sectors at +13",
			       boot[B_CLUSTER_SECTORS]);
	if (boot[B_FATS] != 1 && boot[B_FATS] != 2)
		return err_set(why, ERR_UNSUPPORTED, "boot sector: %u tables at +16", boot[B_FATS]);
	*out = (struct layout){
	    .sector_bytes = sector,
	    .reserved = get_le16(boot + B_RESERVED),
	    .root_sectors = (uint32_t)div_round_up(root_bytes, sector),
	    .fat_sectors = get_le16(boot + B_FAT_SECTORS_16),
	    .total = get_le16(boot + B_TOTAL_16),
	    .has_fat_sectors_16 = get_le16(boot + B_FAT_SECTORS_16) != 0,
	};
	if (!out->fat_sectors)
		out->fat_sectors = get_le32(boot + B_FAT_SECTORS_32);
	if (!out->total)
		out->total = get_le32(boot + B_TOTAL_32);
	if (!out->reserved || !out->fat_sectors)
		return err_set(why, ERR_UNSUPPORTED,
			       "boot sector: %u reserved sectors, %u sectors a table",
			       out->reserved, out->fat_sectors);
	if ((uint64_t)out->total * sector > volume->len_bytes)
		return err_set(why, ERR_UNSUPPORTED,
			       "boot sector: %u sectors of %u bytes do not fit the partition of "
			       "%llu bytes",
			       out->total, sector, (unsigned long long)volume->len_bytes);
	return ERR_OK;
}

/* The type follows from the number of clusters; the form of the boot sector must agree. */
static enum err choose_type(struct fat *fat, const struct layout *layout, uint64_t clusters,
			    struct err_why *why)
{
	uint64_t entries_bytes;

	fat->bits = clusters > MAX_FAT16_CLUSTERS ? 32 : clusters > MAX_FAT12_CLUSTERS ? 16 : 12;
	if (!clusters || clusters > MAX_FAT32_CLUSTERS ||
	    (fat->bits == 32) == layout->has_fat_sectors_16 ||
	    (fat->bits == 32) == (layout->root_sectors != 0))
		return err_set(why, ERR_UNSUPPORTED,
			       "boot sector: %llu clusters do not fit its form: is it FAT%s?",
			       (unsigned long long)clusters,
			       layout->has_fat_sectors_16 ? "12, FAT16" : "32");
	fat->clusters = (uint32_t)clusters;
	entries_bytes = div_round_up((clusters + 2) * fat->bits, 8);
	if (entries_bytes > fat->table_bytes)
		return err_set(why, ERR_UNSUPPORTED,
			       "boot sector: a table of %llu bytes is too short for %llu clusters",
			       (unsigned long long)fat->table_bytes, (unsigned long long)clusters);
	return ERR_OK;
}

static enum err read_boot(struct fat *fat, const uint8_t *boot, struct err_why *why)
{
	struct layout layout = {0};
	enum err e = read_layout(fat->volume, boot, &layout, why);
	uint64_t data;

	if (e)
		return e;
	data = layout.reserved + (uint64_t)boot[B_FATS] * layout.fat_sectors + layout.root_sectors;
	if (data > layout.total)
		return err_set(why, ERR_UNSUPPORTED,
			       "boot sector: data would begin at sector %llu of %u",
			       (unsigned long long)data, layout.total);
	fat->copies = boot[B_FATS];
	fat->media = boot[B_MEDIA];
	fat->cluster_bytes = boot[B_CLUSTER_SECTORS] * layout.sector_bytes;
	fat->table_off = (uint64_t)layout.reserved * layout.sector_bytes;
	fat->table_bytes = (uint64_t)layout.fat_sectors * layout.sector_bytes;
	fat->data_off = data * layout.sector_bytes;
	return choose_type(fat, &layout, (layout.total - data) / boot[B_CLUSTER_SECTORS], why);
}

static enum err check_boot_state(const struct fat *fat, const uint8_t *boot, struct err_why *why)
{
	uint8_t state = 0;

	if (fat->bits == 32) {
		if (get_le16(boot + B_VERSION_32) != 0)
			return err_set(why, ERR_UNSUPPORTED, "boot sector: version 0x%x at +42",
				       get_le16(boot + B_VERSION_32));
		if (boot[B_FLAGS_32] & NOT_MIRRORED)
			return err_set(
			    why, ERR_UNSUPPORTED,
			    "boot sector: the tables are not mirrored (flags 0x%x at +40)",
			    boot[B_FLAGS_32]);
		state = boot[B_STATE_32];
	} else if (boot[B_EXTENDED_16] == 0x28 || boot[B_EXTENDED_16] == 0x29) {
		state = boot[B_STATE_16];
	}
	if (state & STATE_DIRTY)
		return err_set(why, ERR_UNSUPPORTED,
			       "was not unmounted cleanly (state 0x%x in the boot sector)", state);
	return ERR_OK;
}

static uint32_t entry_at(const uint8_t *table, unsigned bits, uint64_t idx)
{
	uint32_t v;

	if (bits == 32)
		return get_le32(table + idx * 4) & 0x0fffffff;
	if (bits == 16)
		return get_le16(table + idx * 2);
	v = get_le16(table + idx * 3 / 2);
	return idx & 1 ? v >> 4 : v & 0xfff;
}

/* FAT[0] repeats the media byte; FAT[1] has the flags "clean" and "no hard error", 1 = good. */
static enum err check_table_start(const struct fat *fat, const uint8_t *table, unsigned copy,
				  struct err_why *why)
{
	uint32_t good = fat->bits == 32 ? 0x0c000000u : fat->bits == 16 ? 0xc000u : 0;
	uint32_t first = entry_at(table, fat->bits, 0);
	uint32_t second = entry_at(table, fat->bits, 1);

	if ((first & 0xff) != fat->media)
		return err_set(why, ERR_UNSUPPORTED,
			       "table %u: its first entry 0x%x does not match the media byte 0x%x",
			       copy, first, fat->media);
	if ((second & good) != good)
		return err_set(
		    why, ERR_UNSUPPORTED,
		    "was not unmounted cleanly or has errors (FAT[1] of table %u is 0x%x)", copy,
		    second);
	return ERR_OK;
}

/* Clusters [first, end) of the piece that `table` and `other` (NULL: there is one copy) hold. */
static void add_free(const struct fat *fat, struct guestfs_runs *runs, const uint8_t *table,
		     const uint8_t *other, uint64_t piece_first, uint64_t end)
{
	for (uint64_t i = max_u64(piece_first, 2); i < end; i++) {
		if (entry_at(table, fat->bits, i - piece_first) ||
		    (other && entry_at(other, fat->bits, i - piece_first)))
			continue;
		guestfs_runs_add(runs, fat->data_off + (i - 2) * fat->cluster_bytes,
				 fat->cluster_bytes);
	}
}

static enum err scan_tables(const struct fat *fat, struct guestfs_runs *runs, uint8_t *buf,
			    struct err_why *why)
{
	uint64_t entries = (uint64_t)fat->clusters + 2;
	/* A multiple of 512 entries for every type that needs more than one piece. */
	uint64_t piece_entries = fat->bits == 12 ? entries : GUESTFS_PIECE_BYTES * 8 / fat->bits;

	for (uint64_t first = 0; first < entries; first += piece_entries) {
		uint64_t end = min_u64(entries, first + piece_entries);
		uint64_t off = fat->table_off + first * fat->bits / 8;
		uint64_t len = round_up(div_round_up((end - first) * fat->bits, 8), DISK_SECTOR);

		for (unsigned copy = 0; copy < fat->copies; copy++) {
			uint8_t *table = buf + copy * GUESTFS_PIECE_BYTES;
			enum err e = guestfs_read(fat->volume, table, off + copy * fat->table_bytes,
						  len, why);

			if (!e && first == 0)
				e = check_table_start(fat, table, copy, why);
			if (e)
				return e;
		}
		add_free(fat, runs, buf, fat->copies == 2 ? buf + GUESTFS_PIECE_BYTES : NULL, first,
			 end);
	}
	return ERR_OK;
}

enum err guestfs_fat_free(const struct guestfs_volume *volume, struct guestfs_runs *runs,
			  struct err_why *why)
{
	struct fat fat = {.volume = volume};
	uint8_t boot[DISK_SECTOR];
	uint8_t *buf;
	enum err e = guestfs_read(volume, boot, 0, sizeof(boot), why);

	if (!e)
		e = read_boot(&fat, boot, why);
	if (!e)
		e = check_boot_state(&fat, boot, why);
	if (e)
		return e;
	buf = malloc(2 * GUESTFS_PIECE_BYTES);
	if (!buf)
		return err_set(why, ERR_NOMEM, "no memory for a piece of the table");
	runs->limit_bytes = volume->len_bytes;
	e = scan_tables(&fat, runs, buf, why);
	free(buf);
	return e;
}
