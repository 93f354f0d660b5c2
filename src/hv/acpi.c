/* SPDX-License-Identifier: MIT */
#include "hv/acpi.h"

#include <string.h>

#include "hv/dsdt.h"
#include "hv/power.h"
#include "util/bytes.h"

#define HEADER_BYTES 36u
#define RSDP_BYTES   36u
#define FADT_BYTES   276u
#define FACS_BYTES   64u
#define FACS_ALIGN   64u
#define XSDT_TABLES  2u
#define OEM          "STRATA"
#define OEM_TABLE    "STRATAVM"
#define CREATOR      "STRA"

#define GAS_IO 1u

#define FADT_WBINVD        (1u << 0)
#define FADT_C1            (1u << 2)
#define FADT_NO_POWER_KEY  (1u << 4)
#define FADT_NO_SLEEP_KEY  (1u << 5)
#define FADT_NO_RTC_WAKE   (1u << 6)
#define FADT_TIMER_32      (1u << 8)
#define FADT_RESET         (1u << 10)
#define FADT_BOOT_LEGACY   0x0001u /* and not 0x0002: no keyboard controller */
#define FADT_BOOT_NO_VGA   0x0004u
#define FADT_NO_C_STATE    0x0FFFu /* a latency that rules it out */
#define FADT_CENTURY       0x32u
#define FADT_MINOR_VERSION 0u

/* Where things go; offsets into the buffer. */
struct layout {
	size_t xsdt, facs, fadt, madt, dsdt, end;
	size_t madt_bytes;
};

static uint8_t checksum(const uint8_t *bytes, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return (uint8_t)-sum;
}

static void put_header(uint8_t *t, const char *signature, size_t len, uint8_t revision)
{
	memcpy(t, signature, 4);
	put_le32(t + 4, (uint32_t)len);
	t[8] = revision;
	memcpy(t + 10, OEM, 6);
	memcpy(t + 16, OEM_TABLE, 8);
	put_le32(t + 24, 1);
	memcpy(t + 28, CREATOR, 4);
	put_le32(t + 32, 1);
}

/* After the last byte of the table was written. */
static void seal(uint8_t *t)
{
	t[9] = checksum(t, get_le32(t + 4));
}

static void put_rsdp(uint8_t *t, uint64_t xsdt)
{
	memcpy(t, "RSD PTR ", 8);
	memcpy(t + 9, OEM, 6);
	t[15] = 2;
	put_le32(t + 20, RSDP_BYTES);
	put_le64(t + 24, xsdt);
	t[8] = checksum(t, 20);
	t[32] = checksum(t, RSDP_BYTES);
}

static void put_xsdt(uint8_t *t, uint64_t fadt, uint64_t madt)
{
	put_header(t, "XSDT", HEADER_BYTES + 8ul * XSDT_TABLES, 1);
	put_le64(t + HEADER_BYTES, fadt);
	put_le64(t + HEADER_BYTES + 8, madt);
	seal(t);
}

/* A generic address: `access` is 1 for bytes, 2 for words, 3 for double words. */
static void put_port(uint8_t *gas, unsigned port, uint8_t bits, uint8_t access)
{
	gas[0] = GAS_IO;
	gas[1] = bits;
	gas[3] = access;
	put_le64(gas + 4, port);
}

static void put_fixed_registers(uint8_t *t)
{
	put_le32(t + 56, POWER_PM1_EVENT);
	put_le32(t + 64, POWER_PM1_CONTROL);
	put_le32(t + 76, POWER_PM_TIMER);
	t[88] = 4;
	t[89] = 2;
	t[91] = 4;
	put_port(t + 116, POWER_RESET_PORT, 8, 1);
	t[128] = POWER_RESET_VALUE;
	put_port(t + 148, POWER_PM1_EVENT, 32, 2);
	put_port(t + 172, POWER_PM1_CONTROL, 16, 2);
	put_port(t + 208, POWER_PM_TIMER, 32, 3);
}

