/* SPDX-License-Identifier: MIT */
#include "vmctl/state.h"

#include <stdio.h>
#include <string.h>

#include "cli/out.h"
#include "util/bytes.h"
#include "vmctl/vm.h"

static const char *const members[] = {"pid",   "failure",     "uptime",    "heartbeat",
				      "vmbus", "memory_used", "processors"};

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static uint64_t number_of(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value < 0 ? 0 : (uint64_t)value;
}

const char *state_name(const struct snap_tree *tree, const json_t *status)
{
	static const char *const names[] = {"running", "paused", "failed"};
	const char *said = text_of(status, "state");

	for (size_t i = 0; said && i < ARRAY_LEN(names); i++)
		if (!strcmp(said, names[i]))
			return names[i];
	return vm_state(tree);
}

/* Of the disk with that number; NULL: none. */
static json_t *counters_of(const json_t *status, uint64_t disk)
{
	const json_t *list = json_object_get(status, "disks");

	for (size_t i = 0; i < json_array_size(list); i++)
		if (number_of(json_array_get(list, i), "number") == disk)
			return json_array_get(list, i);
	return NULL;
}

static json_t *counters_json(const json_t *status, uint64_t disk)
{
	json_t *counters = json_copy(counters_of(status, disk));

	if (!counters)
		return json_null();
	json_object_del(counters, "number"); /* the disk has it */
	return counters;
}

void state_add_json(json_t *root, const json_t *status)
{
	const json_t *disks = json_object_get(root, "disks");

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_t *member = json_object_get(status, members[i]);

		if (member)
			json_object_set(root, members[i], member);
		else
			json_object_set_new(root, members[i], json_null());
	}
	for (size_t i = 0; i < json_array_size(disks); i++) {
		json_t *disk = json_array_get(disks, i);

		json_object_set_new(disk, "counters",
				    counters_json(status, number_of(disk, "number")));
	}
}

static void print_uptime(double seconds)
{
	unsigned long s = seconds > 0 ? (unsigned long)seconds : 0;

	if (s >= 86400)
		out_row("running for", "%lu days, %lu:%02lu:%02lu", s / 86400, s / 3600 % 24,
			s / 60 % 60, s % 60);
	else
		out_row("running for", "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
}

static const char *heartbeat_words(const char *heartbeat)
{
	if (heartbeat && !strcmp(heartbeat, "ok"))
		return "ok";
	if (heartbeat && !strcmp(heartbeat, "lost"))
		return "lost: the guest does not answer any more";
	return "none yet";
}

static void print_processors(const json_t *list)
{
	char label[32];

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);

		snprintf(label, sizeof(label), "processor %zu", i);
		out_row(label, "%.1f s, %llu exits, %llu hypercalls",
			json_number_value(json_object_get(item, "seconds")),
			(unsigned long long)number_of(item, "exits"),
			(unsigned long long)number_of(item, "hypercalls"));
	}
}

void state_print(const json_t *status)
{
	const char *failure = text_of(status, "failure"), *vmbus = text_of(status, "vmbus");

	if (!status)
		return;
	if (failure)
		out_row("failure", "%s", out_name(failure));
	out_row("process", "%llu", (unsigned long long)number_of(status, "pid"));
	print_uptime(json_number_value(json_object_get(status, "uptime")));
	out_row("heartbeat", "%s", heartbeat_words(text_of(status, "heartbeat")));
	out_row("VMBus", "%s", vmbus ? out_name(vmbus) : "not used yet");
	out_row("memory in use", "%s", out_size(number_of(status, "memory_used")));
	print_processors(json_object_get(status, "processors"));
}

void state_print_disk(const json_t *status, unsigned disk)
{
	const json_t *c = counters_of(status, disk);

	if (!c)
		return;
	out_row("", "%llu reads (%s), %llu writes (%s), %llu flushes, %llu trims, %llu errors",
		(unsigned long long)number_of(c, "reads"), out_size(number_of(c, "read_bytes")),
		(unsigned long long)number_of(c, "writes"), out_size(number_of(c, "written_bytes")),
		(unsigned long long)number_of(c, "flushes"),
		(unsigned long long)number_of(c, "trims"),
		(unsigned long long)number_of(c, "errors"));
}
