/* SPDX-License-Identifier: MIT */
/*
 * Free blocks of ext2, ext3 and ext4, through libext2fs over our disk.
 *
 * The library is made for images one trusts, so it is led by the hand: first it reads only the
 * super block, whose counts are bounded here; then the group descriptors, every pointer and
 * checksum of which is checked before the bitmaps are read (the library takes the bitmap of a group
 * whose pointer makes no sense for empty); then each group's bitmap must agree with the number of
 * free blocks its descriptor states. The bitmap is a bit array: the library's tree is smaller for a
 * tidy file system but without bound for a hostile one.
 *
 * Nothing is replayed. A journal that needs recovery, a state other than "clean" and features the
 * library does not know are refused.
 */
#include <ext2fs/ext2fs.h>
#include <pthread.h>
#include <stdlib.h>

#include "util/bytes.h"
#include "vhd/guestfs_internal.h"

/* A disk of 2040 GiB in groups of 8192 blocks of 1 KiB, the smallest that mke2fs makes. */
#define MAX_GROUPS           (1u << 18)
#define MAX_DESCRIPTOR_BYTES (64u << 20)
/* One bit each: 64 MiB. Enough for 2 TiB in blocks of 4 KiB. */
#define MAX_CLUSTERS (1ull << 29)

struct ext {
	const struct guestfs_volume *volume;
	struct struct_io_manager manager;
	struct struct_io_channel channel;
	ext2_filsys fs;
	enum err io_err; /* the first failed read, with its text in io_why */
	struct err_why io_why;
};

/* ext2fs_open gives the io manager a name and nothing else to find its file by. */
static _Thread_local struct ext *opening;

static struct ext *ext_of(io_channel channel)
{
	return container_of(channel, struct ext, channel);
}

static errcode_t io_open(const char *name, int flags, io_channel *out)
{
	struct ext *ext = opening;

	(void)name;
	if (flags & IO_FLAG_RW)
		return EXT2_ET_RO_FILSYS;
	ext->channel = (struct struct_io_channel){
	    .magic = EXT2_ET_MAGIC_IO_CHANNEL,
	    .manager = &ext->manager,
	    .block_size = 1024,
	    .refcount = 1,
	};
	*out = &ext->channel;
	return 0;
}

static errcode_t io_close(io_channel channel)
{
	(void)channel;
	return 0;
}

static errcode_t io_set_blksize(io_channel channel, int block_size)
{
	channel->block_size = block_size;
	return 0;
}

/* `count` blocks, or -count bytes. */
static errcode_t io_read_blk64(io_channel channel, unsigned long long block, int count, void *data)
{
	struct ext *ext = ext_of(channel);
	uint64_t block_bytes = (uint64_t)channel->block_size;
	uint64_t len = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * block_bytes;
	uint64_t off;
	struct err_why why = {0};
	enum err e;

	if (!checked_mul(block, block_bytes, &off))
		return EXT2_ET_BAD_BLOCK_NUM;
	e = guestfs_read(ext->volume, data, off, len, &why);
	if (!e)
		return 0;
	if (!ext->io_err) {
		ext->io_err = e;
		ext->io_why = why;
	}
	return EXT2_ET_SHORT_READ;
}

static errcode_t io_read_blk(io_channel channel, unsigned long block, int count, void *data)
{
	return io_read_blk64(channel, block, count, data);
}

