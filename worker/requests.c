/* SPDX-License-Identifier: MIT */
#include "worker/requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/out.h"
#include "util/bytes.h"
#include "worker/disks.h"
#include "worker/protocol.h"
#include "worker/status.h"
#include "worker/vm.h"

#define SECOND_NS UINT64_C(1000000000)
/* A guest that is booting may get its shutdown component still. */
#define COMPONENT_SECONDS 5
#define BOOT_SECONDS      30
#define KVP_SECONDS       10

json_t *reply_ok(void)
{
	return json_pack("{s:b}", "ok", 1);
}

json_t *reply_error(const struct err_why *why)
{
	return json_pack("{s:b, s:i, s:o}", "ok", 0, "code",
			 why->code ? err_exit_code(why->code) : 1, "error",
			 json_text(*why->text ? why->text : err_name(why->code)));
}

static json_t *reply_to(enum err err, const struct err_why *why)
{
	return err ? reply_error(why) : reply_ok();
}

static json_t *refuse(const char *text)
{
	struct err_why why = {0};

	err_set(&why, ERR_REFUSED, "%s", text);
	return reply_error(&why);
}

static json_t *misuse(const char *text)
{
	struct err_why why = {0};

	err_set(&why, ERR_USAGE, "%s", text);
	return reply_error(&why);
}

static json_t *do_status(struct vm *vm, struct client *client, const json_t *args)
{
	(void)client;
	(void)args;
	return status_json(vm);
}

/* ---- stop ---- */

/* The reply is given when the disks are closed. */
static json_t *wait_end(struct vm *vm, struct client *client)
{
	(void)vm;
	(void)client;
	return NULL;
}

/* What cannot be had now must not come true later. */
static json_t *give_up(struct vm *vm, const char *text)
{
	integration_reset(partition_integration(vm->partition));
	log_line(&vm->log, "stop: %s", text);
	return refuse(text);
}

static json_t *wait_stop(struct vm *vm, struct client *client)
{
	uint64_t now = monotonic_ns();
	char text[160];

	if (vm->ends)
		return NULL;
	switch (integration_shutdown_state(partition_integration(vm->partition))) {
	case SHUTDOWN_REFUSED:
		return give_up(vm, "the guest refuses to shut down; --force ends it at once");
	case SHUTDOWN_NONE:
		return refuse("the guest has not stopped: it has restarted, or was not asked any "
			      "more; --force ends it at once");
	case SHUTDOWN_NO_GUEST:
		if ((now - client->asked_ns > COMPONENT_SECONDS * SECOND_NS &&
		     now - vm->booted_ns > BOOT_SECONDS * SECOND_NS) ||
		    now > client->deadline_ns)
			return give_up(vm, "the guest has no shutdown component (hv_utils) that "
					   "could be asked; --force ends it at once");
		return NULL;
	case SHUTDOWN_ASKED:
	case SHUTDOWN_ACCEPTED:
		break;
	}
	if (now <= client->deadline_ns)
		return NULL;
	snprintf(text, sizeof(text),
		 "the guest was asked but has not stopped within %llu s; --force ends it at once",
		 (unsigned long long)((client->deadline_ns - client->asked_ns) / SECOND_NS));
	return give_up(vm, text);
}

static json_t *end_now(struct vm *vm, struct client *client, const char *how)
{
	log_line(&vm->log, "%s", how);
	vm->ends = true;
	client->wait = wait_end;
	return NULL;
}

static json_t *do_stop(struct vm *vm, struct client *client, const json_t *args)
{
	int force = 0, seconds = WORKER_STOP_SECONDS;

	if (json_unpack((json_t *)args, "{s?b, s?i}", "force", &force, "timeout", &seconds) ||
	    seconds < 1 || seconds > WORKER_STOP_SECONDS_MAX)
		return misuse("stop: {\"force\": true or false, \"timeout\": seconds}");
	if (force)
		return end_now(vm, client, "stopped by force");
	if (vm->failed)
		return end_now(vm, client, "stopped after it had failed");
	if (partition_state(vm->partition) == PARTITION_PAUSED)
		return refuse("the VM is paused, so its guest cannot stop; resume it, or --force");
	log_line(&vm->log, "the guest is asked to shut down");
	integration_shutdown(partition_integration(vm->partition), false);
	client->asked_ns = monotonic_ns();
	client->deadline_ns = client->asked_ns + (uint64_t)seconds * SECOND_NS;
	client->wait = wait_stop;
	return NULL;
}

/* ---- reset, pause, resume ---- */

static json_t *do_reset(struct vm *vm, struct client *client, const json_t *args)
{
	struct err_why why = {0};

	(void)client;
	(void)args;
	if (vm->failed)
		return refuse("the VM has failed: stop it, and start it again");
	if (partition_reset(vm->partition, &why)) {
		vm_fail(vm, why.text);
		return reply_error(&why);
	}
	vm_note_reset(vm);
	log_line(&vm->log, "reset");
	return reply_ok();
}

