/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_HV_STORAGE_LAB_H
#define STRATA_TESTS_HV_STORAGE_LAB_H

/*
 * A guest with a storage adapter whose unit 0 is a real VHD in memory, behind a gate: the bench of
 * the tests of the storage VSP.
 */

#include "block/fault.h"
#include "tests/lib/gate_disk.h"
#include "tests/lib/guest_storage.h"
#include "tests/unit/vhd_lab.h"

#define SLAB_BYTES  (16 * MIB)
#define SLAB_BLOCKS (SLAB_BYTES / DISK_SECTOR)

struct slab {
	struct vlab files;
	struct disk *vhd;  /* dynamic, SLAB_BYTES, blocks of 64 KiB */
	struct disk *disk; /* the gate above it */
	struct guest_bus g;
	struct storvsp *adapter;
	struct guid instance;
	struct guest_channel ch; /* open and ready after slab_start */
	uint64_t buffer;         /* 1 MiB of guest memory */
};

extern struct slab slab;

/* Everything but the connection. */
void slab_make(unsigned sub_channels);
/* And the guest is ready to use unit 0. */
void slab_start(unsigned sub_channels);
void slab_stop(void);

/* The buffer's bytes. */
uint8_t *slab_at(uint64_t offset);
/* Fill `len` bytes of the buffer with bytes that depend on `seed`; whether they are these. */
void slab_fill(uint64_t offset, size_t len, uint64_t seed);
bool slab_holds(uint64_t offset, size_t len, uint64_t seed);
/* Wait until so many requests are at the (shut) gate. */
void slab_await_gate(unsigned count);

struct storvsp_stats slab_stats(unsigned lun);
/* Ask for sub-channels, let the bus offer them; whether the host agreed. */
bool slab_ask_subs(unsigned count);
/* The next ENUMERATE_BUS; false: none within a while. Other packets abort. */
bool slab_notice(unsigned timeout_ms);

#endif
