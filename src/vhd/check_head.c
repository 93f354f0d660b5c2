/* SPDX-License-Identifier: MIT */
#include "vhd/check_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/locator.h"
#include "vhd/parent.h"

/* Offsets of the fields a finding can be about; the decoders own the rest. */
enum {
	FOOTER_VERSION = 12,
	FOOTER_DATA_OFF = 16,
	FOOTER_ORIGINAL = 40,
	FOOTER_CURRENT = 48,
	FOOTER_GEOMETRY = 56,
	FOOTER_TYPE = 60,
	FOOTER_CHECKSUM = 64,
	FOOTER_UUID = 68,
	FOOTER_SAVED_STATE = 84,
	HEADER_TABLE_OFF = 16,
	HEADER_VERSION = 24,
	HEADER_MAX_ENTRIES = 28,
	HEADER_BLOCK_SIZE = 32,
	HEADER_CHECKSUM = 36,
	HEADER_LOCATORS = 576,
	LOCATOR_BYTES = 24,
};

/* The field because of which a decoder refused. */
struct fault {
	const char *name;
	uint32_t off;
};

static struct fault footer_fault(const uint8_t bytes[FOOTER_BYTES])
{
	uint32_t type = get_be32(bytes + FOOTER_TYPE);
	uint64_t size = get_be64(bytes + FOOTER_CURRENT);

	if (!footer_has_cookie(bytes))
		return (struct fault){"cookie", 0};
	if (get_be32(bytes + FOOTER_CHECKSUM) != vhd_checksum(bytes, FOOTER_BYTES, FOOTER_CHECKSUM))
		return (struct fault){"checksum", FOOTER_CHECKSUM};
	if (get_be32(bytes + FOOTER_VERSION) >> 16 != 1)
		return (struct fault){"version", FOOTER_VERSION};
	if (type < VHD_FIXED || type > VHD_DIFFERENCING)
		return (struct fault){"type", FOOTER_TYPE};
	if (!size || size % DISK_SECTOR || size > VHD_MAX_SIZE)
		return (struct fault){"current_size", FOOTER_CURRENT};
	return (struct fault){"saved_state", FOOTER_SAVED_STATE};
}

static struct fault header_fault(const uint8_t bytes[HEADER_BYTES], uint64_t at_off,
				 const struct vhd_footer *footer)
{
	uint32_t block = get_be32(bytes + HEADER_BLOCK_SIZE);
	uint32_t entries = get_be32(bytes + HEADER_MAX_ENTRIES);
	uint64_t table = get_be64(bytes + HEADER_TABLE_OFF);

	if (memcmp(bytes, "cxsparse", 8) != 0)
		return (struct fault){"cookie", 0};
	if (get_be32(bytes + HEADER_CHECKSUM) != vhd_checksum(bytes, HEADER_BYTES, HEADER_CHECKSUM))
		return (struct fault){"checksum", HEADER_CHECKSUM};
	if (get_be32(bytes + HEADER_VERSION) >> 16 != 1)
		return (struct fault){"version", HEADER_VERSION};
	if (block < VHD_MIN_BLOCK || block > VHD_MAX_BLOCK || !is_power_of_two(block))
		return (struct fault){"block_size", HEADER_BLOCK_SIZE};
	if (table % DISK_SECTOR || table < at_off + HEADER_BYTES)
		if (entries >= vhd_block_count(footer->current_bytes, block) &&
		    (uint64_t)entries * 4 <= BAT_MAX_BYTES)
			return (struct fault){"table_offset", HEADER_TABLE_OFF};
	return (struct fault){"max_table_entries", HEADER_MAX_ENTRIES};
}

/* ---- footers ---- */

struct footer_place {
	uint8_t bytes[FOOTER_BYTES];
	uint64_t off;
	struct vhd_footer footer;
	bool has_cookie;
	bool valid;
	struct fault fault;
	struct err_why why;
};

