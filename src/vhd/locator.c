/* SPDX-License-Identifier: MIT */
#include "vhd/locator.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/utf16.h"
#include "util/utf8.h"

static bool code_is(const struct vhd_locator_entry *entry, const char *code)
{
	return memcmp(entry->code, code, 4) == 0;
}

/* ASCII, or UTF-8 where that may stand; NULs only at the end. `bytes` is terminated. */
static bool is_narrow_text(const uint8_t *bytes, uint32_t len, bool utf8)
{
	const char *p = (const char *)bytes;

	while (*p) {
		uint32_t c;
		unsigned taken = utf8_decode(p, &c);

		if (!taken || (c >= 0x80 && !utf8))
			return false;
		p += taken;
	}
	for (uint32_t i = (uint32_t)(p - (const char *)bytes); i < len; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

static enum err check_place(const struct vhd_layer *layer, unsigned slot, struct err_why *why)
{
	const struct vhd_locator_entry *entry = &layer->header.locator[slot];
	uint64_t end;

	if (entry->len_bytes == 0 || entry->len_bytes > LOCATOR_MAX_BYTES)
		return err_set(why, ERR_CORRUPT,
			       "parent locator %u: length %u is not 1 to 65536 bytes", slot,
			       entry->len_bytes);
	if (!locator_space_bytes(entry))
		return err_set(why, ERR_CORRUPT,
			       "parent locator %u: length %u is more than its space of %u", slot,
			       entry->len_bytes, entry->space);
	if (entry->off_bytes < FOOTER_BYTES ||
	    !checked_add(entry->off_bytes, entry->len_bytes, &end) || end > layer->footer_off)
		return err_set(why, ERR_CORRUPT,
			       "parent locator %u: 0x%llx + %u bytes is not between the footers",
			       slot, (unsigned long long)entry->off_bytes, entry->len_bytes);
	const struct vhd_header *h = &layer->header;
	if (ranges_overlap(entry->off_bytes, entry->len_bytes, layer->footer.data_off,
			   HEADER_BYTES) ||
	    ranges_overlap(entry->off_bytes, entry->len_bytes, h->bat_off,
			   vhd_bat_bytes(h->max_entries)))
		return err_set(
		    why, ERR_CORRUPT,
		    "parent locator %u: 0x%llx + %u bytes overlaps the header or the BAT", slot,
		    (unsigned long long)entry->off_bytes, entry->len_bytes);
	return ERR_OK;
}

/* `raw` has len bytes and room for one more. */
static enum err decode_path(const struct vhd_locator_entry *entry, unsigned slot, uint8_t *raw,
			    char **out, struct err_why *why)
{
	uint32_t len = entry->len_bytes;
	bool wide = code_is(entry, "W2ku") || code_is(entry, "W2ru");
	size_t room = wide ? (size_t)len / 2 * 3 + 1 : (size_t)len + 1;
	char *path = malloc(room);

	if (!path)
		return err_set(why, ERR_NOMEM, "out of memory");
	raw[len] = 0;
	bool ok;
	if (wide) {
		ok = utf16_to_utf8(raw, len, UTF16_LE, true, path, room);
	} else {
		ok = is_narrow_text(raw, len, code_is(entry, "MacX"));
		memcpy(path, raw, (size_t)len + 1);
	}
	if (!ok || !*path) {
		free(path);
		return err_set(why, ERR_CORRUPT, "parent locator %u: not a valid path text", slot);
	}
	*out = path;
	return ERR_OK;
}

enum err locator_read(struct vhd_layer *layer, unsigned slot, char **out, struct err_why *why)
{
	static const char *const known[] = {"W2ku", "W2ru", "Wi2k", "Wi2r", "MacX"};
	const struct vhd_locator_entry *entry = &layer->header.locator[slot];
	bool is_known = false;

	for (unsigned i = 0; i < ARRAY_LEN(known); i++)
		is_known |= code_is(entry, known[i]);
	if (!is_known)
		return err_set(why, ERR_NOENT, "parent locator %u: empty or of an unknown kind",
			       slot);
	enum err e = check_place(layer, slot, why);
	if (e)
		return e;

	uint8_t *raw = malloc((size_t)entry->len_bytes + 1);
	if (!raw)
		return err_set(why, ERR_NOMEM, "out of memory");
	e = layer_read_meta(layer, EV_LOCATOR, raw, entry->off_bytes, entry->len_bytes, why);
	if (!e)
		e = decode_path(entry, slot, raw, out, why);
	free(raw);
	return e;
}

char *header_parent_name(const struct vhd_header *header)
{
	size_t room = (size_t)PARENT_NAME_BYTES / 2 * 3 + 1;
	char *name = malloc(room);

	if (name &&
	    (!utf16_to_utf8(header->parent_name, PARENT_NAME_BYTES, UTF16_BE, false, name, room) ||
	     !*name)) {
		free(name);
		name = NULL;
	}
	return name;
}

bool header_set_parent_name(struct vhd_header *header, const char *name)
{
	size_t name_len = strlen(name);
	size_t room = name_len * 2;
	uint8_t *wide = malloc(room + 1);
	bool ok = wide && !strchr(name, '\\') && utf8_to_utf16(name, UTF16_BE, wide, &room);

	if (ok) {
		size_t keep = room < PARENT_NAME_BYTES ? room : PARENT_NAME_BYTES - 2;

		/* never end in half of a surrogate pair */
		if (keep < room && keep >= 2 && (wide[keep - 2] & 0xfc) == 0xd8)
			keep -= 2;
		memset(header->parent_name, 0, PARENT_NAME_BYTES);
		memcpy(header->parent_name, wide, keep);
	}
	free(wide);
	return ok;
}

enum err locator_encode(const char *path, uint8_t **data, uint32_t *len_bytes, struct err_why *why)
{
	size_t len = strlen(path) * 2;
	char *windows = strdup(path);
	uint8_t *wide = malloc(len + 1);

	if (!windows || !wide) {
		free(windows);
		free(wide);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	for (char *p = windows; *p; p++) {
		if (*p == '/')
			*p = '\\';
	}
	bool ok = utf8_to_utf16(windows, UTF16_LE, wide, &len) && len && len <= LOCATOR_MAX_BYTES;
	free(windows);
	if (!ok) {
		free(wide);
		return err_set(why, ERR_USAGE,
			       "the parent's path is not UTF-8, or too long for a parent locator");
	}
	*data = wide;
	*len_bytes = (uint32_t)len;
	return ERR_OK;
}

char *locator_relative_path(const char *from, const char *to)
{
	size_t common = 0; /* just behind the last '/' both have */
	size_t ups = 0;

	for (size_t i = 0; from[i] && from[i] == to[i]; i++) {
		if (from[i] == '/')
			common = i + 1;
	}
	for (const char *p = from + common; *p; p++)
		ups += *p == '/';
	size_t room = ups * 3 + strlen(to + common) + 3;
	char *out = malloc(room);
	if (!out)
		return NULL;
	char *w = out;
	if (!ups)
		w = stpcpy(w, ".\\");
	while (ups--)
		w = stpcpy(w, "..\\");
	stpcpy(w, to + common);
	for (; *w; w++) {
		if (*w == '/')
			*w = '\\';
	}
	return out;
}
