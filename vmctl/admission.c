/* SPDX-License-Identifier: MIT */
#include "vmctl/admission.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "snapshot/snapshot.h"
#include "util/text.h"
#include "vmctl/call.h"

#define LOCK_TRIES   600u
#define LOCK_REST_NS 50000000

enum err admission_lock(const char *home, int *fd, struct err_why *why)
{
	const struct timespec rest = {.tv_nsec = LOCK_REST_NS};

	*fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return err_sys(why, errno, "the folder of all VMs");
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
			return ERR_OK;
		if (errno != EWOULDBLOCK && errno != EINTR)
			break;
		nanosleep(&rest, NULL);
	}
	err_sys(why, errno, "other VMs are being started");
	close(*fd);
	*fd = -1;
	return why ? why->code : ERR_LOCKED;
}

struct host {
	uint64_t total, available;
};

static enum err look_at_host(struct host *out, struct err_why *why)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];

	*out = (struct host){0};
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "MemTotal: %" SCNu64 " kB", &out->total) != 1)
			(void)sscanf(line, "MemAvailable: %" SCNu64 " kB", &out->available);
	}
	if (file)
		fclose(file);
	if (!out->total || !out->available)
		return err_set(why, ERR_UNSUPPORTED,
			       "/proc/meminfo does not tell how much memory there is");
	out->total *= 1024;
	out->available *= 1024;
	return ERR_OK;
}

/* What the VMs that run were promised, and how much of that they have not taken yet. */
struct promised {
	uint64_t bytes, untouched;
	unsigned vms;
};

static void add_vm(const char *home, const char *name, struct promised *sum)
{
	uint64_t promised, used;
	json_t *status;
	char *dir;

	if (snap_vm_dir(home, name, &dir, NULL))
		return;
	status = call_status(dir);
	free(dir);
	if (!status)
		return;
	promised =
	    (uint64_t)json_integer_value(json_object_get(status, "memory")) + ADMISSION_VM_BYTES;
	used = (uint64_t)json_integer_value(json_object_get(status, "memory_used"));
	sum->bytes += promised;
	sum->untouched += promised > used ? promised - used : 0;
	sum->vms++;
	json_decref(status);
}

static enum err add_all(const char *home, struct promised *sum, struct err_why *why)
{
	char **names;
	unsigned count;
	enum err err = snap_list_vms(home, &names, &count, why);

	*sum = (struct promised){0};
	if (err)
		return err;
	for (unsigned i = 0; i < count; i++) {
		add_vm(home, names[i], sum);
		free(names[i]);
	}
	free(names);
	return ERR_OK;
}

enum err admission_check(const char *home, uint64_t memory_bytes, struct err_why *why)
{
	uint64_t wanted = memory_bytes + ADMISSION_VM_BYTES;
	char a[32], b[32], c[32];
	struct promised sum;
	struct host host;
	enum err err = look_at_host(&host, why);

	if (!err)
		err = add_all(home, &sum, why);
	if (err)
		return err;
	if (ADMISSION_HOST_BYTES + sum.bytes + wanted > host.total)
		return err_set(why, ERR_NOMEM,
			       "not enough memory: %s for it, %s for the %u VMs that run and 512 "
			       "MiB for the host are more than the %s there are (--overcommit "
			       "starts it all the same)",
			       size_text(wanted, a, sizeof(a)), size_text(sum.bytes, b, sizeof(b)),
			       sum.vms, size_text(host.total, c, sizeof(c)));
	if (sum.untouched + wanted > host.available)
		return err_set(why, ERR_NOMEM,
			       "not enough memory: %s for it and %s that VMs have not used yet are "
			       "more than the %s that are free (--overcommit starts it all the "
			       "same)",
			       size_text(wanted, a, sizeof(a)),
			       size_text(sum.untouched, b, sizeof(b)),
			       size_text(host.available, c, sizeof(c)));
	return ERR_OK;
}
