/* SPDX-License-Identifier: MIT */

/* One SCSI command: from the guest's packet to the disk, and back. */

#include <string.h>

#include "block/iov.h"
#include "hv/storvsp_private.h"
#include "util/bytes.h"

/* ---- the end of a command ---- */

static void finish(struct vsp_request *req, const struct vstor_result *result)
{
	struct vsp_channel *ch = req->ch;
	struct storvsp *adapter = ch->adapter;
	unsigned left;

	vstor_answer_srb(req->packet, result);
	if (req->unit)
		vsp_unit_put(adapter, req->unit);
	req->unit = NULL;
	left = atomic_load_explicit(&ch->outstanding[req->phase], memory_order_relaxed) - 1;
	atomic_store(&ch->outstanding[req->phase], left);
	vsp_complete(req);
	if (!left && atomic_load(&adapter->resetting))
		vsp_reset_check(adapter);
}

static void finish_status(struct vsp_request *req, enum srb_status status)
{
	finish(req, &(struct vstor_result){.srb_status = (uint8_t)status});
}

static void finish_good(struct vsp_request *req, uint32_t bytes)
{
	finish(req, &(struct vstor_result){
			.srb_status = req->overrun ? SRB_DATA_OVERRUN : SRB_SUCCESS,
			.transfer_bytes = bytes,
		    });
}

static void finish_sense(struct vsp_request *req, struct scsi_sense sense)
{
	struct vstor_result result = {
	    .srb_status = SRB_ERROR | SRB_SENSE_VALID,
	    .scsi_status = SCSI_CHECK_CONDITION,
	    .sense_len = SCSI_SENSE_BYTES,
	};

	scsi_put_sense(result.sense, sense);
	finish(req, &result);
}

/* ---- the guest's buffer ---- */

/* Append the `len` bytes at `gpa`; joins what lies together in our memory, too. */
static bool add_piece(struct vsp_request *req, uint64_t gpa, uint32_t len, enum memory_use use)
{
	uint8_t *at = memory_at(req->ch->adapter->memory, gpa, len, use);
	struct iovec *last = req->disk.iov_count ? &req->iov[req->disk.iov_count - 1] : NULL;

	if (!at)
		return false;
	if (last && (uint8_t *)last->iov_base + last->iov_len == at) {
		last->iov_len += len;
		return true;
	}
	if (req->disk.iov_count == VSP_MAX_IOV)
		return false;
	req->iov[req->disk.iov_count++] = (struct iovec){at, len};
	return true;
}

/*
 * Make req->iov of the first *limit bytes of what the packet's ranges name; *limit is how many
 * there are then. False: not well formed, or not RAM. The packet is a copy; memory is named by it
 * only once here (G1).
 */
static bool take_buffer(struct vsp_request *req, const struct packet *packet, uint32_t *limit,
			enum memory_use use)
{
	uint32_t at = 8, wanted = *limit, have = 0, ranges;

	*limit = 0;
	req->disk.iov_count = 0;
	if (packet->type != PACKET_GPA_DIRECT)
		return true;
	if (packet->head_bytes < at)
		return false;
	ranges = get_le32(packet->head + 4);
	for (uint32_t i = 0; i < ranges && have < wanted; i++) {
		uint32_t bytes, offset;

		if (packet->head_bytes - at < 8)
			return false;
		bytes = get_le32(packet->head + at);
		offset = get_le32(packet->head + at + 4);
		at += 8;
		if (!bytes || offset >= GUEST_PAGE)
			return false;
		while (bytes) {
			uint32_t rest = GUEST_PAGE - offset, piece = bytes < rest ? bytes : rest;
			uint64_t pfn;

			if (packet->head_bytes - at < 8)
				return false;
			pfn = get_le64(packet->head + at);
			at += 8;
			bytes -= piece;
			piece = (uint32_t)min_u64(piece, wanted - have);
			if (piece && (pfn >= MEMORY_MAX / GUEST_PAGE ||
				      !add_piece(req, pfn * GUEST_PAGE + offset, piece, use)))
				return false;
			have += piece;
			offset = 0;
		}
	}
	*limit = have;
	return true;
}

