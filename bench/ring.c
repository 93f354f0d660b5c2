/* SPDX-License-Identifier: MIT */
/*
 * A guest that does nothing but 4 KiB I/O at random places of a virtual disk: through VMBus rings,
 * the storage VSP, the VHD engine and io_uring, everything but a processor that runs in KVM. To be
 * compared with `vhdtool bench`, which is the last two of these alone.
 *
 *   ring FILE randread|randwrite cached|direct CHANNELS DEPTH SECONDS SIZE
 *
 * Each channel has a thread that plays the guest's processor: it fills its ring, signals when Linux
 * would, and sleeps for an interrupt when it has nothing to do. Only the first SIZE bytes are used;
 * randwrite destroys what is there. Prints JSON; host_cpu_s is the processor time of all but those
 * threads.
 */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/guest_storage.h"
#include "util/bytes.h"
#include "vhd/vhd.h"

#define PAGE      4096u
#define MAX_DEPTH 256u

/* Words of a ring's header. */
enum { WRITE_INDEX = 0, READ_INDEX = 4, INTERRUPT_MASK = 8, PENDING_SEND = 12 };

/* A command: descriptor, one range of one page, and the packet of the protocol. */
#define COMMAND_BYTES (16u + 8u + 8u + 8u + VSTOR_BYTES)
#define TRAILER_BYTES 8u
#define ANSWER_BYTES  (16u + VSTOR_BYTES + TRAILER_BYTES)

struct job {
	const char *path;
	bool write, direct;
	unsigned channels, depth, seconds;
	uint64_t pages;
	struct guest_bus g;
	struct disk *disk;
	struct storvsp *adapter;
	struct guid instance;
	atomic_bool stop;
};

