/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a command block and a parameter list. Oracle: what is decoded lies inside the unit,
 * and so does each request to the disk that is made of it; answers are no longer than asked for.
 */
#include <stdlib.h>

#include "hv/scsi.h"
#include "tests/lib/fuzz_image.h"
#include "util/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void check_range(struct scsi_range range, uint64_t blocks)
{
	uint64_t end;

	must(checked_add(range.lba, range.blocks, &end) && end <= blocks);
}

static void check_req(const struct scsi_command *command, struct scsi_range range, uint64_t blocks)
{
	struct disk_req req = {0};
	uint64_t end;

	check_range(range, blocks);
	scsi_disk_req(command, range, &req);
	must(req.op <= DISK_TRIM);
	must(req.len_bytes % SCSI_BLOCK == 0 && req.off_bytes % SCSI_BLOCK == 0);
	must(checked_add(req.off_bytes, req.len_bytes, &end) && end <= blocks * SCSI_BLOCK);
}

static void check_params(const struct scsi_command *command, uint64_t blocks, const uint8_t *params,
			 size_t len)
{
	struct scsi_range range[SCSI_UNMAP_RANGES];
	struct scsi_sense sense = {0};
	unsigned count;

	/* What a caller passes on is no longer than the command says. */
	len = min_u64(len, min_u64(command->data_bytes, SCSI_PARAMS_MAX));
	if (!scsi_take_params(command, blocks, params, len, range, &count, &sense)) {
		must(sense.key);
		return;
	}
	must(count <= SCSI_UNMAP_RANGES);
	for (unsigned i = 0; i < count; i++) {
		must(range[i].blocks && range[i].blocks <= SCSI_ZERO_BLOCKS);
		check_req(command, range[i], blocks);
	}
}

static void check_answer(const struct scsi_answer *answer, uint32_t most)
{
	must(answer->len <= SCSI_ANSWER_MAX && answer->len <= most);
	must(answer->status == SCSI_GOOD || (answer->sense.key && !answer->len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t flags = fuzz_u8(&input), len = fuzz_u8(&input) % 18, cdb[32] = {0};
	struct scsi_unit unit = {
	    /* small, or any up to what 64 bits of bytes can name */
	    .blocks = flags & 1 ? 0x1000 : (uint64_t)fuzz_u32(&input) << (flags >> 5) | 1,
	    .optimal_bytes = flags & 2 ? 2u << 20 : 0,
	    .max_transfer_bytes = 256u << 10,
	    .readonly = flags & 4,
	    .can_trim = flags & 8,
	};
	struct scsi_command command;
	struct scsi_sense sense = {0};
	struct scsi_answer answer;

	for (unsigned i = 0; i < SCSI_CDB_MAX; i++)
		cdb[i] = fuzz_u8(&input);
	if (scsi_execute_absent(cdb, len, flags & 16 ? UINT64_MAX : 0, &answer))
		check_answer(&answer, UINT32_MAX);
	if (!scsi_decode(cdb, len, unit.blocks, &command, &sense) ||
	    !scsi_admit(&unit, &command, &sense)) {
		must(sense.key);
		return 0;
	}
	check_range((struct scsi_range){command.lba, command.blocks}, unit.blocks);
	if (scsi_wants_params(&command)) {
		check_params(&command, unit.blocks, input.data, input.len);
	} else if (scsi_is_io(&command)) {
		must(command.action == SCSI_FLUSH ||
		     command.data_bytes == command.blocks * SCSI_BLOCK);
		check_req(&command, (struct scsi_range){command.lba, command.blocks}, unit.blocks);
	} else {
		scsi_execute(&unit, flags, &command, &answer);
		check_answer(&answer, command.data_bytes);
	}
	return 0;
}