static void judge_footer(struct footer_place *place, uint64_t off)
{
	place->off = off;
	place->has_cookie = footer_has_cookie(place->bytes);
	place->valid = !footer_decode(place->bytes, off, &place->footer, &place->why);
	if (!place->valid)
		place->fault = footer_fault(place->bytes);
}

/* The last 512 bytes, or, when only they hold a cookie, the last 511. */
static enum err read_trailing(struct check *check, struct footer_place *place, struct err_why *why)
{
	struct vhd_layer *layer = &check->layer;
	uint64_t size = layer->info.size_bytes;

	if (size < FOOTER_BYTES) {
		err_set(&place->why, ERR_CORRUPT, "the file has %llu bytes: too short for a footer",
			(unsigned long long)size);
		place->fault = (struct fault){"cookie", 0};
		return ERR_OK;
	}
	enum err e =
	    layer_read_meta(layer, EV_FOOTER, place->bytes, size - FOOTER_BYTES, FOOTER_BYTES, why);
	if (e)
		return e;
	judge_footer(place, size - FOOTER_BYTES);
	if (place->valid)
		return ERR_OK;
	struct footer_place legacy = {0};
	memcpy(legacy.bytes, place->bytes + 1, FOOTER_LEGACY_BYTES);
	judge_footer(&legacy, size - FOOTER_LEGACY_BYTES);
	if (legacy.has_cookie)
		*place = legacy;
	layer->legacy_footer = legacy.valid;
	return ERR_OK;
}

static void fill_bad_footer(struct vhd_finding *finding, const struct footer_place *place,
			    const char *which)
{
	finding->off_bytes = place->off + place->fault.off;
	snprintf(finding->field, sizeof(finding->field), "%s.%s", which, place->fault.name);
	check_rule(finding, "%s", place->why.text);
}

static struct vhd_finding *bad_footer(struct check *check, enum vhd_finding_kind kind,
				      const struct footer_place *place, const char *which)
{
	struct vhd_finding *finding = check_add(check, kind, 0, "%s", which);

	if (finding)
		fill_bad_footer(finding, place, which);
	return finding;
}

/* Both valid: the trailing one counts, and they should be the same. */
static void compare_footers(struct check *check, const struct footer_place *trailing,
			    const struct footer_place *copy)
{
	const struct vhd_footer *a = &trailing->footer, *b = &copy->footer;
	struct vhd_finding *finding;
	uint32_t at = 0;

	if (a->type != b->type || !guid_equal(&a->uuid, &b->uuid)) {
		bool type = a->type != b->type;

		finding = check_add(check, FINDING_CORRUPT, type ? FOOTER_TYPE : FOOTER_UUID,
				    "footer_copy.%s", type ? "type" : "uuid");
		check_rule(finding,
			   "the footer at 0x%llx and its copy at 0x0 are both valid: they "
			   "must be of one disk",
			   (unsigned long long)trailing->off);
		return;
	}
	while (at < FOOTER_LEGACY_BYTES && trailing->bytes[at] == copy->bytes[at])
		at++;
	if (at == FOOTER_LEGACY_BYTES)
		return;
	finding = check_add(check, FINDING_REPAIRABLE, at, "footer_copy");
	check_rule(finding,
		   "the copy is to be the same as the footer at 0x%llx, which counts; it "
		   "differs from +%u on",
		   (unsigned long long)trailing->off, at);
	check_action(finding, "write the copy at 0x0 from the footer at the end");
	check->plan.write_copy = true;
}

static void judge_copy(struct check *check, const struct footer_place *trailing,
		       const struct footer_place *copy)
{
	if (copy->valid) {
		compare_footers(check, trailing, copy);
		return;
	}
	struct vhd_finding *finding = bad_footer(check, FINDING_REPAIRABLE, copy, "footer_copy");
	check_action(finding, "write the copy at 0x0 from the footer at the end");
	check->plan.write_copy = true;
}

/*
 * No valid trailing footer. A valid copy of a sparse disk can be gone by; whether that can be
 * mended is known when the blocks have been looked at. A footer that is wrong in its checksum alone
 * still shows the way to more findings.
 */
