/* SPDX-License-Identifier: MIT */
/*
 * Two who have the same VM open, and one who only reads. On a real folder, as locks are the
 * kernel's: two openings in one process exclude each other as two processes do.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/snap_lab.h"

static char folder[64], dir[80];
static struct store *a, *b;

static struct store *open_here(unsigned flags)
{
	struct store *store = NULL;
	struct err_why why = {0};

	cr_assert_eq(snap_open(NULL, dir, flags, &store, &why), ERR_OK, "%s", why.text);
	return store;
}

/* A VM with a disk and a snapshot "one", where block 0 has tag 1; current has 2. */
static void start(void)
{
	char path[100];
	const char *disks[] = {path};
	struct snap_create_opts opts = {.config = {.memory_bytes = 64 * MIB, .cpus = 1},
					.disks = disks,
					.disk_count = 1,
					.copy = true};
	struct vhd_create_opts disk = {
	    .type = VHD_DYNAMIC, .size_bytes = SLAB_BYTES, .block_size = SLAB_BLOCK};
	struct err_why why = {0};

	snprintf(folder, sizeof(folder), "/tmp/strata-locks-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	snprintf(dir, sizeof(dir), "%s/web", folder);
	snprintf(path, sizeof(path), "%s/disk.vhd", folder);
	cr_assert_eq(vhd_create(path, &disk, &why), ERR_OK, "%s", why.text);
	cr_assert_eq(snap_create(dir, &opts, &why), ERR_OK, "%s", why.text);
	a = open_here(0);
	store_lab_write(a, 0, 0, 1);
	store_lab_take(a, "one");
	store_lab_write(a, 0, 0, 2);
	b = open_here(0);
}

static void stop(void)
{
	char command[80];

	snap_close(a);
	snap_close(b);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_assert_eq(system(command), 0);
}

TestSuite(snap_locks, .init = start, .fini = stop, .timeout = 60);

static struct guid one(struct store *store)
{
	struct snap_tree tree = store_lab_tree(store);
	struct guid id = tree.node[0].id;

	snap_tree_free(&tree);
	return id;
}

static bool is_running(struct store *store)
{
	struct snap_tree tree = store_lab_tree(store);
	bool running = tree.running;

	snap_tree_free(&tree);
	return running;
}

static enum err try_view(struct store *store, bool writable, struct err_why *why)
{
	struct snap_view_opts opts = {.writable = writable};
	struct snap_view *view;
	enum err e = snap_view_open(store, NULL, &opts, &view, why);

	return e ? e : snap_view_close(view, why);
}

Test(snap_locks, one_writes_at_a_time)
{
	struct snap_view *view = store_lab_view(a, NULL, true);
	struct err_why why = {0};

	cr_expect_eq(try_view(b, true, &why), ERR_LOCKED);
	cr_expect_eq(try_view(b, false, &why), ERR_LOCKED);
	cr_expect(strstr(why.text, "is running: its disks are being written"), "%s", why.text);
	cr_expect_eq(try_view(a, true, &why), ERR_LOCKED, "nor twice in one place");
	cr_expect(strstr(why.text, "open here already"), "%s", why.text);
	cr_expect(is_running(a) && is_running(b));
	store_lab_close_view(view);
	cr_expect_not(is_running(a) || is_running(b));
	cr_expect_eq(try_view(b, true, &why), ERR_OK, "%s", why.text);
}

Test(snap_locks, readers_keep_writers_out_and_not_each_other)
{
	struct snap_view *first = store_lab_view(a, NULL, false),
			 *second = store_lab_view(b, NULL, false);

	cr_expect_eq(vlab_tag(first->disk[0], 0), 2);
	cr_expect_eq(vlab_tag(second->disk[0], 0), 2);
	cr_expect_eq(try_view(a, true, NULL), ERR_LOCKED);
	store_lab_close_view(first);
	cr_expect_eq(try_view(a, true, NULL), ERR_LOCKED);
	store_lab_close_view(second);
	cr_expect_eq(try_view(a, true, NULL), ERR_OK);
}

/* A node's disks do not change: who reads them is in nobody's way. */
Test(snap_locks, a_node_is_read_while_another_writes)
{
	struct guid id = one(a);
	struct snap_view *view = store_lab_view(a, NULL, true);

	cr_expect_eq(store_lab_tag(b, &id, 0, 0), 1);
	vlab_write(view->disk[0], 0, 4096, 3);
	cr_expect_eq(store_lab_tag(b, &id, 0, 0), 1);
	store_lab_close_view(view);
	cr_expect_eq(store_lab_tag(b, NULL, 0, 0), 3);
}

Test(snap_locks, nothing_moves_under_a_writer_elsewhere)
{
	struct snap_view *view = store_lab_view(a, NULL, true);
	struct guid id = one(a), kept;
	struct snap_take_opts opts = {.name = "two"};
	struct err_why why = {0};

	cr_expect_eq(snap_take(b, &opts, &kept, &why), ERR_LOCKED);
	cr_expect_eq(snap_revert(b, &id, NULL, &kept, &why), ERR_LOCKED);
	cr_expect_eq(snap_revert(b, &id, "two", &kept, &why), ERR_LOCKED);
	cr_expect_eq(snap_revert(a, &id, NULL, &kept, &why), ERR_LOCKED, "nor under our own");
	cr_expect_eq(snap_remove(NULL, dir, &why), ERR_LOCKED);
	cr_expect_eq(snap_rename(b, &id, "uno", NULL, &why), ERR_OK, "%s", why.text);
	cr_expect_eq(snap_take(a, &opts, &kept, &why), ERR_OK, "%s", why.text);
	vlab_write(view->disk[0], 0, 4096, 3);
	store_lab_close_view(view);
	cr_expect_eq(store_lab_tag(b, &kept, 0, 0), 2);
	cr_expect_eq(store_lab_tag(b, NULL, 0, 0), 3);
}

Test(snap_locks, each_sees_what_the_other_has_done)
{
	struct guid two = store_lab_take(a, "two"), three = store_lab_take(b, "three");
	struct snap_tree tree = store_lab_tree(a);

	cr_assert_eq(tree.count, 3);
	cr_expect(guid_equal(&tree.node[2].id, &three));
	cr_expect_eq(tree.node[2].parent_idx, 1);
	snap_tree_free(&tree);
	store_lab_delete(b, &two);
	unsigned deleted;
	cr_expect_eq(snap_delete(a, &two, false, &deleted, NULL), ERR_NOENT);
	cr_expect_eq(store_lab_tag(a, &three, 0, 0), 2);
}

/* It is read until the reader is done, and goes with the next change after that. */
Test(snap_locks, a_file_that_is_read_elsewhere_stays)
{
	store_lab_take(a, "two");
	struct guid id = one(a);
	store_lab_write(a, 0, 0, 3);
	struct guid kept;
	cr_assert_eq(snap_revert(a, &id, NULL, &kept, NULL), ERR_OK);
	struct snap_tree tree = store_lab_tree(a);
	struct guid two = tree.node[1].id;
	char *path = strdup(tree.node[1].disk[0].path);
	snap_tree_free(&tree);

	struct snap_view *view = store_lab_view(b, &two, false);
	store_lab_delete(a, &two);
	cr_expect_eq(access(path, F_OK), 0);
	cr_expect_eq(vlab_tag(view->disk[0], 0), 2);
	tree = store_lab_tree(a);
	cr_expect_eq(tree.debt.garbage, 1);
	snap_tree_free(&tree);
	store_lab_close_view(view);
	store_lab_take(a, "again");
	cr_expect_eq(access(path, F_OK), -1);
	tree = store_lab_tree(a);
	cr_expect_eq(tree.debt.garbage, 0);
	snap_tree_free(&tree);
	free(path);
}

/* ---- another process ---- */

static pid_t start_writer(void)
{
	int ready[2];
	char c;

	cr_assert_eq(pipe(ready), 0);
	pid_t pid = fork();
	if (!pid) {
		struct snap_view *view = NULL;
		struct store *store = NULL;
		struct snap_view_opts opts = {.writable = true};

		bool ok = !snap_open(NULL, dir, 0, &store, NULL) &&
			  !snap_view_open(store, NULL, &opts, &view, NULL);
		if (write(ready[1], ok ? "y" : "n", 1) == 1)
			pause();
		_exit(1);
	}
	cr_assert_eq(read(ready[0], &c, 1), 1);
	cr_assert_eq(c, 'y');
	close(ready[0]);
	close(ready[1]);
	return pid;
}

Test(snap_locks, a_process_that_is_killed_leaves_no_lock)
{
	pid_t pid = start_writer();

	cr_expect(is_running(a));
	cr_expect_eq(try_view(a, true, NULL), ERR_LOCKED);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	struct err_why why = {0};
	cr_expect_eq(try_view(a, true, &why), ERR_OK, "%s", why.text);
	cr_expect_not(is_running(a));
	store_lab_take(a, "two");
}

/* ---- one that is gone, or another one ---- */

Test(snap_locks, a_vm_that_is_removed_meanwhile)
{
	struct snap_tree tree;
	struct guid id;
	struct err_why why = {0};

	cr_assert_eq(snap_remove(NULL, dir, &why), ERR_OK, "%s", why.text);
	cr_expect_eq(access(dir, F_OK), -1);
	cr_expect_eq(snap_tree(a, 0, &tree, &why), ERR_NOENT);
	cr_expect_eq(snap_take(a, &(struct snap_take_opts){0}, &id, &why), ERR_NOENT);
	cr_expect_eq(access(dir, F_OK), -1);
	struct snap_create_opts opts = {.config = {.memory_bytes = MIB, .cpus = 1}};
	cr_assert_eq(snap_create(dir, &opts, &why), ERR_OK, "%s", why.text);
	cr_expect_eq(snap_take(a, &(struct snap_take_opts){0}, &id, &why), ERR_NOENT);
	cr_expect(strstr(why.text, "was replaced by another VM"), "%s", why.text);
}

/* ---- reading only ---- */

Test(snap_locks, a_read_only_store_writes_nothing)
{
	struct store *store = open_here(SNAP_READONLY);
	struct guid id = one(store), kept;
	struct snap_config config = {.memory_bytes = MIB, .cpus = 1};
	struct snap_fold_result folded;
	unsigned deleted;
	bool changed;

	cr_expect_eq(store_lab_tag(store, &id, 0, 0), 1);
	cr_expect_eq(store_lab_tag(store, NULL, 0, 0), 2);
	cr_expect_eq(snap_is_changed(store, &changed, NULL), ERR_OK);
	cr_expect(changed);
	cr_expect_eq(try_view(store, true, NULL), ERR_READONLY);
	cr_expect_eq(snap_take(store, &(struct snap_take_opts){0}, &kept, NULL), ERR_READONLY);
	cr_expect_eq(snap_revert(store, &id, NULL, &kept, NULL), ERR_READONLY);
	cr_expect_eq(snap_delete(store, &id, false, &deleted, NULL), ERR_READONLY);
	cr_expect_eq(snap_rename(store, &id, "x", NULL, NULL), ERR_READONLY);
	cr_expect_eq(snap_set_config(store, &config, NULL), ERR_READONLY);
	cr_expect_eq(snap_fold(store, NULL, &folded, NULL), ERR_READONLY);
	snap_close(store);
}

Test(snap_locks, a_read_only_reader_keeps_what_he_reads)
{
	struct store *store = open_here(SNAP_READONLY);
	struct snap_view *view = store_lab_view(store, NULL, false);

	cr_expect_eq(try_view(a, true, NULL), ERR_LOCKED);
	store_lab_close_view(view);
	cr_expect_eq(try_view(a, true, NULL), ERR_OK);
	struct guid id = one(store);
	view = store_lab_view(store, &id, false);
	cr_expect_eq(snap_remove(NULL, dir, NULL), ERR_LOCKED);
	store_lab_close_view(view);
	snap_close(store);
}

/* ---- with a namespace that says no ---- */

Test(snap_read_only, a_medium_without_a_lock_file)
{
	struct names_rule read_only = {
	    .calls = NAME_CREATE | NAME_UNLINK | NAME_RENAME, .sticky = true, .sys_errno = EROFS};
	struct slab lab;
	struct store *store;

	store_lab_start(&lab, 2);
	store_lab_make_line(&lab);
	cr_assert_eq(file_ns_unlink(lab.ns, SLAB_DIR "/" STORE_LOCK, NULL), ERR_OK);
	uint64_t before = store_lab_hash(&lab, SLAB_DIR);
	names_ns_set(lab.names, &read_only);
	cr_expect_eq(store_lab_try_open(&lab, 0, &store), ERR_READONLY);
	store = store_lab_open(&lab, SNAP_READONLY);
	store_lab_check_line(store);
	snap_close(store);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
	cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before);
	store_lab_stop(&lab);
}

/* Garbage, leftovers, a fold half done: all of it is left to those who may write. */
Test(snap_read_only, nothing_is_tidied_up)
{
	struct snap_fold_opts little = {.budget_bytes = 4096};
	struct snap_fold_result result;
	struct slab lab;

	store_lab_start(&lab, 2);
	store_lab_make_line(&lab);
	struct store *store = store_lab_open(&lab, 0);
	struct snap_tree tree = store_lab_tree(store);
	store_lab_delete(store, &tree.node[0].id);
	cr_assert_eq(snap_fold(store, &little, &result, NULL), ERR_OK);
	cr_expect(result.more);
	snap_tree_free(&tree);
	snap_close(store);
	store_lab_put_bytes(&lab, SLAB_DIR "/" CATALOGUE_NEW, (const uint8_t *)"half", 4);
	uint64_t before = store_lab_hash(&lab, SLAB_DIR);
	store = store_lab_open(&lab, SNAP_READONLY);
	store_lab_check_line(store);
	snap_close(store);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
	cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before);
	snap_close(store_lab_open(&lab, 0));
	cr_expect_eq(vlab_size(&lab.v, SLAB_DIR "/" CATALOGUE_NEW), UINT64_MAX);
	store_lab_stop(&lab);
}
