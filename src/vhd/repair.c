/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "util/bytes.h"
#include "vhd/check_internal.h"
#include "vhd/intent.h"
#include "vhd/recover.h"

/*
 * Carrying out what check has planned. Every step leaves an image that is no worse than before and
 * that check plans the rest for, so an interrupted repair is simply asked for again.
 */

static enum err write_copy(struct check *check, struct err_why *why)
{
	enum err e = layer_write_footer(&check->layer, 0, why);

	return e ? e : file_sync(check->layer.file, why);
}

static enum err drop_batmap(struct check *check, struct err_why *why)
{
	enum err e = layer_drop_batmap(&check->layer, why);

	return e ? e : file_sync(check->layer.file, why);
}

/* All ones over the surplus of the table; the padding behind it stays as it is. */
static enum err clear_surplus(struct check *check, struct err_why *why)
{
	struct vhd_layer *layer = &check->layer;
	uint32_t first = (uint32_t)round_down(layer->blocks, DISK_SECTOR / 4);
	size_t len = (size_t)(check->bat_entries - first) * 4;
	uint8_t *bytes = malloc(len);

	if (!bytes)
		return err_set(why, ERR_NOMEM, "out of memory");
	for (uint32_t i = first; i < check->bat_entries; i++)
		put_be32(bytes + (size_t)(i - first) * 4,
			 i < layer->blocks ? check->bat[i] : BAT_UNUSED);
	enum err e =
	    file_write(layer->file, EV_BAT, bytes, layer_bat_entry_off(layer, first), len, why);
	free(bytes);
	return e ? e : file_sync(layer->file, why);
}

/* The two footers never in one step (W2): only one of them can be wrong here. */
static enum err carry_out(struct check *check, struct err_why *why)
{
	const struct check_plan *plan = &check->plan;
	enum err e = ERR_OK;

	if (plan->write_trailing)
		e = recover_layer(&check->layer, why);
	if (!e && plan->write_copy)
		e = write_copy(check, why);
	if (!e && plan->drop_batmap)
		e = drop_batmap(check, why);
	if (!e && plan->clear_surplus)
		e = clear_surplus(check, why);
	return e;
}

/* Check with the writer's lock held and mend. *settle: there is an intent record, nothing was done.
 */
static enum err repair_once(const char *path, const struct vhd_open_opts *opts,
			    struct vhd_report *report, bool *settle, struct err_why *why)
{
	struct check check;
	enum err e = check_begin(&check, path, opts, FILE_OPEN_RDWR, report, why);

	if (!e)
		e = check_walk(&check, why);
	*settle = check.plan.settle_intent;
	if (!e && !*settle)
		e = carry_out(&check, why);
	enum err closed = check_end(&check, e ? NULL : why);
	return e ? e : closed;
}

/*
 * An intent record changes what there is to find, and replaying it takes the lock itself: it comes
 * first, and the rest is checked afresh. Its finding, the first one, stays in the report.
 */
static enum err settle_and_repair(const char *path, const struct vhd_open_opts *opts,
				  struct vhd_report *report, struct err_why *why)
{
	struct file_ns *ns = opts && opts->ns ? opts->ns : &file_ns_posix;
	bool settle;
	enum err e = intent_replay(ns, path, why);

	if (e)
		return e;
	report->count = 1;
	report->suppressed = 0;
	e = repair_once(path, opts, report, &settle, why);
	if (!e && settle)
		e = err_set(why, ERR_IO, "%s: the intent record is still there after replay", path);
	return e;
}

enum err vhd_repair(const char *path, const struct vhd_open_opts *opts, struct vhd_report *out,
		    struct err_why *why)
{
	bool settle = false;

	*out = (struct vhd_report){0};
	enum err e = repair_once(path, opts, out, &settle, why);
	if (!e && settle)
		e = settle_and_repair(path, opts, out, why);
	if (e)
		vhd_report_free(out);
	return e;
}