static void without_trailing(struct check *check, struct footer_place *trailing,
			     struct footer_place *copy)
{
	struct vhd_layer *layer = &check->layer;

	layer->trailing_ok = false;
	layer->footer_off = round_down(layer->info.size_bytes, DISK_SECTOR);
	if (copy->valid && copy->footer.type != VHD_FIXED) {
		fill_bad_footer(&check->no_trailing, trailing, "footer");
		check->has_footer = true;
		layer->footer = copy->footer;
		return;
	}
	bad_footer(check, FINDING_CORRUPT, trailing, "footer");
	if (copy->has_cookie)
		bad_footer(check, FINDING_CORRUPT, copy, "footer_copy");
	if (!trailing->has_cookie)
		return;
	put_be32(trailing->bytes + FOOTER_CHECKSUM,
		 vhd_checksum(trailing->bytes, FOOTER_BYTES, FOOTER_CHECKSUM));
	layer->footer_off = trailing->off;
	check->has_footer = !footer_decode(trailing->bytes, trailing->off, &layer->footer, NULL);
}

static void footer_notes(struct check *check)
{
	const struct vhd_layer *layer = &check->layer;
	const struct vhd_footer *footer = &layer->footer;
	uint64_t at = layer->trailing_ok ? layer->footer_off : 0;
	struct vhd_finding *finding;
	uint16_t cylinders;
	uint8_t heads, sectors;

	vhd_geometry(footer->current_bytes, &cylinders, &heads, &sectors);
	if (footer->cylinders != cylinders || footer->heads != heads ||
	    footer->sectors != sectors) {
		finding = check_add(check, FINDING_NOTE, at + FOOTER_GEOMETRY, "footer.geometry");
		check_rule(finding,
			   "geometry %u/%u/%u is not what the size gives (%u/%u/%u); the "
			   "size counts",
			   footer->cylinders, footer->heads, footer->sectors, cylinders, heads,
			   sectors);
	}
	if (footer->original_bytes != footer->current_bytes) {
		finding =
		    check_add(check, FINDING_NOTE, at + FOOTER_ORIGINAL, "footer.original_size");
		check_rule(finding,
			   "original size %llu differs from current size %llu, which counts",
			   (unsigned long long)footer->original_bytes,
			   (unsigned long long)footer->current_bytes);
	}
	if (guid_is_zero(&footer->uuid)) {
		finding = check_add(check, FINDING_NOTE, at + FOOTER_UUID, "footer.uuid");
		check_rule(finding,
			   "the UUID is zero: children cannot tell this disk from another");
	}
	if (footer->saved_state) {
		finding =
		    check_add(check, FINDING_NOTE, at + FOOTER_SAVED_STATE, "footer.saved_state");
		check_rule(finding, "the disk belongs to a machine that was saved while running");
	}
	if (layer->legacy_footer) {
		finding = check_add(check, FINDING_NOTE, at, "footer");
		check_rule(finding,
			   "the footer has 511 bytes, as in images older than Virtual PC 2004");
	}
}

/* A fixed disk: all bytes of it before the footer, and nothing else. */
static void check_fixed(struct check *check)
{
	struct vhd_layer *layer = &check->layer;
	uint64_t at = layer->footer_off + FOOTER_CURRENT;
	struct vhd_finding *finding;

	if (layer->size_bytes > layer->footer_off) {
		finding = check_add(check, FINDING_CORRUPT, at, "footer.current_size");
		check_rule(
		    finding, "a fixed disk of %llu bytes must lie before its footer at 0x%llx",
		    (unsigned long long)layer->size_bytes, (unsigned long long)layer->footer_off);
	} else if (layer->size_bytes < layer->footer_off) {
		finding = check_add(check, FINDING_NOTE, layer->size_bytes, "tail");
		check_rule(finding,
			   "%llu bytes between the end of the disk and the footer are not "
			   "used",
			   (unsigned long long)(layer->footer_off - layer->size_bytes));
	}
	if (layer->footer.data_off != UINT64_MAX) {
		finding = check_add(check, FINDING_NOTE, layer->footer_off + FOOTER_DATA_OFF,
				    "footer.data_offset");
		check_rule(finding, "data offset 0x%llx of a fixed disk should be all ones",
			   (unsigned long long)layer->footer.data_off);
	}
}

