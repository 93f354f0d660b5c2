/* SPDX-License-Identifier: MIT */
/*
 * The tables as a guest's kernel walks them: from the RSDP, by addresses alone, with all sums. The
 * fields looked at are the ones a guest acts upon.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "hv/acpi.h"
#include "hv/power.h"
#include "util/bytes.h"

struct tables {
	uint8_t b[ACPI_BYTES];
	size_t len;
	uint64_t base;
};

static void build(struct tables *t, unsigned vp_count)
{
	const struct acpi_config config = {vp_count, ACPI_BASE};

	memset(t->b, 0xA5, sizeof(t->b));
	t->base = config.base;
	t->len = acpi_build(&config, t->b, sizeof(t->b));
	cr_assert_neq(t->len, 0);
}

static const uint8_t *at(const struct tables *t, uint64_t address, size_t len)
{
	cr_assert(address >= t->base && address - t->base + len <= t->len, "0x%llx is outside",
		  (unsigned long long)address);
	return t->b + (address - t->base);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

static const uint8_t *table(const struct tables *t, uint64_t address, const char *signature)
{
	const uint8_t *p = at(t, address, 36);
	uint32_t len = get_le32(p + 4);

	cr_assert_eq(memcmp(p, signature, 4), 0, "%.4s instead of %s", (const char *)p, signature);
	at(t, address, len);
	cr_expect_eq(sum(p, len), 0, "%s: wrong sum", signature);
	return p;
}

static const uint8_t *xsdt(const struct tables *t)
{
	return table(t, get_le64(t->b + 24), "XSDT");
}

static const uint8_t *fadt(const struct tables *t)
{
	return table(t, get_le64(xsdt(t) + 36), "FACP");
}

static const uint8_t *madt(const struct tables *t)
{
	return table(t, get_le64(xsdt(t) + 44), "APIC");
}

Test(hv_acpi, the_rsdp_leads_to_every_table)
{
	struct tables t;
	const uint8_t *facs;

	build(&t, 2);
	cr_expect_eq(memcmp(t.b, "RSD PTR ", 8), 0);
	cr_expect_eq(sum(t.b, 20), 0);
	cr_expect_eq(sum(t.b, 36), 0);
	cr_expect_eq(t.b[15], 2);
	cr_expect_eq(get_le32(t.b + 20), 36);
	cr_expect_eq(get_le32(xsdt(&t) + 4), 36 + 2 * 8);
	madt(&t);
	table(&t, get_le64(fadt(&t) + 140), "DSDT");
	cr_expect_eq(get_le32(fadt(&t) + 40), get_le64(fadt(&t) + 140));
	facs = at(&t, get_le32(fadt(&t) + 36), 64);
	cr_expect_eq(memcmp(facs, "FACS", 4), 0);
	cr_expect_eq(get_le32(facs + 4), 64);
	cr_expect_eq(get_le32(fadt(&t) + 36) % 64, 0);
}

static void expect_port(const uint8_t *gas, unsigned port, unsigned bits)
{
	cr_expect_eq(gas[0], 1, "an I/O port");
	cr_expect_eq(gas[1], bits);
	cr_expect_eq(gas[2], 0);
	cr_expect_eq(get_le64(gas + 4), port);
}

Test(hv_acpi, the_fadt_names_the_fixed_registers)
{
	struct tables t;
	const uint8_t *f;

	build(&t, 1);
	f = fadt(&t);
	cr_expect_eq(get_le32(f + 4), 276);
	cr_expect_eq(f[8], 6);
	cr_expect_eq(get_le16(f + 46), 9, "SCI");
	cr_expect_eq(get_le32(f + 48), 0, "always in ACPI mode");
	cr_expect_eq(get_le32(f + 56), POWER_PM1_EVENT);
	cr_expect_eq(f[88], 4);
	cr_expect_eq(get_le32(f + 64), POWER_PM1_CONTROL);
	cr_expect_eq(f[89], 2);
	cr_expect_eq(get_le32(f + 76), POWER_PM_TIMER);
	cr_expect_eq(f[91], 4);
	expect_port(f + 148, POWER_PM1_EVENT, 32);
	expect_port(f + 172, POWER_PM1_CONTROL, 16);
	expect_port(f + 208, POWER_PM_TIMER, 32);
	expect_port(f + 116, POWER_RESET_PORT, 8);
	cr_expect_eq(f[128], POWER_RESET_VALUE);
}

/* What the tables promise is what the registers do. */
Test(hv_acpi, the_fadt_and_the_registers_agree)
{
	struct tables t;
	struct power power;
	const uint8_t *f;

	build(&t, 1);
	f = fadt(&t);
	power_init(&power);
	cr_expect_eq(power_read(&power, get_le32(f + 64), 2, 0) & 1, 1);
	cr_expect_eq(power_write(&power, (unsigned)get_le64(f + 120), 1, f[128]), POWER_RESET);
	cr_expect_neq(power_read(&power, get_le32(f + 76), 4, 1000000000), 0);
}

