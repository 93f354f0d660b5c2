/* SPDX-License-Identifier: MIT */
#include "vhd/check_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/intent.h"

#define MAX_OF_A_KIND 1000u

static const char vhdx_signature[8] = {'v', 'h', 'd', 'x', 'f', 'i', 'l', 'e'};

/* ---- findings ---- */

static struct vhd_finding *append(struct vhd_report *report)
{
	/* A power of two of them has room for as many more. */
	if (!(report->count & (report->count - 1))) {
		size_t room = report->count ? report->count * 2 : 1;
		struct vhd_finding *grown = realloc(report->finding, room * sizeof(*grown));

		if (!grown)
			return NULL;
		report->finding = grown;
	}
	struct vhd_finding *finding = &report->finding[report->count++];
	memset(finding, 0, sizeof(*finding));
	return finding;
}

struct vhd_finding *check_add(struct check *check, enum vhd_finding_kind kind, uint64_t off_bytes,
			      const char *field, ...)
{
	struct vhd_finding *finding = NULL;
	va_list args;

	if (check->found[kind]++ < MAX_OF_A_KIND)
		finding = append(check->report);
	if (!finding) {
		check->report->suppressed++;
		return NULL;
	}
	finding->kind = kind;
	finding->off_bytes = off_bytes;
	va_start(args, field);
	vsnprintf(finding->field, sizeof(finding->field), field, args);
	va_end(args);
	return finding;
}

void check_rule(struct vhd_finding *finding, const char *fmt, ...)
{
	va_list args;

	if (!finding)
		return;
	va_start(args, fmt);
	vsnprintf(finding->rule, sizeof(finding->rule), fmt, args);
	va_end(args);
}

void check_action(struct vhd_finding *finding, const char *text)
{
	if (finding)
		snprintf(finding->action, sizeof(finding->action), "%s", text);
}

enum err vhd_report_result(const struct vhd_report *report)
{
	enum err worst = ERR_OK;

	for (size_t i = 0; i < report->count; i++) {
		if (report->finding[i].kind == FINDING_CORRUPT)
			return ERR_CORRUPT;
		if (report->finding[i].kind == FINDING_REPAIRABLE)
			worst = ERR_REPAIRABLE;
	}
	return worst;
}

void vhd_report_free(struct vhd_report *report)
{
	free(report->path);
	free(report->finding);
	*report = (struct vhd_report){0};
}

/* ---- the intent record (W19) ---- */

static enum err record_exists(const struct check *check, bool *out, struct err_why *why)
{
	struct file *file;
	char *name;

	if (asprintf(&name, "%s" INTENT_SUFFIX, check->layer.path) < 0)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = file_ns_open(check->ns, name, 0, &file, why);
	free(name);
	*out = !e;
	if (!e)
		return file_close(file, why);
	return e == ERR_NOENT ? ERR_OK : e;
}

/* A pending record is laid over what is read, as for any reader; a stale one only mentioned. */
static enum err check_intent(struct check *check, struct err_why *why)
{
	struct vhd_layer *layer = &check->layer;
	struct intent *intent = calloc(1, sizeof(*intent));
	bool exists = false;

	if (!intent)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = intent_load(check->ns, layer->path, layer->file, intent, NULL);
	if (!e) {
		layer->intent = intent;
		if (intent->size_bytes)
			layer->info.size_bytes = intent->size_bytes;
	} else {
		free(intent);
		e = record_exists(check, &exists, why);
		if (e || !exists)
			return e;
	}
	struct vhd_finding *finding = check_add(check, FINDING_REPAIRABLE, 0, "intent");
	check->plan.settle_intent = true;
	if (layer->intent) {
		check_rule(finding, "an operation was interrupted after its intent was recorded");
		check_action(finding, "finish the operation, remove the record");
	} else {
		check_rule(finding,
			   "the intent record beside the image is damaged, or the image was "
			   "changed after it was made");
		check_action(finding, "remove the record");
	}
	return ERR_OK;
}