enum err check_footers(struct check *check, struct err_why *why)
{
	struct vhd_layer *layer = &check->layer;
	struct footer_place trailing = {0}, copy = {0};
	enum err e = read_trailing(check, &trailing, why);

	if (!e)
		e = layer_read_meta(layer, EV_FOOTER_COPY, copy.bytes, 0, FOOTER_BYTES, why);
	if (e)
		return e;
	judge_footer(&copy, 0);
	if (trailing.valid) {
		check->has_footer = true;
		layer->footer = trailing.footer;
		layer->footer_off = trailing.off;
		layer->trailing_ok = true;
		/* The first sector of a fixed disk is the guest's: never look at it. */
		if (layer_is_sparse(layer))
			judge_copy(check, &trailing, &copy);
	} else {
		without_trailing(check, &trailing, &copy);
	}
	layer->size_bytes = layer->footer.current_bytes;
	if (!check->has_footer)
		return ERR_OK;
	footer_notes(check);
	if (!layer_is_sparse(layer))
		check_fixed(check);
	return ERR_OK;
}

/* ---- the dynamic header ---- */

static bool header_place_ok(const struct vhd_layer *layer)
{
	uint64_t at = layer->footer.data_off;
	uint64_t end;

	return at % DISK_SECTOR == 0 && at >= FOOTER_BYTES && checked_add(at, HEADER_BYTES, &end) &&
	       end <= layer->footer_off;
}

static void use_header(struct check *check)
{
	struct vhd_layer *layer = &check->layer;
	uint64_t bat_off = layer->header.bat_off;
	uint64_t bat_bytes = vhd_bat_bytes(layer->header.max_entries);

	layer->block_bytes = layer->header.block_bytes;
	layer->block_shift = (unsigned)__builtin_ctz(layer->block_bytes);
	layer->block_sectors = layer->block_bytes / DISK_SECTOR;
	layer->bitmap_bytes = vhd_bitmap_bytes(layer->block_bytes);
	layer->blocks = (uint32_t)vhd_block_count(layer->size_bytes, layer->block_bytes);
	check->bat_entries = layer->header.max_entries;
	if (bat_off >= layer->footer_off || layer->footer_off - bat_off < bat_bytes) {
		struct vhd_finding *finding =
		    check_add(check, FINDING_CORRUPT, layer->footer.data_off + HEADER_TABLE_OFF,
			      "header.table_offset");

		check_rule(finding,
			   "the block allocation table (0x%llx bytes at 0x%llx) must end "
			   "before the footer at 0x%llx",
			   (unsigned long long)bat_bytes, (unsigned long long)bat_off,
			   (unsigned long long)layer->footer_off);
		if (bat_off >= layer->footer_off)
			return;
		check->bat_entries = (uint32_t)((layer->footer_off - bat_off) / 4);
		bat_bytes = layer->footer_off - bat_off;
	}
	layer->meta_end = bat_off + bat_bytes;
	check->has_header = true;
}

enum err check_header(struct check *check, struct err_why *why)
{
	struct vhd_layer *layer = &check->layer;
	uint64_t at = layer->footer.data_off;
	uint8_t bytes[HEADER_BYTES];
	struct err_why fault_why = {0};