Test(hv_acpi, the_fadt_says_what_is_not_there)
{
	struct tables t;
	uint32_t flags;
	uint16_t boot;

	build(&t, 1);
	flags = get_le32(fadt(&t) + 112);
	boot = get_le16(fadt(&t) + 109);
	cr_expect_eq(flags & 1u << 20, 0, "not hardware-reduced: PIT and PIC are used");
	cr_expect_eq(flags & 1u << 4, 1u << 4, "no fixed power button");
	cr_expect_eq(flags & 1u << 5, 1u << 5, "no fixed sleep button");
	cr_expect_eq(flags & 1u << 8, 1u << 8, "a timer of 32 bits");
	cr_expect_eq(flags & 1u << 10, 1u << 10, "a reset register");
	cr_expect_eq(boot & 0x01, 0x01, "legacy devices");
	cr_expect_eq(boot & 0x02, 0x00, "no keyboard controller");
	cr_expect_eq(boot & 0x04, 0x04, "no VGA");
	cr_expect_eq(boot & 0x20, 0x00, "a clock");
	cr_expect_gt(get_le16(fadt(&t) + 96), 100, "no C2");
	cr_expect_gt(get_le16(fadt(&t) + 98), 1000, "no C3");
}

/* Walk the MADT; how many entries of each type there are. */
static void count_entries(const uint8_t *m, unsigned count[5])
{
	static const uint8_t bytes[5] = {8, 12, 10, 0, 6};
	uint32_t len = get_le32(m + 4);

	memset(count, 0, 5 * sizeof(*count));
	for (uint32_t o = 44; o < len; o += m[o + 1]) {
		cr_assert(m[o] < 5 && m[o + 1] == bytes[m[o]] && o + m[o + 1] <= len, "entry at %u",
			  o);
		if (m[o] == 0) {
			cr_expect_eq(m[o + 2], count[0]);
			cr_expect_eq(m[o + 3], count[0]);
			cr_expect_eq(get_le32(m + o + 4), 1);
		}
		count[m[o]]++;
	}
}

Test(hv_acpi, the_madt_has_every_processor)
{
	static const unsigned sizes[] = {1, 2, 64, 239, 240};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct tables t;
		unsigned count[5];

		build(&t, sizes[i]);
		cr_expect_eq(get_le32(madt(&t) + 36), ACPI_LAPIC);
		cr_expect_eq(get_le32(madt(&t) + 40), 1);
		count_entries(madt(&t), count);
		cr_expect_eq(count[0], sizes[i]);
		cr_expect_eq(count[1], 1, "an I/O APIC");
		cr_expect_eq(count[2], 2, "overrides");
		cr_expect_eq(count[4], 1, "NMI");
	}
}

