/* SPDX-License-Identifier: MIT */
#include "tests/unit/hv_storage_lab.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/random.h"

struct slab slab;

#define BUFFER_BYTES (1u << 20)

void slab_make(unsigned sub_channels)
{
	struct storvsp_opts opts = {.max_sub_channels = sub_channels};
	struct err_why why = {0};

	slab = (struct slab){0};
	memset(opts.instance.b, 0x5A, sizeof(opts.instance.b));
	slab.instance = opts.instance;
	vlab_start(&slab.files);
	vlab_create(&slab.files, "/d/disk.vhd", VHD_DYNAMIC, SLAB_BYTES, NULL);
	slab.vhd = vlab_open(&slab.files, "/d/disk.vhd", true);
	slab.disk = gate_disk_new(slab.vhd);
	guest_init(&slab.g, &(struct guest_opts){.vp_count = 2});
	slab.buffer = guest_alloc(&slab.g, BUFFER_BYTES / GUEST_PAGE);
	cr_assert_eq(storvsp_create(slab.g.bus, slab.g.memory, &opts, &slab.adapter, &why), ERR_OK,
		     "%s", why.text);
}

void slab_start(unsigned sub_channels)
{
	struct storvsp_unit unit;
	struct err_why why = {0};

	slab_make(sub_channels);
	unit = (struct storvsp_unit){.disk = slab.disk, .id = {{1, 2, 3}}};
	cr_assert_eq(storvsp_attach(slab.adapter, 0, &unit, &why), ERR_OK, "%s", why.text);
	guest_connect(&slab.g);
	guest_storage_open(&slab.g, &slab.instance, 0, &slab.ch);
}

void slab_stop(void)
{
	gate_open(slab.disk);
	storvsp_destroy(slab.adapter);
	guest_fini(&slab.g);
	disk_close(slab.disk, NULL);
	vlab_stop(&slab.files);
}

uint8_t *slab_at(uint64_t offset)
{
	return guest_at(&slab.g, slab.buffer + offset, 1);
}

void slab_fill(uint64_t offset, size_t len, uint64_t seed)
{
	struct rng rng = rng_seed(seed);

	rng_fill(&rng, guest_at(&slab.g, slab.buffer + offset, len), len);
}

bool slab_holds(uint64_t offset, size_t len, uint64_t seed)
{
	struct rng rng = rng_seed(seed);
	uint8_t *expected = malloc(len);
	bool same;

	rng_fill(&rng, expected, len);
	same = !memcmp(guest_at(&slab.g, slab.buffer + offset, len), expected, len);
	free(expected);
	return same;
}

void slab_await_gate(unsigned count)
{
	for (unsigned ms = 0; gate_waiting(slab.disk) < count; ms++) {
		cr_assert_lt(ms, 20000, "%u of %u at the gate", gate_waiting(slab.disk), count);
		usleep(1000);
	}
	cr_assert_eq(gate_waiting(slab.disk), count);
}

struct storvsp_stats slab_stats(unsigned lun)
{
	struct storvsp_stats stats = {0};

	cr_assert(storvsp_get_stats(slab.adapter, lun, &stats));
	return stats;
}

bool slab_ask_subs(unsigned count)
{
	uint32_t status = guest_storage_do(&slab.ch, VSTOR_CREATE_SUB_CHANNELS, (uint16_t)count);

	/* It is written to after the answer. */
	for (unsigned ms = 0; !status && count && ms < 20000; ms++) {
		storvsp_run(slab.adapter);
		if (guest_offer_of(&slab.g, &slab.instance, count))
			return true;
		usleep(1000);
	}
	return !status && !count;
}

bool slab_notice(unsigned timeout_ms)
{
	static struct guest_packet packet;

	if (!guest_receive(&slab.ch, &packet, timeout_ms))
		return false;
	cr_assert_eq(packet.type, PACKET_INBAND);
	cr_assert_eq(packet.flags, 0);
	cr_assert_eq(packet.transaction, 0);
	cr_assert_eq(packet.len, VSTOR_BYTES);
	cr_assert_eq(vstor_header(packet.b).operation, VSTOR_ENUMERATE_BUS);
	return true;
}
