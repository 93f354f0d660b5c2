/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/hv_hostile_storage.h"

#define CANARY_AT   524288u
#define CANARY_SEED 4711u
#define CANARY_LEN  65536u

struct guest_packet hostile_got;

void hostile_start(void)
{
	slab_start(2);
	slab_fill(CANARY_AT, CANARY_LEN, CANARY_SEED);
}

void hostile_serves(const char *name)
{
	cr_assert(slab_holds(CANARY_AT, CANARY_LEN, CANARY_SEED), "%s: foreign memory", name);
	cr_assert(guest_write(&slab.ch, 8, 8, slab.buffer + CANARY_AT), "%s: no service", name);
	cr_assert(guest_read(&slab.ch, 8, 8, slab.buffer + CANARY_AT), "%s: no service", name);
	cr_assert(slab_holds(CANARY_AT, CANARY_LEN, CANARY_SEED), "%s: wrong data", name);
}

void hostile_stops(const char *name)
{
	static uint64_t faults;

	for (unsigned ms = 0; storvsp_fault_count(slab.adapter) == faults; ms++) {
		cr_assert_lt(ms, 20000, "%s: was not noticed", name);
		usleep(1000);
	}
	cr_assert_eq(storvsp_fault_count(slab.adapter), ++faults, "%s", name);
	cr_assert_not(guest_receive(&slab.ch, &hostile_got, 0), "%s: was answered", name);
	/* nor is what is right answered any more */
	guest_scsi_send(&slab.ch, 1, &(struct guest_scsi){.cdb = {0}});
	cr_assert_not(guest_receive(&slab.ch, &hostile_got, 5), "%s: goes on", name);
	guest_close(&slab.ch);
	guest_storage_open(&slab.g, &slab.instance, 0, &slab.ch);
}

void hostile_ends(const char *name, uint64_t id, const struct end *end)
{
	struct vstor_result result;

	if (end->outcome == STOPPED) {
		hostile_stops(name);
		return;
	}
	cr_assert(guest_receive(&slab.ch, &hostile_got, GUEST_PATIENCE_MS), "%s: no completion",
		  name);
	cr_assert_eq(hostile_got.type, PACKET_COMPLETION, "%s", name);
	cr_assert_eq(hostile_got.transaction, id, "%s", name);
	cr_assert_eq(hostile_got.len, VSTOR_BYTES, "%s", name);
	cr_assert_eq(vstor_header(hostile_got.b).operation, VSTOR_COMPLETE_IO, "%s", name);
	cr_assert_not(guest_receive(&slab.ch, &hostile_got, 0), "%s: completed twice", name);
	result = vstor_result(hostile_got.b);
	if (end->outcome == STATUS) {
		cr_assert_eq(vstor_header(hostile_got.b).status, end->a, "%s: status %#x", name,
			     vstor_header(hostile_got.b).status);
		return;
	}
	cr_assert_eq(vstor_header(hostile_got.b).status, 0, "%s", name);
	switch (end->outcome) {
	case SRB:
		cr_assert_eq(result.srb_status, end->a, "%s: SRB status %#x", name,
			     result.srb_status);
		cr_assert_eq(result.transfer_bytes, 0, "%s", name);
		break;
	case SENSE:
		cr_assert(
		    guest_scsi_sense(&result, (uint8_t)end->a, (uint8_t)end->b, (uint8_t)end->c),
		    "%s: SRB status %#x, sense %u/%02x/%02x", name, result.srb_status,
		    result.sense[2], result.sense[12], result.sense[13]);
		cr_assert_eq(result.transfer_bytes, 0, "%s", name);
		break;
	case SHORT:
		cr_assert_eq(result.srb_status, SRB_DATA_OVERRUN, "%s", name);
		cr_assert_eq(result.transfer_bytes, end->a, "%s: %u moved", name,
			     result.transfer_bytes);
		break;
	default:
		cr_assert(guest_scsi_good(&result, end->a), "%s: SRB status %#x, %u moved", name,
			  result.srb_status, result.transfer_bytes);
		break;
	}
}