static void put_fadt(uint8_t *t, uint64_t facs, uint64_t dsdt)
{
	put_header(t, "FACP", FADT_BYTES, 6);
	/* One address of the FACS is enough; guests list it twice when there are two. */
	put_le32(t + 36, (uint32_t)facs);
	put_le32(t + 40, (uint32_t)dsdt);
	put_le64(t + 140, dsdt);
	put_le16(t + 46, ACPI_SCI_IRQ);
	put_le16(t + 96, FADT_NO_C_STATE);
	put_le16(t + 98, FADT_NO_C_STATE);
	t[108] = FADT_CENTURY;
	put_le16(t + 109, FADT_BOOT_LEGACY | FADT_BOOT_NO_VGA);
	put_le32(t + 112, FADT_WBINVD | FADT_C1 | FADT_NO_POWER_KEY | FADT_NO_SLEEP_KEY |
			      FADT_NO_RTC_WAKE | FADT_TIMER_32 | FADT_RESET);
	t[131] = FADT_MINOR_VERSION;
	put_fixed_registers(t);
	seal(t);
}

static void put_facs(uint8_t *t)
{
	memcpy(t, "FACS", 4);
	put_le32(t + 4, FACS_BYTES);
	t[32] = 2;
}

/* Entries of the MADT; each returns where the next one goes. */
static uint8_t *put_processor(uint8_t *e, unsigned vp)
{
	e[0] = 0;
	e[1] = 8;
	e[2] = (uint8_t)vp;
	e[3] = (uint8_t)vp;
	put_le32(e + 4, 1);
	return e + 8;
}

static uint8_t *put_ioapic(uint8_t *e, unsigned id)
{
	e[0] = 1;
	e[1] = 12;
	e[2] = (uint8_t)id;
	put_le32(e + 4, ACPI_IOAPIC);
	return e + 12;
}

static uint8_t *put_override(uint8_t *e, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	e[0] = 2;
	e[1] = 10;
	e[3] = irq;
	put_le32(e + 4, gsi);
	put_le16(e + 8, flags);
	return e + 10;
}

static uint8_t *put_nmi(uint8_t *e)
{
	e[0] = 4;
	e[1] = 6;
	e[2] = 0xFF; /* all processors */
	e[5] = 1;    /* LINT1 */
	return e + 6;
}

static size_t madt_bytes(unsigned vp_count)
{
	return HEADER_BYTES + 8 + 8u * vp_count + 12 + 10 + 10 + 6;
}

static void put_madt(uint8_t *t, unsigned vp_count)
{
	uint8_t *e = t + HEADER_BYTES + 8;

	put_header(t, "APIC", madt_bytes(vp_count), 4);
	put_le32(t + 36, ACPI_LAPIC);
	put_le32(t + 40, 1); /* PICs, too */
	for (unsigned vp = 0; vp < vp_count; vp++)
		e = put_processor(e, vp);
	e = put_ioapic(e, vp_count); /* an id no processor has */
	e = put_override(e, 0, 2, 0);
	e = put_override(e, ACPI_SCI_IRQ, ACPI_SCI_IRQ, 0x000D); /* level, active high */
	put_nmi(e);
	seal(t);
}

static void put_dsdt(uint8_t *t)
{
	put_header(t, "DSDT", HEADER_BYTES + sizeof(dsdt_body), 2);
	memcpy(t + HEADER_BYTES, dsdt_body, sizeof(dsdt_body));
	seal(t);
}

static struct layout lay_out(unsigned vp_count)
{
	struct layout l = {.madt_bytes = madt_bytes(vp_count)};

	l.xsdt = round_up(RSDP_BYTES, 16);
	l.facs = round_up(l.xsdt + HEADER_BYTES + 8ul * XSDT_TABLES, FACS_ALIGN);
	l.fadt = l.facs + FACS_BYTES;
	l.madt = round_up(l.fadt + FADT_BYTES, 16);
	l.dsdt = round_up(l.madt + l.madt_bytes, 16);
	l.end = l.dsdt + HEADER_BYTES + sizeof(dsdt_body);
	return l;
}

size_t acpi_build(const struct acpi_config *config, uint8_t *buf, size_t cap)
{
	uint64_t base = config->base;
	struct layout l;

	if (config->vp_count == 0 || config->vp_count > ACPI_MAX_VPS)
		return 0;
	l = lay_out(config->vp_count);
	if (base % FACS_ALIGN || base > UINT32_MAX - l.end || cap < l.end)
		return 0;
	memset(buf, 0, l.end);
	put_rsdp(buf, base + l.xsdt);
	put_xsdt(buf + l.xsdt, base + l.fadt, base + l.madt);
	put_facs(buf + l.facs);
	put_fadt(buf + l.fadt, base + l.facs, base + l.dsdt);
	put_madt(buf + l.madt, config->vp_count);
	put_dsdt(buf + l.dsdt);
	return l.end;
}
