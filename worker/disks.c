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

/* The disk that is in the slot now, if one is. */
static struct disk *disk_in(const struct vm *vm, unsigned slot)
{
	return slot < vm->view->disk_count ? vm->view->disk[slot] : NULL;
}

/* Commands of the guest wait while the disk behind its unit is changed. */
static enum err hold(struct vm *vm, unsigned slot, struct err_why *why)
{
	if (!disk_in(vm, slot))
		return err_set(why, ERR_NOENT, "there is no disk %u", slot);
	return storvsp_hold(partition_storage(vm->partition), slot, why);
}

/* Without a disk the guest loses the unit. */
static void release(struct vm *vm, unsigned slot)
{
	storvsp_release(partition_storage(vm->partition), slot, disk_in(vm, slot));
}

enum err disks_detach(struct vm *vm, unsigned slot, struct err_why *why)
{
	enum err err = hold(vm, slot, why);

	if (err)
		return err;
	err = snap_disk_remove(vm->store, slot, why);
	release(vm, slot);
	if (!disk_in(vm, slot))
		log_line(&vm->log, "disk %u was removed%s%s", slot, err ? ": " : "",
			 err && why ? why->text : "");
	return err;
}

enum err disks_resize(struct vm *vm, unsigned slot, uint64_t size_bytes, struct err_why *why)
{
	enum err err = hold(vm, slot, why);

	if (err)
		return err;
	err = snap_disk_resize(vm->store, slot, size_bytes, why);
	if (err == ERR_PERM)
		err_context(why,
			    "the VM runs, and may change files only where it could at its start "
			    "(vmctl start --allow)");
	release(vm, slot);
	if (!disk_in(vm, slot)) {
		log_line(&vm->log, "disk %u is lost: %s", slot, why ? why->text : "");
	} else if (!err) {
		log_line(&vm->log, "disk %u has %llu bytes now", slot,
			 (unsigned long long)size_bytes);
		err = storvsp_resized(partition_storage(vm->partition), slot, why);
	}
	return err;
}
