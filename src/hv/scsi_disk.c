/* SPDX-License-Identifier: MIT */

/* From a command to what the disk has to do. */

#include "hv/scsi.h"
#include "util/bytes.h"

#define UNMAP_HEADER     8u
#define UNMAP_DESCRIPTOR 16u

static bool refuse(struct scsi_sense *sense, struct scsi_sense what)
{
	*sense = what;
	return false;
}

/* SBC-3, 5.28: descriptors that are cut off do not count; one that is empty does nothing. */
static bool take_unmap(uint64_t blocks, const uint8_t *params, size_t len, struct scsi_range *out,
		       unsigned *count, struct scsi_sense *sense)
{
	size_t bytes;

	if (!len)
		return true;
	if (len < UNMAP_HEADER)
		return refuse(sense, SCSI_PARAMS_LENGTH);
	bytes = (size_t)min_u64(get_be16(params + 2), len - UNMAP_HEADER);
	if (bytes / UNMAP_DESCRIPTOR > SCSI_UNMAP_RANGES)
		return refuse(sense, SCSI_INVALID_PARAMS);
	for (size_t at = 0; at + UNMAP_DESCRIPTOR <= bytes; at += UNMAP_DESCRIPTOR) {
		const uint8_t *descriptor = params + UNMAP_HEADER + at;
		struct scsi_range range = {get_be64(descriptor), get_be32(descriptor + 8)};
		uint64_t end;

		if (range.blocks > SCSI_ZERO_BLOCKS)
			return refuse(sense, SCSI_INVALID_PARAMS);
		if (!checked_add(range.lba, range.blocks, &end) || end > blocks)
			return refuse(sense, SCSI_OUT_OF_RANGE);
		if (range.blocks)
			out[(*count)++] = range;
	}
	return true;
}

bool scsi_take_params(const struct scsi_command *command, uint64_t blocks, const uint8_t *params,
		      size_t len, struct scsi_range *out, unsigned *count, struct scsi_sense *sense)
{
	*count = 0;
	if (command->action == SCSI_UNMAP)
		return take_unmap(blocks, params, len, out, count, sense);
	/* WRITE SAME: nothing but zeros can be repeated without writing it all. */
	if (!command->no_data && (len < SCSI_BLOCK || !bytes_are_zero(params, SCSI_BLOCK)))
		return refuse(sense, SCSI_INVALID_FIELD);
	out[(*count)++] = (struct scsi_range){command->lba, command->blocks};
	return true;
}

void scsi_disk_req(const struct scsi_command *command, struct scsi_range range,
		   struct disk_req *req)
{
	static const enum disk_op ops[] = {
	    [SCSI_READ] = DISK_READ,  [SCSI_WRITE] = DISK_WRITE,     [SCSI_FLUSH] = DISK_FLUSH,
	    [SCSI_UNMAP] = DISK_TRIM, [SCSI_WRITE_SAME] = DISK_ZERO,
	};

	req->op = ops[command->action];
	req->flags = 0;
	req->off_bytes = range.lba * SCSI_BLOCK;
	req->len_bytes = range.blocks * SCSI_BLOCK;
	if (req->op == DISK_FLUSH)
		req->off_bytes = req->len_bytes = 0;
	if (req->op == DISK_WRITE && command->fua)
		req->flags = DISK_FUA;
	if (req->op == DISK_ZERO && !command->unmap)
		req->flags = DISK_KEEP_SPACE;
}
