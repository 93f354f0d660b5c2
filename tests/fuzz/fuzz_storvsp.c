/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a guest of the storage VSP: a list of packets, each with its kind, its ranges and
 * its payload, sent over a real ring to a real adapter with a real disk behind. Oracle: nothing
 * crashes or hangs, each request is completed once, nothing is written outside the buffers, and
 * what is right is done afterwards.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fuzz_image.h"
#include "tests/lib/guest_storage.h"
#include "util/bytes.h"
#include "vhd/vhd.h"

#define PATH        "/f/disk.vhd"
#define DISK_BYTES  (4ull << 20)
#define BUFFER      64u /* pages; behind them one that nobody may touch */
#define MAX_PACKETS 40u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Made once, and used for all inputs. */
static struct {
	struct mem_ns *files;
	struct disk *disk;
	struct guest_bus g;
	struct storvsp *adapter;
	struct guid instance;
	uint64_t buffer;
	uint64_t next_page; /* of the guest, free for a connection */
	struct guest_channel ch;
	unsigned sent, completed;
	uint64_t faults; /* before */
} f;

static void must(bool good)
{
	if (!good)
		abort();
}

static void make(void)
{
	struct vhd_create_opts create = {.type = VHD_DYNAMIC, .size_bytes = DISK_BYTES};
	struct vhd_open_opts open = {.writable = true};
	struct storvsp_opts opts = {.max_sub_channels = 2, .instance = {{1}}};
	struct storvsp_unit unit = {.id = {{2}}};

	f.files = mem_ns_new();
	create.ns = open.ns = mem_ns_base(f.files);
	create.block_size = VHD_MIN_BLOCK;
	must(!vhd_create(PATH, &create, NULL) && !vhd_open(PATH, &open, &f.disk, NULL));
	f.instance = opts.instance;
	unit.disk = f.disk;
	guest_init(&f.g, &(struct guest_opts){0});
	f.buffer = guest_alloc(&f.g, BUFFER + 1);
	must(!storvsp_create(f.g.bus, f.g.memory, &opts, &f.adapter, NULL));
	must(!storvsp_attach(f.adapter, 0, &unit, NULL));
	f.next_page = f.g.next_page;
}

/* A new connection, in the memory the last one had. */
static void reopen(void)
{
	f.g.next_page = f.next_page;
	guest_connect(&f.g);
	guest_storage_open(&f.g, &f.instance, 0, &f.ch);
}

/* A page number: mostly of the buffer, else anything. */
static uint64_t page_number(struct fuzz_input *input)
{
	uint8_t how = fuzz_u8(input);

	if (how < 0xF0)
		return f.buffer / GUEST_PAGE + how % BUFFER;
	/* of RAM only the buffer's: the rings must stay what they are */
	return (uint64_t)fuzz_u32(input) << (how & 7) | 0x4000;
}

static size_t make_ranges(struct fuzz_input *input, uint8_t head[512])
{
	uint8_t shape = fuzz_u8(input);
	unsigned pages = fuzz_u8(input) % 40;
	size_t at = 16;

	memset(head, 0, 512);
	put_le32(head + 4, shape & 1 ? fuzz_u32(input) : 1);
	put_le32(head + 8, shape & 2 ? fuzz_u32(input) : pages * GUEST_PAGE);
	put_le32(head + 12, shape & 4 ? fuzz_u32(input) : (shape >> 4) * 256u);
	for (; pages; pages--, at += 8)
		put_le64(head + at, page_number(input));
	return shape & 8 ? fuzz_u8(input) : at;
}

static void make_packet(struct fuzz_input *input, uint8_t packet[VSTOR_BYTES])
{
	uint8_t how = fuzz_u8(input);
	struct vstor_srb srb = {
	    .lun = how & 1 ? fuzz_u8(input) : 0,
	    .path = how & 2 ? fuzz_u8(input) : 0,
	    .target = how & 4 ? fuzz_u8(input) : 0,
	    .cdb_len = how & 8 ? fuzz_u8(input) : 16,
	    .data_in = fuzz_u8(input) % 3,
	    .transfer_bytes = how & 16 ? fuzz_u32(input) : fuzz_u8(input) * 512u,
	};

	for (unsigned i = 0; i < sizeof(srb.cdb); i++)
		srb.cdb[i] = fuzz_u8(input);
	vstor_put_srb(packet, &srb);
	if (how & 32)
		put_le32(packet, fuzz_u8(input));
	if (how & 64)
		put_le16(packet + 12, (uint16_t)fuzz_u32(input));
}

/* Room for all answers is never short: so what is missing in the end was not completed. */
static void send(struct fuzz_input *input)
{
	uint8_t kind = fuzz_u8(input), head[512], packet[VSTOR_BYTES];
	bool direct = kind & 1, odd = kind >= 0xFC;
	size_t head_len = direct ? make_ranges(input, head) : 0;
	uint16_t type = direct ? PACKET_GPA_DIRECT : PACKET_INBAND;

	make_packet(input, packet);
	if (odd)
		type = fuzz_u8(input);
	must(guest_send(&f.ch, type, odd ? fuzz_u8(input) : PACKET_WANTS_COMPLETION, f.sent + 1,
			head, head_len, packet,
			kind & 2 && odd ? fuzz_u8(input) % 65 : VSTOR_BYTES));
	f.sent++;
}

static void take_answer(const struct guest_packet *got, bool seen[MAX_PACKETS + 1])
{
	if (got->type != PACKET_COMPLETION)
		return;
	must(got->len == VSTOR_BYTES && got->transaction && got->transaction <= f.sent);
	must(!seen[got->transaction]);
	seen[got->transaction] = true;
	f.completed++;
}

static void collect(void)
{
	static struct guest_packet got;
	bool seen[MAX_PACKETS + 1] = {false};
	unsigned silent = 0;

	while (f.completed < f.sent) {
		/* Once it is stopped no more will come than is on its way. */
		bool stopped = storvsp_fault_count(f.adapter) > f.faults;

		if (guest_receive(&f.ch, &got, stopped ? 1 : 20))
			take_answer(&got, seen);
		else if (stopped)
			break;
		else
			must(++silent < 1000); /* else one was forgotten */
	}
	storvsp_run(f.adapter);
}

/* A channel that was not stopped goes on to the next input: opening one is slow. */
static void check_service(void)
{
	if (storvsp_fault_count(f.adapter) > f.faults) {
		guest_close(&f.ch);
		reopen();
	}
	must(guest_write(&f.ch, 0, 8, f.buffer) && guest_read(&f.ch, 0, 8, f.buffer));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t *last;

	if (!f.adapter) {
		make();
		reopen();
	}
	last = guest_at(&f.g, f.buffer + (uint64_t)BUFFER * GUEST_PAGE, GUEST_PAGE);
	memset(last, 0xC5, GUEST_PAGE);
	f.sent = f.completed = 0;
	f.faults = storvsp_fault_count(f.adapter);
	while (input.len && f.sent < MAX_PACKETS)
		send(&input);
	collect();
	for (unsigned i = 0; i < GUEST_PAGE; i++)
		must(last[i] == 0xC5);
	check_service();
	return 0;
}