/* ---- the disk ---- */

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void count(struct vsp_request *req, uint64_t bytes)
{
	struct vsp_stats *stats = &req->unit->stats;

	switch (req->command.action) {
	case SCSI_READ:
		add(&stats->read_ops, 1);
		add(&stats->read_bytes, bytes);
		break;
	case SCSI_WRITE:
		add(&stats->write_ops, 1);
		add(&stats->write_bytes, bytes);
		break;
	case SCSI_FLUSH:
		add(&stats->flush_ops, 1);
		break;
	default:
		add(&stats->unmap_ops, 1);
		break;
	}
}

static void start_range(struct vsp_request *req);

static void disk_finished(struct disk_req *disk)
{
	struct vsp_request *req = container_of(disk, struct vsp_request, disk);

	if (disk->result != ERR_OK) {
		struct scsi_sense sense = scsi_failure(disk->op, disk->result);

		if (sense.key == 3 || sense.key == 4)
			add(&req->unit->stats.errors, 1);
		finish_sense(req, sense);
	} else if (req->range_next < req->range_count) {
		start_range(req);
	} else {
		count(req, req->moved_bytes);
		finish_good(req, req->moved_bytes);
	}
}

static void submit(struct vsp_request *req)
{
	req->disk.done = disk_finished;
	disk_submit(req->unit->what.disk, req->ch->queue, &req->disk);
}

/* UNMAP and WRITE SAME: one range after the other. */
static void start_range(struct vsp_request *req)
{
	scsi_disk_req(&req->command, req->range[req->range_next++], &req->disk);
	req->disk.iov_count = 0;
	submit(req);
}

static void start_ranges(struct vsp_request *req, uint64_t blocks, uint32_t len)
{
	uint8_t params[SCSI_PARAMS_MAX];
	struct scsi_sense sense;

	/* Out of the guest's reach first; the ranges will take the place of the buffer's list. */
	iov_gather(req->iov, req->disk.iov_count, params);
	if (!scsi_take_params(&req->command, blocks, params, len, req->range, &req->range_count,
			      &sense)) {
		finish_sense(req, sense);
		return;
	}
	req->moved_bytes = len;
	req->range_next = 0;
	if (req->range_count)
		start_range(req);
	else
		finish_good(req, len);
}

static void start_transfer(struct vsp_request *req, uint32_t len)
{
	struct scsi_range range = {req->command.lba, len / SCSI_BLOCK};

	if (len % SCSI_BLOCK) {
		finish_status(req, SRB_INVALID_REQUEST);
		return;
	}
	req->moved_bytes = len;
	req->range_next = req->range_count = 0;
	scsi_disk_req(&req->command, range, &req->disk);
	req->disk.iov = req->iov;
	submit(req);
}

/* ---- the start of a command ---- */

/* Data the guest asked for goes as far as its buffer has room. */
static void give(struct vsp_request *req, const struct packet *packet, uint32_t room,
		 const struct scsi_answer *answer)
{
	uint32_t len = (uint32_t)min_u64(room, answer->len);

	if (answer->status != SCSI_GOOD) {
		finish_sense(req, answer->sense);
		return;
	}
	if (!take_buffer(req, packet, &len, MEMORY_WRITE)) {
		finish_status(req, SRB_INVALID_REQUEST);
		return;
	}
	iov_scatter(req->iov, req->disk.iov_count, answer->data);
	finish_good(req, len);
}

