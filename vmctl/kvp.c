/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "cli/out.h"
#include "vmctl/call.h"
#include "vmctl/verbs.h"

struct kvp_args {
	struct common common;
	const char *home;
};

static const struct opt kvp_opts[] = {
    VM_HOME(struct kvp_args),
    {0},
};

static void show(const char *name, const json_t *items, bool json)
{
	if (json) {
		json_emit(json_pack("{s:o, s:O}", "name", json_text(name), "items", items));
		return;
	}
	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *item = json_array_get(items, i);

		printf("%s = %s\n", out_name(json_string_value(json_object_get(item, "key"))),
		       out_name(json_string_value(json_object_get(item, "value"))));
	}
}

static int run(void *arg)
{
	struct kvp_args *args = arg;
	const char *name = args->common.arg[0];
	struct err_why why = {0};
	json_t *reply = NULL;
	const json_t *items;
	int rc = call_vm(args->home, name, json_pack("{s:s}", "do", "kvp"), CALL_SECONDS, &reply);

	if (rc)
		return rc;
	items = json_object_get(reply, "items");
	if (json_is_array(items)) {
		show(name, items, args->common.json);
	} else {
		err_set(&why, ERR_IO, "its worker's answer makes no sense");
		rc = out_fail(name, &why);
	}
	json_decref(reply);
	return rc;
}

const struct verb verb_kvp = {
    .name = "kvp",
    .summary = "show what a guest says of itself",
    .usage = "NAME",
    .details = "The guest's name, version, addresses and what else its key-value daemon\n"
	       "(hv_kvp_daemon) tells. All of it is the guest's word.",
    .opts = kvp_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct kvp_args),
    .run = run,
};
