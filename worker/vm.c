/* SPDX-License-Identifier: MIT */
#include "worker/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker/kernel.h"

#define REST_NS  50000000
#define DYING_NS UINT64_C(3000000000)

uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

enum err vm_init(struct vm *vm, const char *dir, struct err_why *why)
{
	*vm = (struct vm){
	    .dir = dir,
	    .name = last_part(dir),
	    .kernel_fd = -1,
	    .initrd_fd = -1,
	    .console = {.ours = -1, .guests = -1, .file.fd = -1},
	    .control.listener = -1,
	    .log.file.fd = -1,
	};
	vm->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	vm->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (vm->dir_fd < 0)
		return err_sys(why, errno, "%s", dir);
	return ERR_OK;
}

void vm_free(struct vm *vm)
{
	log_close(&vm->log);
	if (vm->dir_fd >= 0)
		close(vm->dir_fd);
	if (vm->statm_fd >= 0)
		close(vm->statm_fd);
}

/* ---- what a start needs ---- */

static enum err read_config(struct vm *vm, struct err_why *why)
{
	struct snap_tree tree;
	enum err err = snap_tree(vm->store, 0, &tree, why);

	if (err)
		return err;
	vm->id = tree.vm;
	if (!snap_config_copy(&tree.config, &vm->config))
		err = err_set(why, ERR_NOMEM, "no memory for a configuration");
	else if (!vm->config.kernel)
		err = err_set(why, ERR_USAGE,
			      "there is no kernel to start: vmctl set --kernel names one");
	snap_tree_free(&tree);
	return err;
}

static enum err open_boot_files(struct vm *vm, struct err_why *why)
{
	enum err err = kernel_open(vm->config.kernel, &vm->kernel_fd, why);

	if (!err && vm->config.initrd)
		err = boot_file_open("initrd", vm->config.initrd, &vm->initrd_fd, why);
	return err;
}

/*
 * A process that was killed leaves its socket, and its locks a little longer: until the kernel is
 * done with what was under way.
 */
static enum err open_disks(struct vm *vm, struct err_why *why)
{
	const struct snap_view_opts opts = {.writable = true, .direct = true};
	const struct timespec rest = {.tv_nsec = REST_NS};
	uint64_t until = control_is_stale(vm->dir_fd) ? monotonic_ns() + DYING_NS : 0;

	for (;;) {
		enum err err = snap_view_open(vm->store, NULL, &opts, &vm->view, why);

		if (err != ERR_LOCKED || monotonic_ns() >= until)
			return err;
		nanosleep(&rest, NULL);
	}
}

enum err vm_open(struct vm *vm, struct err_why *why)
{
	enum err err = snap_open(&file_ns_posix, vm->dir, 0, &vm->store, why);

	if (!err)
		err = read_config(vm, why);
	if (!err)
		err = open_boot_files(vm, why);
	if (!err)
		err = open_disks(vm, why);
	if (!err)
		err = console_open(&vm->console, vm->dir_fd, why);
	return err;
}

/* The same at each start, and another one for each disk. */
static struct guid unit_id(const struct vm *vm, unsigned slot)
{
	struct guid id = vm->id;

	id.b[15] ^= (uint8_t)(slot + 1);
	return id;
}

enum err vm_attach(struct vm *vm, unsigned slot, struct err_why *why)
{
	const struct storvsp_unit unit = {.disk = vm->view->disk[slot], .id = unit_id(vm, slot)};

	return storvsp_attach(partition_storage(vm->partition), slot, &unit, why);
}

enum err vm_build(struct vm *vm, struct err_why *why)
{
	const struct partition_opts opts = {
	    .memory_bytes = vm->config.memory_bytes,
	    .vp_count = vm->config.cpus,
	    .id = vm->id,
	    .kernel_fd = vm->kernel_fd,
	    .initrd_fd = vm->initrd_fd,
	    .cmdline = vm->config.cmdline,
	    .console_fd = vm->console.guests,
	};
	enum err err = partition_create(&opts, &vm->partition, why);

	for (unsigned i = 0; !err && i < vm->view->disk_count; i++)
		if (vm->view->disk[i])
			err = vm_attach(vm, i, why);
	return err;
}

enum err vm_run(struct vm *vm, struct err_why *why)
{
	enum err err = partition_start(vm->partition, why);

	vm->started_ns = vm->booted_ns = monotonic_ns();
	return err;
}

enum err vm_close(struct vm *vm, struct err_why *why)
{
	enum err err;

	partition_destroy(vm->partition);
	vm->partition = NULL;
	err = snap_view_close(vm->view, why);
	vm->view = NULL;
	snap_close(vm->store);
	vm->store = NULL;
	console_close(&vm->console);
	snap_config_free(&vm->config);
	if (vm->kernel_fd >= 0)
		close(vm->kernel_fd);
	if (vm->initrd_fd >= 0)
		close(vm->initrd_fd);
	vm->kernel_fd = vm->initrd_fd = -1;
	return err;
}

/* ---- its state ---- */

const char *vm_state(const struct vm *vm)
{
	if (vm->failed)
		return "failed";
	return partition_state(vm->partition) == PARTITION_PAUSED ? "paused" : "running";
}

void vm_note_reset(struct vm *vm)
{
	vm->booted_ns = monotonic_ns();
}

void vm_fail(struct vm *vm, const char *text)
{
	vm->failed = true;
	snprintf(vm->failure, sizeof(vm->failure), "%s", text);
	log_line(&vm->log, "the VM cannot go on: %s", text);
}
