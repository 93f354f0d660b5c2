/* SPDX-License-Identifier: MIT */
#include "vmctl/disk.h"

#include <stdlib.h>
#include <unistd.h>

#include "cli/out.h"
#include "vmctl/call.h"
#include "vmctl/show.h"

/* A disk may have to be repaired or grown first. */
#define CHANGE_SECONDS 600

int disk_number(const char *verb, const char *text, unsigned *out)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value >= SNAP_MAX_DISKS)
		return out_usage(verb, "'%s' is not the number of a disk: 0 to %u", out_name(text),
				 SNAP_MAX_DISKS - 1);
	*out = (unsigned)value;
	return 0;
}

/* ERR_NOENT: there is no worker to ask. */
static enum err ask_worker(const struct vm *vm, json_t *request, struct err_why *why)
{
	int fd;
	enum err err = call_open(vm->dir, &fd, why);

	if (err)
		return err;
	err = call_ask(fd, json_incref(request), CHANGE_SECONDS, NULL, why);
	close(fd);
	return err;
}

static int change_store(struct vm *vm,
			enum err (*change)(struct store *store, void *arg, struct err_why *why),
			void *arg)
{
	struct err_why why = {0};
	int rc = vm_open_store(vm, 0);

	if (!rc && change(vm->store, arg, &why))
		rc = out_fail(vm->name, &why);
	return rc;
}

int disk_change(const char *home, const char *name, bool json, json_t *request,
		enum err (*change)(struct store *store, void *arg, struct err_why *why), void *arg)
{
	struct err_why why = {0};
	struct vm vm;
	int rc = vm_locate(home, name, &vm);
	enum err err;

	if (rc) {
		json_decref(request);
		return rc;
	}
	err = ask_worker(&vm, request, &why);
	json_decref(request);
	if (err == ERR_NOENT)
		rc = change_store(&vm, change, arg);
	else if (err)
		rc = out_fail(name, &why);
	vm_close(&vm);
	return rc ? rc : show_vm_named(home, name, json);
}