static errcode_t io_write_blk64(io_channel channel, unsigned long long block, int count,
				const void *data)
{
	(void)channel;
	(void)block;
	(void)count;
	(void)data;
	return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write_blk(io_channel channel, unsigned long block, int count, const void *data)
{
	return io_write_blk64(channel, block, count, data);
}

static errcode_t io_flush(io_channel channel)
{
	(void)channel;
	return 0;
}

static void name_errors(void)
{
	initialize_ext2_error_table();
}

/* A read that failed below the library is reported as what it was. */
static enum err fail(const struct ext *ext, errcode_t code, const char *what, struct err_why *why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (ext->io_err) {
		if (why)
			*why = ext->io_why;
		err_context(why, "%s", what);
		return ext->io_err;
	}
	pthread_once(&once, name_errors);
	return err_set(why, code == EXT2_ET_NO_MEMORY ? ERR_NOMEM : ERR_UNSUPPORTED, "%s: %s", what,
		       error_message(code));
}

static enum err open_fs(struct ext *ext, int flags, struct err_why *why)
{
	errcode_t code;

	opening = ext;
	code = ext2fs_open("disk", flags | EXT2_FLAG_64BITS, 0, 0, &ext->manager, &ext->fs);
	opening = NULL;
	if (code)
		return fail(ext, code, "super block", why);
	ext->fs->default_bitmap_type = EXT2FS_BMAP64_BITARRAY;
	return ERR_OK;
}

static void close_fs(struct ext *ext)
{
	if (ext->fs)
		ext2fs_free(ext->fs);
	ext->fs = NULL;
}

static enum err check_clean(const struct ext2_super_block *super, struct err_why *why)
{
	uint32_t ro_compat = super->s_feature_ro_compat & ~EXT2_LIB_FEATURE_RO_COMPAT_SUPP;

	if (super->s_state != EXT2_VALID_FS)
		return err_set(why, ERR_UNSUPPORTED,
			       "was not unmounted cleanly or has errors (s_state 0x%x)",
			       super->s_state);
	if (super->s_feature_incompat & EXT3_FEATURE_INCOMPAT_RECOVER)
		return err_set(why, ERR_UNSUPPORTED,
			       "was not unmounted cleanly: the journal needs recovery");
	if (super->s_feature_incompat & EXT3_FEATURE_INCOMPAT_JOURNAL_DEV)
		return err_set(why, ERR_UNSUPPORTED, "is an external journal");
	if (ro_compat)
		return err_set(why, ERR_UNSUPPORTED, "unknown features 0x%x in s_feature_ro_compat",
			       ro_compat);
	return ERR_OK;
}

static enum err check_counts(const struct ext *ext, struct err_why *why)
{
	const ext2_filsys fs = ext->fs;
	uint64_t blocks = ext2fs_blocks_count(fs->super);
	uint64_t bytes;

	if (!checked_mul(blocks, fs->blocksize, &bytes) || bytes > ext->volume->len_bytes)
		return err_set(why, ERR_UNSUPPORTED,
			       "super block: %llu blocks of %u bytes do not fit the partition of "
			       "%llu bytes",
			       (unsigned long long)blocks, fs->blocksize,
			       (unsigned long long)ext->volume->len_bytes);
	if (fs->super->s_first_data_block > 1)
		return err_set(why, ERR_UNSUPPORTED, "super block: s_first_data_block is %u",
			       fs->super->s_first_data_block);
	if (EXT2_CLUSTERS_PER_GROUP(fs->super) % 8 ||
	    EXT2_CLUSTERS_PER_GROUP(fs->super) / 8 > fs->blocksize)
		return err_set(why, ERR_UNSUPPORTED,
			       "super block: groups of %u clusters do not fit a bitmap block",
			       EXT2_CLUSTERS_PER_GROUP(fs->super));
	if (fs->group_desc_count > MAX_GROUPS ||
	    fs->desc_blocks * (uint64_t)fs->blocksize > MAX_DESCRIPTOR_BYTES ||
	    EXT2FS_B2C(fs, blocks) > MAX_CLUSTERS)
		return err_set(why, ERR_UNSUPPORTED,
			       "super block: %u groups, %llu clusters are more than the %u and "
			       "%llu supported",
			       fs->group_desc_count, (unsigned long long)EXT2FS_B2C(fs, blocks),
			       MAX_GROUPS, MAX_CLUSTERS);
	return ERR_OK;
}

static bool in_fs(ext2_filsys fs, uint64_t block, uint64_t count)
{
	uint64_t end;

	return block > fs->super->s_first_data_block && checked_add(block, count, &end) &&
	       end <= ext2fs_blocks_count(fs->super);
}

static enum err check_group(ext2_filsys fs, dgrp_t group, struct err_why *why)
{
	if (!ext2fs_group_desc_csum_verify(fs, group))
		return err_set(why, ERR_UNSUPPORTED, "group %u: wrong descriptor checksum", group);
	if (!in_fs(fs, ext2fs_block_bitmap_loc(fs, group), 1) ||
	    !in_fs(fs, ext2fs_inode_bitmap_loc(fs, group), 1) ||
	    !in_fs(fs, ext2fs_inode_table_loc(fs, group), fs->inode_blocks_per_group))
		return err_set(why, ERR_UNSUPPORTED,
			       "group %u: a bitmap or inode table outside the file system", group);
	return ERR_OK;
}

/* The bitmap of a group; *first is its first cluster, *count how many it really has. */
static enum err group_bits(ext2_filsys fs, dgrp_t group, uint8_t *bits, uint64_t *first,
			   uint64_t *count, struct err_why *why)
{
	uint64_t clusters_end = EXT2FS_B2C(fs, ext2fs_blocks_count(fs->super) - 1) + 1;
	uint32_t per_group = EXT2_CLUSTERS_PER_GROUP(fs->super);

	*first = EXT2FS_B2C(fs, fs->super->s_first_data_block) + (uint64_t)group * per_group;
	*count = min_u64(per_group, clusters_end - *first);
	if (ext2fs_get_block_bitmap_range2(fs->block_map, *first, per_group, bits))
		return err_set(why, ERR_UNSUPPORTED, "group %u: bitmap cannot be read", group);
	return ERR_OK;
}

static uint64_t count_free(const uint8_t *bits, uint64_t count)
{
	uint64_t used = 0;

	for (uint64_t i = 0; i < count / 8; i++)
		used += (unsigned)__builtin_popcount(bits[i]);
	if (count % 8)
		used += (unsigned)__builtin_popcount(bits[count / 8] & ((1u << count % 8) - 1));
	return count - used;
}

static enum err check_bitmap(ext2_filsys fs, uint8_t *bits, struct err_why *why)
{
	for (dgrp_t group = 0; group < fs->group_desc_count; group++) {
		uint64_t first, count;
		enum err e = group_bits(fs, group, bits, &first, &count, why);

		if (e)
			return e;
		if (count_free(bits, count) != ext2fs_bg_free_blocks_count(fs, group))
			return err_set(why, ERR_UNSUPPORTED,
				       "group %u: %llu clusters free in the bitmap, %u by the "
				       "descriptor",
				       group, (unsigned long long)count_free(bits, count),
				       ext2fs_bg_free_blocks_count(fs, group));
	}
	return ERR_OK;
}

static enum err report(ext2_filsys fs, struct guestfs_runs *runs, uint8_t *bits,
		       struct err_why *why)
{
	uint32_t cluster_bytes = fs->blocksize << fs->cluster_ratio_bits;

	runs->limit_bytes = ext2fs_blocks_count(fs->super) * fs->blocksize;
	for (dgrp_t group = 0; group < fs->group_desc_count; group++) {
		uint64_t first, count;
		enum err e = group_bits(fs, group, bits, &first, &count, why);

		if (e)
			return e;
		guestfs_runs_add_bits(runs, bits, count, first * cluster_bytes, cluster_bytes);
	}
	return ERR_OK;
}

static enum err read_groups(struct ext *ext, struct guestfs_runs *runs, struct err_why *why)
{
	uint8_t *bits;
	errcode_t code;
	enum err e;

	for (dgrp_t group = 0; group < ext->fs->group_desc_count; group++) {
		e = check_group(ext->fs, group, why);
		if (e)
			return e;
	}
	code = ext2fs_read_block_bitmap(ext->fs);
	if (code)
		return fail(ext, code, "block bitmap", why);
	bits = malloc(ext->fs->blocksize);
	if (!bits)
		return err_set(why, ERR_NOMEM, "no memory for the bitmap of a group");
	e = check_bitmap(ext->fs, bits, why);
	if (!e)
		e = report(ext->fs, runs, bits, why);
	free(bits);
	return e;
}

/* Open with `flags` and refuse what is unclean or out of bounds; close_fs in every case. */
static enum err open_checked(struct ext *ext, int flags, struct err_why *why)
{
	enum err e = open_fs(ext, flags, why);

	if (!e)
		e = check_clean(ext->fs->super, why);
	if (!e)
		e = check_counts(ext, why);
	return e;
}

enum err guestfs_ext_free(const struct guestfs_volume *volume, struct guestfs_runs *runs,
			  struct err_why *why)
{
	struct ext ext = {
	    .volume = volume,
	    .manager = {.magic = EXT2_ET_MAGIC_IO_MANAGER,
			.name = "strata disk",
			.open = io_open,
			.close = io_close,
			.set_blksize = io_set_blksize,
			.read_blk = io_read_blk,
			.read_blk64 = io_read_blk64,
			.write_blk = io_write_blk,
			.write_blk64 = io_write_blk64,
			.flush = io_flush},
	};
	/* Without the descriptors first: how much memory they take is for us to decide. */
	enum err e = open_checked(&ext, EXT2_FLAG_SUPER_ONLY, why);

	close_fs(&ext);
	if (!e)
		e = open_checked(&ext, 0, why);
	if (!e)
		e = read_groups(&ext, runs, why);
	close_fs(&ext);
	return e;
}