static void start_absent(struct vsp_request *req, const struct packet *packet,
			 const struct vstor_srb *srb)
{
	bool ours = !srb->path && !srb->target;
	struct scsi_answer answer;

	if (scsi_execute_absent(srb->cdb, srb->cdb_len, ours ? vsp_units(req->ch->adapter) : 0,
				&answer))
		give(req, packet, srb->transfer_bytes, &answer);
	else if (ours)
		finish_status(req, SRB_INVALID_LUN);
	else
		/* That status would make the guest remove a unit of path 0. */
		finish_sense(req, SCSI_NO_UNIT);
}

static struct scsi_unit facts(const struct vsp_unit *unit)
{
	struct disk_info info;

	disk_get_info(unit->what.disk, &info);
	return (struct scsi_unit){
	    .id = unit->what.id,
	    .blocks = info.size_bytes / SCSI_BLOCK,
	    .optimal_bytes = info.optimal_bytes,
	    .max_transfer_bytes = STORVSP_MAX_TRANSFER,
	    .readonly = unit->what.readonly || !info.writable,
	    .can_trim = info.can_trim,
	};
}

/* G5: what is moved is no more than command, packet and buffer all allow. */
static void start_io(struct vsp_request *req, const struct packet *packet,
		     const struct vstor_srb *srb, const struct scsi_unit *unit)
{
	const struct scsi_command *command = &req->command;
	enum vstor_data direction = command->data_out ? VSTOR_DATA_OUT : VSTOR_DATA_IN;
	uint32_t len = (uint32_t)min_u64(command->data_bytes, srb->transfer_bytes);

	if ((command->data_bytes && srb->data_in != direction) || len > STORVSP_MAX_TRANSFER ||
	    !take_buffer(req, packet, &len, command->data_out ? MEMORY_READ : MEMORY_WRITE) ||
	    (command->data_bytes && !len)) {
		finish_status(req, SRB_INVALID_REQUEST);
		return;
	}
	req->overrun = len < command->data_bytes;
	if (!scsi_wants_params(command))
		start_transfer(req, len);
	else if (len > SCSI_PARAMS_MAX)
		finish_sense(req, SCSI_PARAMS_LENGTH);
	else
		start_ranges(req, unit->blocks, len);
}

static void start_present(struct vsp_request *req, const struct packet *packet,
			  const struct vstor_srb *srb)
{
	struct scsi_unit unit = facts(req->unit);
	struct scsi_answer answer;
	struct scsi_sense sense;
	bool understood = scsi_decode(srb->cdb, srb->cdb_len, unit.blocks, &req->command, &sense);

	if (atomic_load_explicit(&req->unit->resized, memory_order_relaxed) &&
	    scsi_reports_attention(&req->command) && atomic_exchange(&req->unit->resized, false)) {
		finish_sense(req, SCSI_CAPACITY_CHANGED);
	} else if (!understood || !scsi_admit(&unit, &req->command, &sense)) {
		finish_sense(req, sense);
	} else if (scsi_is_io(&req->command)) {
		start_io(req, packet, srb, &unit);
	} else {
		scsi_execute(&unit, vsp_units(req->ch->adapter), &req->command, &answer);
		give(req, packet, srb->transfer_bytes, &answer);
	}
}

void vsp_srb_start(struct vsp_request *req, const struct packet *packet)
{
	struct vstor_srb srb = vstor_srb(req->packet);
	struct vsp_channel *ch = req->ch;
	struct storvsp *adapter = ch->adapter;

	req->phase = atomic_load(&adapter->phase);
	atomic_fetch_add_explicit(&ch->outstanding[req->phase], 1, memory_order_relaxed);
	req->overrun = false;
	req->disk = (struct disk_req){0};
	req->unit = srb.path || srb.target ? NULL : vsp_unit_take(adapter, srb.lun);
	if (!srb.cdb_len || srb.cdb_len > VSTOR_CDB_BYTES)
		finish_status(req, SRB_INVALID_REQUEST);
	else if (req->unit)
		start_present(req, packet, &srb);
	else
		start_absent(req, packet, &srb);
}
