/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "hv/memory.h"
#include "util/bytes.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static struct memory *make(uint64_t size)
{
	struct memory *memory;
	struct err_why why;

	cr_assert_eq(memory_create(size, &memory, &why), ERR_OK, "%s", why.text);
	return memory;
}

Test(hv_memory, sizes_that_are_refused)
{
	static const uint64_t size[] = {0,
					1,
					15 * MIB,
					16 * MIB + 1,
					17 * MIB - 1,
					MEMORY_MAX + MIB,
					UINT64_MAX,
					UINT64_MAX - MIB + 1};
	struct memory *memory;
	struct err_why why;

	for (unsigned i = 0; i < ARRAY_LEN(size); i++)
		cr_expect_eq(memory_create(size[i], &memory, &why), ERR_USAGE, "%llu",
			     (unsigned long long)size[i]);
	memory_destroy(NULL);
}

Test(hv_memory, what_the_system_has_no_room_for_is_told)
{
	struct memory *memory[200];
	struct err_why why;
	unsigned n = 0;
	enum err err = ERR_OK;

	/* 47 bits of addresses are 128 of these. */
	while (n < ARRAY_LEN(memory) && !(err = memory_create(MEMORY_MAX, &memory[n], &why)))
		n++;
	cr_assert_eq(err, ERR_NOMEM);
	cr_assert(strstr(why.text, "guest memory"), "%s", why.text);
	while (n--)
		memory_destroy(memory[n]);
}

Test(hv_memory, small_memory_is_one_part_of_zeroes)
{
	struct memory *memory = make(16 * MIB);
	struct memory_part part[2];
	char buf[4096];

	cr_assert_eq(memory_size(memory), 16 * MIB);
	cr_assert_eq(memory_parts(memory, part), 1);
	cr_assert_eq(part[0].gpa, 0);
	cr_assert_eq(part[0].size_bytes, 16 * MIB);
	cr_assert(memory_read(memory, 16 * MIB - sizeof(buf), buf, sizeof(buf)));
	cr_assert(bytes_are_zero(buf, sizeof(buf)));
	cr_assert(memory_write(memory, 5000, "hello", 6));
	cr_assert(memory_read(memory, 5000, buf, 6));
	cr_assert_str_eq(buf, "hello");
	cr_assert_str_eq(memory_at(memory, 5000, 6, MEMORY_READ), "hello");
	cr_assert_eq((char *)part[0].host + 5000, memory_at(memory, 5000, 1, MEMORY_WRITE));
	memory_destroy(memory);
}

Test(hv_memory, memory_goes_on_behind_the_hole)
{
	struct memory *memory = make(3 * GIB + 5 * MIB);
	struct memory_part part[2];

	cr_assert_eq(memory_parts(memory, part), 2);
	cr_assert_eq(part[0].size_bytes, MEMORY_HOLE);
	cr_assert_eq(part[1].gpa, MEMORY_HIGH);
	cr_assert_eq(part[1].size_bytes, 5 * MIB);
	cr_assert_eq((char *)part[0].host + MEMORY_HOLE, part[1].host);
	cr_assert(memory_write(memory, MEMORY_HIGH, "high", 5));
	cr_assert_str_eq(part[1].host, "high");
	cr_assert(memory_write(memory, MEMORY_HOLE - 4, "low", 4));
	memory_destroy(memory);
}

/* G1, G8: whether an access is refused, with 3 GiB and 5 MiB of RAM. */
static const struct {
	const char *name;
	uint64_t gpa, len;
	bool ram;
} accesses[] = {
    {"first byte", 0, 1, true},
    {"all of the low part", 0, MEMORY_HOLE, true},
    {"last byte below the hole", MEMORY_HOLE - 1, 1, true},
    {"first byte of the hole", MEMORY_HOLE, 1, false},
    {"into the hole", MEMORY_HOLE - 1, 2, false},
    {"the local APIC", 0xFEE00000, 4, false},
    {"last byte of the hole", MEMORY_HIGH - 1, 1, false},
    {"out of the hole", MEMORY_HIGH - 1, 2, false},
    {"over the hole", MEMORY_HOLE - 1, MEMORY_HIGH - MEMORY_HOLE + 2, false},
    {"first byte above", MEMORY_HIGH, 1, true},
    {"all of the high part", MEMORY_HIGH, 5 * MIB, true},
    {"one more than all", MEMORY_HIGH, 5 * MIB + 1, false},
    {"last byte", MEMORY_HIGH + 5 * MIB - 1, 1, true},
    {"behind the end", MEMORY_HIGH + 5 * MIB, 1, false},
    {"across the end", MEMORY_HIGH + 5 * MIB - 1, 2, false},
    {"far away", 1ull << 52, 8, false},
    {"last address there is", UINT64_MAX, 1, false},
    {"an end that overflows", UINT64_MAX - 7, 16, false},
    {"a length that overflows", 4096, UINT64_MAX, false},
    {"a length that overflows above", MEMORY_HIGH + 1, UINT64_MAX - MEMORY_HIGH, false},
    {"everything", 0, UINT64_MAX, false},
};

Test(hv_memory, only_ram_is_given_out)
{
	struct memory *memory = make(3 * GIB + 5 * MIB);
	char buf[64];

	for (unsigned i = 0; i < ARRAY_LEN(accesses); i++) {
		uint64_t gpa = accesses[i].gpa, len = accesses[i].len;

		cr_expect_eq(memory_at(memory, gpa, len, MEMORY_WRITE) != NULL, accesses[i].ram,
			     "%s", accesses[i].name);
		if (len > sizeof(buf) && accesses[i].ram)
			continue;
		memset(buf, 7, sizeof(buf));
		cr_expect_eq(memory_read(memory, gpa, buf, len), accesses[i].ram, "%s",
			     accesses[i].name);
		cr_expect_eq(buf[0], accesses[i].ram ? 0 : 7, "%s: copied", accesses[i].name);
		if (!accesses[i].ram)
			cr_expect_not(memory_write(memory, gpa, buf, len), "%s", accesses[i].name);
	}
	memory_destroy(memory);
}
