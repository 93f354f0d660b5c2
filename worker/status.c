/* SPDX-License-Identifier: MIT */
#include "worker/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/out.h"
#include "worker/vm.h"

static const char *heartbeat_name(enum heartbeat heartbeat)
{
	switch (heartbeat) {
	case HEARTBEAT_OK:
		return "ok";
	case HEARTBEAT_LOST:
		return "lost";
	case HEARTBEAT_NONE:
		break;
	}
	return "none";
}

static json_t *processors_json(const struct vm *vm)
{
	json_t *list = json_array();
	struct partition_vp_stats stats;

	for (unsigned i = 0; partition_vp_stats(vm->partition, i, &stats); i++)
		json_array_append_new(list, json_pack("{s:i, s:f, s:o, s:o}", "number", (int)i,
						      "seconds", (double)stats.cpu_ns / 1e9,
						      "exits", json_size(stats.exits), "hypercalls",
						      json_size(stats.hypercalls)));
	return list;
}

static json_t *disks_json(const struct vm *vm)
{
	const struct storvsp *storage = partition_storage(vm->partition);
	json_t *list = json_array();
	struct storvsp_stats s;

	for (unsigned i = 0; i < vm->view->disk_count; i++)
		if (storvsp_get_stats(storage, i, &s))
			json_array_append_new(
			    list,
			    json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "number", (int)i,
				      "reads", json_size(s.read_ops), "read_bytes",
				      json_size(s.read_bytes), "writes", json_size(s.write_ops),
				      "written_bytes", json_size(s.write_bytes), "flushes",
				      json_size(s.flush_ops), "trims", json_size(s.unmap_ops),
				      "errors", json_size(s.errors)));
	return list;
}

/* "5.3", or null before the guest has spoken. */
static json_t *vmbus_json(const struct vm *vm)
{
	uint32_t version = partition_vmbus_version(vm->partition);
	char text[16];

	if (!version)
		return json_null();
	snprintf(text, sizeof(text), "%u.%u", version >> 16, version & 0xffff);
	return json_string(text);
}

/* Bytes of memory the process has in use; 0: unknown. */
static uint64_t resident_bytes(const struct vm *vm)
{
	char text[128];
	ssize_t n = pread(vm->statm_fd, text, sizeof(text) - 1, 0);
	uint64_t pages;

	if (n <= 0)
		return 0;
	text[n] = 0;
	if (sscanf(text, "%*u %" SCNu64, &pages) != 1)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

json_t *status_json(const struct vm *vm)
{
	const struct integration *ic = partition_integration(vm->partition);

	return json_pack("{s:b, s:i, s:s, s:o, s:f, s:s, s:o, s:o, s:o, s:o, s:o}", "ok", 1, "pid",
			 (int)getpid(), "state", vm_state(vm), "failure",
			 json_text(vm->failed ? vm->failure : NULL), "uptime",
			 (double)(monotonic_ns() - vm->started_ns) / 1e9, "heartbeat",
			 heartbeat_name(integration_heartbeat(ic)), "vmbus", vmbus_json(vm),
			 "memory", json_size(vm->config.memory_bytes), "memory_used",
			 json_size(resident_bytes(vm)), "processors", processors_json(vm), "disks",
			 disks_json(vm));
}
