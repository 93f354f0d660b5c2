/* SPDX-License-Identifier: MIT */
#include "worker/disks.h"

#include "worker/vm.h"

enum err disks_attach(struct vm *vm, const char *path, unsigned *slot, struct err_why *why)
{
	enum err err = snap_disk_add(vm->store, path, slot, why);

	if (err == ERR_PERM)
		err_context(why, "while it runs it may only use disks in its folder and in those "
				 "that vmctl start --allow has named");
	if (err)
		return err;
	err = vm_attach(vm, *slot, why);
	if (err)
		snap_disk_remove(vm->store, *slot, NULL);
	else
		log_line(&vm->log, "disk %u was added: %s", *slot, path);
	return err;
}

static enum err check_slot(const struct vm *vm, unsigned slot, struct err_why *why)
{
	if (slot >= vm->view->disk_count || !vm->view->disk[slot])
		return err_set(why, ERR_NOENT, "there is no disk %u", slot);
	return ERR_OK;
}

enum err disks_detach(struct vm *vm, unsigned slot, struct err_why *why)
{
	enum err err = check_slot(vm, slot, why);

	if (!err)
		err = storvsp_detach(partition_storage(vm->partition), slot, why);
	if (err)
		return err;
	err = snap_disk_remove(vm->store, slot, why);
	if (!err)
		log_line(&vm->log, "disk %u was removed", slot);
	else if (!check_slot(vm, slot, NULL))
		vm_attach(vm, slot, NULL); /* as it was */
	return err;
}

enum err disks_resize(struct vm *vm, unsigned slot, uint64_t size_bytes, struct err_why *why)
{
	struct storvsp *storage = partition_storage(vm->partition);
	bool ran = partition_state(vm->partition) == PARTITION_RUNNING;
	enum err err = check_slot(vm, slot, why), again;

	if (err)
		return err;
	/* The guest stands still, so that it asks for nothing while the disk is not there. */
	if (ran)
		partition_pause(vm->partition);
	err = storvsp_detach(storage, slot, why);
	if (!err) {
		err = snap_disk_resize(vm->store, slot, size_bytes, why);
		again = check_slot(vm, slot, NULL) ? ERR_IO : vm_attach(vm, slot, NULL);
		if (!again)
			again = storvsp_resized(storage, slot, NULL);
		if (again)
			log_line(&vm->log, "disk %u is lost to the guest", slot);
	}
	if (ran)
		partition_start(vm->partition, NULL);
	if (!err)
		log_line(&vm->log, "disk %u has %llu bytes now", slot,
			 (unsigned long long)size_bytes);
	return err;
}