struct processor {
	struct job *job;
	struct guest_channel ch;
	pthread_t thread;
	unsigned vp;
	uint64_t random, requests, kicks, interrupts;
	double cpu_s;
	unsigned in_flight;
	bool failed;
	uint8_t command[MAX_DEPTH][COMMAND_BYTES];
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static double seconds_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the ring, as Linux uses it ---- */

static uint32_t load(const struct guest_ring *ring, unsigned word)
{
	return __atomic_load_n((uint32_t *)(ring->header + word), __ATOMIC_ACQUIRE);
}

static void store(const struct guest_ring *ring, unsigned word, uint32_t value)
{
	__atomic_store_n((uint32_t *)(ring->header + word), value, __ATOMIC_SEQ_CST);
}

static void put(struct guest_ring *ring, const void *from, uint32_t len)
{
	uint32_t first = (uint32_t)min_u64(len, ring->size - ring->index);

	memcpy(ring->data + ring->index, from, first);
	memcpy(ring->data, (const uint8_t *)from + first, len - first);
	ring->index = (ring->index + len) % ring->size;
}

/* Never full: the ring holds more than the depth. */
static void send(struct processor *vp, unsigned slot)
{
	struct guest_ring *ring = &vp->ch.out;
	uint8_t *srb = vp->command[slot] + COMMAND_BYTES - VSTOR_BYTES;
	uint64_t page = next_random(&vp->random) % vp->job->pages;
	uint32_t before = ring->index;
	uint8_t trailer[TRAILER_BYTES];

	put_be64(srb + 28 + 2, page * (PAGE / DISK_SECTOR));
	put_le64(trailer, (uint64_t)before << 32);
	put(ring, vp->command[slot], COMMAND_BYTES);
	put(ring, trailer, TRAILER_BYTES);
	store(ring, WRITE_INDEX, ring->index);
	vp->in_flight++;
	if (!load(ring, INTERRUPT_MASK) && load(ring, READ_INDEX) == before) {
		vp->kicks++;
		guest_kick(&vp->ch);
	}
}

/* One completion; the transaction is the slot and one. */
static void completed(struct processor *vp, const uint8_t *answer, bool again)
{
	uint64_t slot = get_le64(answer + 8) - 1;

	vp->in_flight--;
	vp->requests++;
	if (slot >= vp->job->depth || vstor_result(answer + 16).srb_status != SRB_SUCCESS) {
		vp->failed = true;
		return;
	}
	if (again)
		send(vp, (unsigned)slot);
}

/* Returns whether there was something. */
static bool receive(struct processor *vp)
{
	struct guest_ring *ring = &vp->ch.in;
	bool again = !vp->failed && !atomic_load_explicit(&vp->job->stop, memory_order_relaxed);
	uint32_t before = ring->index;
	uint8_t answer[ANSWER_BYTES];

	while (load(ring, WRITE_INDEX) != ring->index) {
		uint32_t first = (uint32_t)min_u64(ANSWER_BYTES, ring->size - ring->index);

		memcpy(answer, ring->data + ring->index, first);
		memcpy(answer + first, ring->data, ANSWER_BYTES - first);
		ring->index = (ring->index + ANSWER_BYTES) % ring->size;
		completed(vp, answer, again);
	}
	store(ring, READ_INDEX, ring->index);
	if (load(ring, PENDING_SEND))
		guest_kick(&vp->ch);
	return ring->index != before;
}

static void sleep_for_interrupt(struct processor *vp)
{
	struct pollfd pfd = {synic_interrupt_fd(vp->job->g.synic, vp->vp), POLLIN, 0};
	uint64_t count;

	if (poll(&pfd, 1, 1000) == 1 && read(pfd.fd, &count, sizeof(count)) > 0)
		vp->interrupts++;
}

static void *processor_main(void *arg)
{
	struct processor *vp = arg;
	struct guest_ring *ring = &vp->ch.in;

	store(ring, INTERRUPT_MASK, 1);
	for (unsigned slot = 0; slot < vp->job->depth; slot++)
		send(vp, slot);
	while (vp->in_flight) {
		if (receive(vp))
			continue;
		store(ring, INTERRUPT_MASK, 0);
		guest_flag(&vp->ch);
		if (load(ring, WRITE_INDEX) == ring->index)
			sleep_for_interrupt(vp);
		store(ring, INTERRUPT_MASK, 1);
	}
	vp->cpu_s = seconds_of(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

/* ---- putting it up ---- */

static void make_command(struct processor *vp, unsigned slot, uint64_t gpa)
{
	struct guest_scsi what = guest_scsi_rw(vp->job->write, 0, PAGE / DISK_SECTOR, gpa);
	struct vstor_srb srb = {
	    .cdb_len = 16, .data_in = (uint8_t)what.data, .transfer_bytes = PAGE};
	uint8_t *p = vp->command[slot];

	memcpy(srb.cdb, what.cdb, sizeof(srb.cdb));
	put_le16(p, PACKET_GPA_DIRECT);
	put_le16(p + 2, (COMMAND_BYTES - VSTOR_BYTES) / 8);
	put_le16(p + 4, COMMAND_BYTES / 8);
	put_le16(p + 6, PACKET_WANTS_COMPLETION);
	put_le64(p + 8, slot + 1);
	put_le32(p + 20, 1);
	put_le32(p + 24, PAGE);
	put_le64(p + 32, gpa / GUEST_PAGE);
	vstor_put_srb(p + COMMAND_BYTES - VSTOR_BYTES, &srb);
}

static void make_processor(struct job *job, unsigned i, struct processor *vp)
{
	const struct guest_offer *offer = guest_offer_of(&job->g, &job->instance, i);
	uint64_t buffers = guest_alloc(&job->g, job->depth);
	uint8_t *memory = guest_at(&job->g, buffers, (uint64_t)job->depth * PAGE);

	*vp = (struct processor){.job = job, .vp = i, .random = 0x9e3779b97f4a7c15ull * (i + 1)};
	for (uint64_t at = 0; at < (uint64_t)job->depth * PAGE; at += 8)
		put_le64(memory + at, next_random(&vp->random)); /* zeros may not be written */
	for (unsigned slot = 0; slot < job->depth; slot++)
		make_command(vp, slot, buffers + (uint64_t)slot * PAGE);
	if (!offer || guest_open(&job->g, offer, GUEST_STORAGE_RING, i, &vp->ch))
		abort();
	if (!i)
		guest_storage_handshake(&vp->ch);
}

static void make_channels(struct job *job, struct processor *vps)
{
	make_processor(job, 0, &vps[0]);
	if (job->channels > 1 &&
	    guest_storage_do(&vps[0].ch, VSTOR_CREATE_SUB_CHANNELS, (uint16_t)(job->channels - 1)))
		abort();
	while (!guest_offer_of(&job->g, &job->instance, job->channels - 1))
		storvsp_run(job->adapter);
	for (unsigned i = 1; i < job->channels; i++)
		make_processor(job, i, &vps[i]);
}

static enum err start(struct job *job, struct err_why *why)
{
	struct vhd_open_opts opts = {.writable = job->write, .direct = job->direct};
	struct storvsp_opts adapter = {.instance = job->instance,
				       .max_sub_channels = job->channels - 1};
	struct storvsp_unit unit = {0};
	enum err err = vhd_open(job->path, &opts, &job->disk, why);

	if (err != ERR_OK)
		return err;
	guest_init(&job->g, &(struct guest_opts){.vp_count = job->channels});
	err = storvsp_create(job->g.bus, job->g.memory, &adapter, &job->adapter, why);
	if (err != ERR_OK)
		return err;
	unit.disk = job->disk;
	err = storvsp_attach(job->adapter, 0, &unit, why);
	guest_connect(&job->g);
	return err;
}

static enum err measure(struct job *job, struct processor *vps, struct err_why *why)
{
	uint64_t requests = 0, kicks = 0, interrupts = 0;
	bool failed = false;
	double start = seconds_of(CLOCK_MONOTONIC), seconds;
	double cpu_s = -seconds_of(CLOCK_PROCESS_CPUTIME_ID);

	for (unsigned i = 0; i < job->channels; i++)
		if (pthread_create(&vps[i].thread, NULL, processor_main, &vps[i]))
			abort();
	sleep(job->seconds);
	atomic_store(&job->stop, true);
	for (unsigned i = 0; i < job->channels; i++) {
		pthread_join(vps[i].thread, NULL);
		requests += vps[i].requests;
		kicks += vps[i].kicks;
		interrupts += vps[i].interrupts;
		cpu_s -= vps[i].cpu_s;
		failed |= vps[i].failed;
	}
	seconds = seconds_of(CLOCK_MONOTONIC) - start;
	cpu_s += seconds_of(CLOCK_PROCESS_CPUTIME_ID);
	if (failed)
		return err_set(why, ERR_IO, "a request of the guest failed");
	printf("{\"rw\": \"%s\", \"channels\": %u, \"iodepth\": %u, \"seconds\": %.3f, "
	       "\"requests\": %" PRIu64 ", \"iops\": %.1f, \"host_cpu_s\": %.6f"
	       ", \"signals\": %" PRIu64 ", \"interrupts\": %" PRIu64 "}\n",
	       job->write ? "randwrite" : "randread", job->channels, job->depth, seconds, requests,
	       (double)requests / seconds, cpu_s, kicks, interrupts);
	return ERR_OK;
}

static bool take_arguments(struct job *job, char **arg)
{
	job->path = arg[0];
	job->write = !strcmp(arg[1], "randwrite");
	job->direct = !strcmp(arg[2], "direct");
	job->channels = (unsigned)strtoul(arg[3], NULL, 10);
	job->depth = (unsigned)strtoul(arg[4], NULL, 10);
	job->seconds = (unsigned)strtoul(arg[5], NULL, 10);
	job->pages = strtoull(arg[6], NULL, 10) / PAGE;
	memset(job->instance.b, 7, sizeof(job->instance.b));
	return job->channels && job->channels <= GUEST_MAX_VPS && job->depth &&
	       job->depth <= MAX_DEPTH && job->pages;
}

int main(int argc, char **argv)
{
	static struct processor vps[GUEST_MAX_VPS];
	static struct job job;
	struct err_why why = {0};
	enum err err;

	if (argc != 8 || !take_arguments(&job, argv + 1)) {
		fprintf(stderr, "usage: ring FILE randread|randwrite cached|direct CHANNELS DEPTH "
				"SECONDS SIZE\n");
		return 64;
	}
	err = start(&job, &why);
	if (err == ERR_OK) {
		make_channels(&job, vps);
		err = measure(&job, vps, &why);
		storvsp_destroy(job.adapter);
		guest_fini(&job.g);
	}
	if (err == ERR_OK)
		err = disk_close(job.disk, &why);
	if (err == ERR_OK)
		return 0;
	fprintf(stderr, "ring: %s\n", why.text);
	return 1;
}