static json_t *do_pause(struct vm *vm, struct client *client, const json_t *args)
{
	(void)client;
	(void)args;
	if (vm->failed)
		return refuse("the VM has failed, it does not run");
	if (partition_state(vm->partition) == PARTITION_RUNNING) {
		partition_pause(vm->partition);
		log_line(&vm->log, "paused");
	}
	return reply_ok();
}

static json_t *do_resume(struct vm *vm, struct client *client, const json_t *args)
{
	struct err_why why = {0};
	enum err err = ERR_OK;

	(void)client;
	(void)args;
	if (vm->failed)
		return refuse("the VM has failed: stop it, and start it again");
	if (partition_state(vm->partition) == PARTITION_PAUSED) {
		err = partition_start(vm->partition, &why);
		log_line(&vm->log, "resumed");
	}
	return reply_to(err, &why);
}

/* ---- console ---- */

static json_t *do_console(struct vm *vm, struct client *client, const json_t *args)
{
	static char past[CONSOLE_HISTORY_BYTES];
	int history = 0;

	if (json_unpack((json_t *)args, "{s?b}", "history", &history))
		return misuse("console: {\"history\": true or false}");
	client->console = true; /* its reply is sent here, as output follows it */
	client_send(client, "{\"ok\":true}\n", 12);
	if (history)
		client_send(client, past, console_history(&vm->console, past));
	return NULL;
}

/* ---- kvp ---- */

static json_t *kvp_json(const struct kvp_list *list)
{
	json_t *items = json_array();

	for (unsigned i = 0; i < list->count; i++)
		json_array_append_new(items,
				      json_pack("{s:o, s:o}", "key", json_text(list->item[i].key),
						"value", json_text(list->item[i].value)));
	return json_pack("{s:b, s:o}", "ok", 1, "items", items);
}

static json_t *wait_kvp(struct vm *vm, struct client *client)
{
	struct integration *ic = partition_integration(vm->partition);

	if (integration_kvp_ready(ic))
		return kvp_json(integration_kvp(ic));
	if (monotonic_ns() < client->deadline_ns)
		return NULL;
	return refuse("the guest's daemon does not answer");
}

static json_t *do_kvp(struct vm *vm, struct client *client, const json_t *args)
{
	(void)args;
	if (vm->failed || partition_state(vm->partition) != PARTITION_RUNNING)
		return refuse("the guest stands still, it cannot answer");
	if (!integration_kvp_refresh(partition_integration(vm->partition)))
		return refuse("nobody answers in the guest: its hv_kvp_daemon does not run (yet)");
	client->deadline_ns = monotonic_ns() + KVP_SECONDS * SECOND_NS;
	client->wait = wait_kvp;
	return NULL;
}

/* ---- disks ---- */

static json_t *do_disk_attach(struct vm *vm, struct client *client, const json_t *args)
{
	struct err_why why = {0};
	const char *path;
	unsigned slot;

	(void)client;
	if (json_unpack((json_t *)args, "{s:s}", "path", &path) || *path != '/')
		return misuse("disk-attach: {\"path\": an absolute path}");
	if (disks_attach(vm, path, &slot, &why))
		return reply_error(&why);
	return json_pack("{s:b, s:i}", "ok", 1, "disk", (int)slot);
}

static json_t *do_disk_detach(struct vm *vm, struct client *client, const json_t *args)
{
	struct err_why why = {0};
	int slot;

	(void)client;
	if (json_unpack((json_t *)args, "{s:i}", "disk", &slot) || slot < 0)
		return misuse("disk-detach: {\"disk\": its number}");
	return reply_to(disks_detach(vm, (unsigned)slot, &why), &why);
}

static json_t *do_disk_resize(struct vm *vm, struct client *client, const json_t *args)
{
	struct err_why why = {0};
	json_int_t bytes;
	int slot;

	(void)client;
	if (json_unpack((json_t *)args, "{s:i, s:I}", "disk", &slot, "size", &bytes) || slot < 0 ||
	    bytes < 0)
		return misuse("disk-resize: {\"disk\": its number, \"size\": bytes}");
	return reply_to(disks_resize(vm, (unsigned)slot, (uint64_t)bytes, &why), &why);
}

/* ---- the table ---- */

static const struct {
	const char *name;
	json_t *(*run)(struct vm *vm, struct client *client, const json_t *args);
} requests[] = {
    {"status", do_status},
    {"stop", do_stop},
    {"reset", do_reset},
    {"pause", do_pause},
    {"resume", do_resume},
    {"console", do_console},
    {"kvp", do_kvp},
    {"disk-attach", do_disk_attach},
    {"disk-detach", do_disk_detach},
    {"disk-resize", do_disk_resize},
};

static json_t *run(struct vm *vm, struct client *client, const json_t *root)
{
	const char *name = json_string_value(json_object_get(root, "do"));

	if (!name)
		return misuse("a request is a JSON object on one line: {\"do\": ...}");
	for (size_t i = 0; i < ARRAY_LEN(requests); i++)
		if (!strcmp(requests[i].name, name))
			return requests[i].run(vm, client, root);
	return misuse("there is no such request");
}

json_t *requests_answer(struct vm *vm, struct client *client, const char *line, size_t len)
{
	json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	json_t *reply = run(vm, client, root);

	json_decref(root);
	return reply;
}