/* ---- the walk ---- */

static enum err refuse_vhdx(const struct check *check, struct err_why *why)
{
	uint8_t buf[sizeof(vhdx_signature)];
	enum err e = file_read(check->layer.file, EV_FOOTER_COPY, buf, 0, sizeof(buf), why);

	if (!e && memcmp(buf, vhdx_signature, sizeof(buf)) == 0)
		e = err_set(why, ERR_UNSUPPORTED,
			    "%s: VHDX image (signature \"vhdxfile\" at 0x0): only VHD is supported",
			    check->layer.path);
	return e;
}

static enum err walk_sparse(struct check *check, struct err_why *why)
{
	enum err e = check_header(check, why);

	if (e || !check->has_header)
		return e;
	e = check_bat(check, why);
	if (!e)
		e = check_locators(check, why);
	if (!e)
		e = check_bitmaps(check, why);
	if (!e && check->layer.footer.type == VHD_DIFFERENCING)
		e = check_parent(check, why);
	check_tail(check);
	return e;
}

/*
 * The copy was gone by. Behind the last block is where the footer belongs, which is only known when
 * no BAT entry leads astray.
 */
static void tell_no_trailing(struct check *check)
{
	bool mendable = check->has_header && !check->entry_outside;
	struct vhd_finding *finding =
	    check_add(check, mendable ? FINDING_REPAIRABLE : FINDING_CORRUPT,
		      check->no_trailing.off_bytes, "%s", check->no_trailing.field);

	check_rule(finding, "%s", check->no_trailing.rule);
	if (mendable)
		check_action(finding, "write the footer behind the last block, from its copy");
	check->plan.write_trailing = mendable;
}

enum err check_walk(struct check *check, struct err_why *why)
{
	enum err e = check_intent(check, why);

	if (!e)
		e = check_footers(check, why);
	if (!e && !check->has_footer)
		e = refuse_vhdx(check, why);
	if (!e && check->has_footer && layer_is_sparse(&check->layer))
		e = walk_sparse(check, why);
	if (!e && *check->no_trailing.field)
		tell_no_trailing(check);
	return e;
}

enum err check_begin(struct check *check, const char *path, const struct vhd_open_opts *opts,
		     unsigned flags, struct vhd_report *report, struct err_why *why)
{
	static const struct vhd_open_opts defaults;
	enum file_lock lock = flags & FILE_OPEN_RDWR ? FILE_LOCK_WRITE : FILE_LOCK_READ;

	*check = (struct check){.opts = opts ? opts : &defaults, .report = report};
	check->ns = check->opts->ns ? check->opts->ns : &file_ns_posix;
	check->layer.path = strdup(path);
	if (!report->path)
		report->path = strdup(path);
	if (!check->layer.path || !report->path)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = file_ns_open(check->ns, path, flags, &check->layer.file, why);
	if (!e && !check->opts->no_lock)
		e = file_lock(check->layer.file, lock, why);
	return e ? e : file_get_info(check->layer.file, &check->layer.info, why);
}

enum err check_end(struct check *check, struct err_why *why)
{
	enum err e = file_close(check->layer.file, why);

	if (check->layer.intent)
		intent_free(check->layer.intent);
	free(check->layer.intent);
	free(check->layer.path);
	free(check->bat);
	free(check->order);
	return e;
}

enum err vhd_check(const char *path, const struct vhd_open_opts *opts, struct progress *progress,
		   struct vhd_report *out, struct err_why *why)
{
	struct check check;

	*out = (struct vhd_report){0};
	enum err e = check_begin(&check, path, opts, 0, out, why);
	check.progress = progress;
	if (!e)
		e = check_walk(&check, why);
	enum err closed = check_end(&check, e ? NULL : why);
	e = e ? e : closed;
	if (e)
		vhd_report_free(out);
	return e;
}