Test(hv_acpi, the_madt_routes_the_timer_and_the_sci)
{
	static const uint8_t tail[] = {
	    1, 12, 4,    0, 0, 0, 0xC0, 0xFE, 0,    0, 0, 0, /* the I/O APIC has an id of its own */
	    2, 10, 0,    0, 2, 0, 0,    0,    0,    0,       /* ISA 0 is GSI 2 */
	    2, 10, 0,    9, 9, 0, 0,    0,    0x0D, 0,       /* SCI: level, high */
	    4, 6,  0xFF, 0, 0, 1,
	};
	struct tables t;

	build(&t, 4);
	cr_expect_eq(get_le32(madt(&t) + 4), 44 + 4 * 8 + sizeof(tail));
	cr_expect_eq(memcmp(madt(&t) + 44 + 4 * 8, tail, sizeof(tail)), 0);
}

/* Package lengths of the AML: those of a scope, of its devices, of what is in the buffers. */
Test(hv_acpi, the_packages_of_the_dsdt_end_where_they_say)
{
	const uint8_t *d;
	struct tables t;
	size_t scope_end;

	build(&t, 1);
	d = table(&t, get_le64(fadt(&t) + 140), "DSDT");
	cr_expect_eq(get_le32(d + 4), 155);
	cr_expect_eq(d[8], 2, "integers of 64 bits");
	cr_expect_eq(d[36], 0x10, "Scope");
	scope_end = 37 + ((d[37] & 0x0Fu) | (unsigned)d[38] << 4);
	cr_expect_eq(memcmp(d + 43, "\x5B\x82", 2), 0, "Device");
	cr_expect_eq(memcmp(d + 46, "VMB0", 4), 0);
	cr_expect_eq(memcmp(d + 45 + d[45], "\x5B\x82", 2), 0, "the next device follows");
	cr_expect_eq(memcmp(d + 45 + d[45] + 3, "COM1", 4), 0);
	cr_expect_eq(45u + d[45] + 2 + d[45 + d[45] + 2], scope_end);
	cr_expect_eq(memcmp(d + scope_end, "\x08_S5_", 5), 0);
	cr_expect_eq(d[scope_end + 6] + scope_end + 6, 155);
	cr_expect_eq(d[scope_end + 9], POWER_SLEEP_OFF);
}

Test(hv_acpi, nothing_is_written_beyond_its_end)
{
	struct tables t;

	build(&t, 240);
	cr_expect_leq(t.len, ACPI_BYTES);
	for (size_t i = t.len; i < sizeof(t.b); i++)
		cr_assert_eq(t.b[i], 0xA5);
}

Test(hv_acpi, refuses_what_cannot_be)
{
	static const struct {
		const char *name;
		struct acpi_config config;
		size_t cap;
	} row[] = {
	    {"no processor", {0, ACPI_BASE}, ACPI_BYTES},
	    {"too many processors", {241, ACPI_BASE}, ACPI_BYTES},
	    {"an address that is not aligned", {1, ACPI_BASE + 16}, ACPI_BYTES},
	    {"an address above 4 GiB", {1, 1ull << 32}, ACPI_BYTES},
	    {"an address that ends above 4 GiB", {1, (1ull << 32) - 64}, ACPI_BYTES},
	    {"no room", {1, ACPI_BASE}, 0},
	    {"a byte too little room", {1, ACPI_BASE}, 0},
	};
	uint8_t buf[ACPI_BYTES] = {0};
	size_t one = acpi_build(&(struct acpi_config){1, ACPI_BASE}, buf, sizeof(buf));

	cr_expect_eq(acpi_build(&(struct acpi_config){1, ACPI_BASE}, buf, one), one);
	memset(buf, 0xA5, sizeof(buf));
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		bool last = i == ARRAY_LEN(row) - 1;

		cr_expect_eq(acpi_build(&row[i].config, buf, last ? one - 1 : row[i].cap), 0, "%s",
			     row[i].name);
	}
	for (size_t i = 0; i < sizeof(buf); i++)
		cr_assert_eq(buf[i], 0xA5);
}