	if (!header_place_ok(layer)) {
		struct vhd_finding *finding =
		    check_add(check, FINDING_CORRUPT,
			      (layer->trailing_ok ? layer->footer_off : 0) + FOOTER_DATA_OFF,
			      "footer.data_offset");

		check_rule(finding, "data offset 0x%llx must be a sector between the footers",
			   (unsigned long long)at);
		return ERR_OK;
	}
	enum err e = layer_read_meta(layer, EV_HEADER, bytes, at, HEADER_BYTES, why);
	if (e)
		return e;
	e = header_decode(bytes, at, &layer->footer, &layer->header, &fault_why);
	if (e) {
		struct fault fault = header_fault(bytes, at, &layer->footer);
		struct vhd_finding *finding =
		    check_add(check, FINDING_CORRUPT, at + fault.off, "header.%s", fault.name);

		check_rule(finding, "%s", fault_why.text);
		put_be32(bytes + HEADER_CHECKSUM,
			 vhd_checksum(bytes, HEADER_BYTES, HEADER_CHECKSUM));
		if (header_decode(bytes, at, &layer->footer, &layer->header, NULL))
			return ERR_OK;
	}
	use_header(check);
	return ERR_OK;
}

/* ---- parent locators ---- */

static void bad_locator(struct check *check, unsigned slot, const char *rule)
{
	uint64_t at =
	    check->layer.footer.data_off + HEADER_LOCATORS + (uint64_t)slot * LOCATOR_BYTES;
	struct vhd_finding *finding = check_add(check, FINDING_CORRUPT, at, "locator[%u]", slot);

	check_rule(finding, "%s", rule);
}

/* What the bytes of a locator share space with; NULL: nothing. */
static const char *locator_overlaps(const struct check *check, unsigned slot)
{
	const struct vhd_layer *layer = &check->layer;
	const struct vhd_locator_entry *entry = &layer->header.locator[slot];
	uint64_t off = entry->off_bytes, len = entry->len_bytes;

	if (ranges_overlap(off, len, layer->footer.data_off, HEADER_BYTES))
		return "the dynamic header";
	if (ranges_overlap(off, len, layer->header.bat_off,
			   layer->meta_end - layer->header.bat_off))
		return "the block allocation table";
	for (unsigned i = 0; i < slot; i++) {
		const struct vhd_locator_entry *other = &layer->header.locator[i];

		if (other->len_bytes && other->off_bytes < layer->footer_off &&
		    ranges_overlap(off, len, other->off_bytes, other->len_bytes))
			return "another locator";
	}
	return check_block_in(check, off, off + len) == UINT32_MAX ? NULL : "a block";
}

static enum err check_locator(struct check *check, unsigned slot, struct err_why *why)
{
	const struct vhd_locator_entry *entry = &check->layer.header.locator[slot];
	struct err_why fault = {0};
	char *path = NULL;
	char rule[160];

	enum err e = locator_read(&check->layer, slot, &path, &fault);
	free(path);
	if (e == ERR_CORRUPT)
		bad_locator(check, slot, fault.text);
	else if (e && e != ERR_NOENT)
		return why ? (*why = fault).code : e;
	if (e || !entry->len_bytes)
		return ERR_OK;
	const char *other = locator_overlaps(check, slot);
	if (other) {
		err_set(&fault, ERR_CORRUPT, "the %u bytes at 0x%llx overlap %s", entry->len_bytes,
			(unsigned long long)entry->off_bytes, other);
		memcpy(rule, fault.text, sizeof(rule) - 1);
		rule[sizeof(rule) - 1] = 0;
		bad_locator(check, slot, rule);
	}
	return ERR_OK;
}

enum err check_locators(struct check *check, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned slot = 0; slot < VHD_LOCATORS && !e; slot++)
		e = check_locator(check, slot, why);
	return e;
}

enum err check_parent(struct check *check, struct err_why *why)
{
	struct vhd_layer *parent;
	struct err_why fault = {0};
	enum err e = parent_open(&check->layer, check->opts, true, 0, &parent, &fault);

	if (!e)
		return layer_close(parent, why);
	if (e == ERR_NOMEM)
		return why ? (*why = fault).code : e;
	/* This file is sound; who opens the chain is told that it is not all there. */
	struct vhd_finding *finding =
	    check_add(check, FINDING_NOTE, check->layer.footer.data_off + 40, "parent");
	check_rule(finding, "%s", fault.text);
	return ERR_OK;
}
