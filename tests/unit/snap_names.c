/* SPDX-License-Identifier: MIT */
/* Names are data: what may be one, what they lead to, and that no two nodes have the same. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/snap_lab.h"

static struct slab lab;

static void start(void)
{
	store_lab_start(&lab, 2);
}

static void stop(void)
{
	store_lab_stop(&lab);
}

TestSuite(snap_names, .init = start, .fini = stop);

#define FOUR(c)    c c c c
#define SIXTEEN(c) FOUR(FOUR(c))
#define NAME_128   FOUR(SIXTEEN("x")) FOUR(SIXTEEN("y"))

struct refused {
	const char *name, *says;
};

#define IS_CONTROL "has control characters"
#define IS_SLASH   "has a slash or backslash"
#define IS_DOT     "begins with a dot or a dash"
#define IS_SPACE   "begins or ends with a space"
#define NOT_UTF8   "is not valid UTF-8"

static const struct refused refused[] = {
    {"", "is empty"},
    {NAME_128 "x", "is longer than 128 bytes"},
    {"..", IS_DOT},
    {".", IS_DOT},
    {"../x", IS_SLASH},
    {"x/..", IS_SLASH},
    {"/", IS_SLASH},
    {"/etc/passwd", IS_SLASH},
    {"a/b", IS_SLASH},
    {"a\\b", IS_SLASH},
    {".hidden", IS_DOT},
    {"-rf", IS_DOT},
    {" x", IS_SPACE},
    {"x ", IS_SPACE},
    {" ", IS_SPACE},
    {"current", "means where the VM is now"},
    {"a\nb", IS_CONTROL},
    {"a\tb", IS_CONTROL},
    {"\x1b[2J", IS_CONTROL},
    {"x\x7f", IS_CONTROL},
    {"x\xc2\x80", IS_CONTROL},        /* U+0080 */
    {"x\xc2\x9f", IS_CONTROL},        /* U+009f */
    {"x\xe2\x80\xa8y", IS_CONTROL},   /* a line's end */
    {"x\xe2\x80\xaegpj", IS_CONTROL}, /* from right to left */
    {"x\xe2\x81\xa6y", IS_CONTROL},
    {"\xff", NOT_UTF8},
    {"x\xc3", NOT_UTF8},
    {"\xc0\xaf", NOT_UTF8},         /* a slash, too long */
    {"\xed\xa0\x80", NOT_UTF8},     /* half of a pair */
    {"\xf4\x90\x80\x80", NOT_UTF8}, /* beyond the last one */
    {"01234567-89ab-cdef-0123-456789abcdef", "looks like an id"},
    {"01234567-89AB-CDEF-0123-456789ABCDEF", "looks like an id"},
};

static const char *const allowed[] = {
    "x",
    NAME_128,
    "a b",
    "before the upgrade",
    "x.",
    "x..y",
    "x-",
    "Current",
    "currently",
    "gr\xc3\xbcn",
    "\xe6\x97\xa5\xe6\x9c\xac",
    "\xf0\x9f\x98\x80",
    "x\xc2\xa0y",
    "\"'$(x)`%s*?",
    "01234567",
    "01234567-89ab-cdef-0123-456789abcde",
    "catalogue",
    "lock",
    "00000000002a.vhd",
};

Test(snap_names, names_that_are_refused_say_why)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct err_why why = {0};
		char *dir = (char *)"";

		cr_expect_eq(snap_check_name(refused[i].name, &why), ERR_USAGE, "%zu", i);
		cr_expect(strstr(why.text, refused[i].says), "%zu: %s", i, why.text);
		for (const char *c = why.text; *c; c++)
			cr_expect((uint8_t)*c >= 0x20 && *c != 0x7f, "%zu: escaped", i);
		cr_expect_eq(snap_vm_dir("/home", refused[i].name, &dir, NULL), ERR_USAGE);
		cr_expect_null(dir);
	}
}

Test(snap_names, names_that_are_allowed)
{
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
		struct err_why why = {0};
		char *dir, want[200];

		cr_expect_eq(snap_check_name(allowed[i], &why), ERR_OK, "%s", why.text);
		cr_assert_eq(snap_vm_dir("/home", allowed[i], &dir, &why), ERR_OK);
		snprintf(want, sizeof(want), "/home/%s", allowed[i]);
		cr_expect_str_eq(dir, want);
		free(dir);
	}
}

/* Whatever a snapshot is called, the VM's folder has the same names in it. */
Test(snap_names, no_name_of_a_snapshot_is_one_of_a_file)
{
	store_lab_create(&lab, 1, true);
	struct store *store = store_lab_open(&lab, 0);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct snap_take_opts opts = {.name = refused[i].name};
		struct guid id;

		cr_expect_eq(snap_take(store, &opts, &id, NULL), ERR_USAGE);
	}
	struct snap_tree tree = store_lab_tree(store);
	cr_expect_eq(tree.count, 0);
	snap_tree_free(&tree);
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
		struct guid id = store_lab_take(store, allowed[i]);
		char *path = store_lab_layer_path(store, &id, 0);

		cr_expect_eq(strlen(path), strlen(SLAB_DIR "/000000000001.vhd"), "%s", path);
		free(path);
	}
	snap_close(store);
}

/* ---- the table of a VM ---- */

Test(snap_names, a_name_is_taken_once)
{
	struct guid kept;

	store_lab_make_line(&lab);
	struct store *store = store_lab_open(&lab, 0);
	struct snap_tree tree = store_lab_tree(store);
	struct snap_take_opts again = {.name = "one"};
	struct err_why why = {0};

	cr_expect_eq(snap_take(store, &again, &kept, &why), ERR_EXIST);
	cr_expect(strstr(why.text, "there is a snapshot \"one\" already"), "%s", why.text);
	cr_expect_eq(snap_rename(store, &tree.node[1].id, "one", NULL, &why), ERR_EXIST);
	cr_expect_eq(snap_revert(store, &tree.node[0].id, "two", &kept, &why), ERR_EXIST);
	cr_expect_eq(snap_rename(store, &tree.node[1].id, "two", "its own is no other's", &why),
		     ERR_OK, "%s", why.text);
	cr_expect_eq(snap_rename(store, &tree.node[1].id, "One", NULL, NULL), ERR_OK);
	cr_expect_eq(snap_rename(store, &tree.node[1].id, "../two", NULL, NULL), ERR_USAGE);
	store_lab_delete(store, &tree.node[0].id);
	cr_expect_eq(snap_rename(store, &tree.node[1].id, "one", NULL, &why), ERR_OK, "%s",
		     why.text);
	cr_expect_eq(store_lab_tag(store, &tree.node[1].id, 0, 0), 2, "and it is the same node");
	snap_tree_free(&tree);
	snap_close(store);
}

Test(snap_names, what_is_refused_changes_nothing)
{
	char note[SNAP_NOTE_MAX + 2];
	struct guid none = guid_new();

	store_lab_make_line(&lab);
	struct store *store = store_lab_open(&lab, 0);
	struct snap_tree tree = store_lab_tree(store);
	uint64_t before = store_lab_hash(&lab, SLAB_DIR);
	memset(note, 'n', sizeof(note));
	note[SNAP_NOTE_MAX + 1] = 0;
	struct snap_take_opts opts = {.name = "three", .note = note};

	cr_expect_eq(snap_take(store, &opts, &none, NULL), ERR_USAGE);
	cr_expect_eq(snap_rename(store, &tree.node[0].id, "x", note, NULL), ERR_USAGE);
	cr_expect_eq(snap_rename(store, &none, "x", NULL, NULL), ERR_NOENT);
	cr_expect_eq(snap_revert(store, &tree.node[0].id, "one", &none, NULL), ERR_EXIST);
	cr_expect_eq(snap_revert(store, &tree.node[0].id, "a/b", &none, NULL), ERR_USAGE);
	cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before);
	note[SNAP_NOTE_MAX] = 0;
	cr_expect_eq(snap_rename(store, &tree.node[0].id, NULL, note, NULL), ERR_OK);
	snap_tree_free(&tree);
	snap_close(store);
}

/* Two in one second, and one whose name somebody has given already. */
Test(snap_names, names_from_the_time_are_all_different)
{
	store_lab_create(&lab, 1, true);
	struct store *store = store_lab_open(&lab, 0);
	for (unsigned i = 0; i < 5; i++) {
		struct snap_take_opts opts = {.note = "x"};
		struct err_why why = {0};
		struct guid id;

		cr_assert_eq(snap_take(store, &opts, &id, &why), ERR_OK, "%s", why.text);
	}
	struct snap_tree tree = store_lab_tree(store);
	for (unsigned i = 0; i < tree.count; i++) {
		cr_expect_eq(snap_check_name(tree.node[i].name, NULL), ERR_OK);
		for (unsigned k = 0; k < i; k++)
			cr_expect_str_neq(tree.node[i].name, tree.node[k].name);
	}
	snap_tree_free(&tree);
	snap_close(store);
}

/* ---- places ---- */

Test(snap_names, the_home_of_all_vms)
{
	char here[256], want[300], *home;

	cr_assert_not_null(getcwd(here, sizeof(here)));
	snprintf(want, sizeof(want), "%s/vms", here);
	setenv("STRATA_HOME", "/from/the/environment", 1);
	cr_assert_eq(snap_home("/given", &home, NULL), ERR_OK);
	cr_expect_str_eq(home, "/given");
	free(home);
	cr_assert_eq(snap_home("vms", &home, NULL), ERR_OK);
	cr_expect_str_eq(home, want, "absolute");
	free(home);
	cr_assert_eq(snap_home(NULL, &home, NULL), ERR_OK);
	cr_expect_str_eq(home, "/from/the/environment");
	free(home);
	setenv("STRATA_HOME", "", 1); /* is as good as none */
	cr_assert_eq(snap_home(NULL, &home, NULL), ERR_OK);
	cr_expect_eq(*home, '/');
	cr_expect(strstr(home, "strata"), "%s", home);
	free(home);
}

static void touch(const char *folder, const char *name, const char *file)
{
	char path[300];

	snprintf(path, sizeof(path), "mkdir -p '%s/%s' && touch '%s/%s/%s'", folder, name, folder,
		 name, file);
	cr_assert_eq(system(path), 0);
}

Test(snap_names, only_vms_are_listed)
{
	char folder[] = "/tmp/strata-names-XXXXXX", command[64], **names = NULL;
	unsigned count = 99;

	cr_assert_not_null(mkdtemp(folder));
	touch(folder, "web", STORE_CATALOGUE);
	touch(folder, "a b", STORE_CATALOGUE);
	touch(folder, "lost", CATALOGUE_COPY);
	touch(folder, ".hidden", STORE_CATALOGUE);
	touch(folder, "-x", STORE_CATALOGUE);
	touch(folder, "half made", STORE_LOCK);
	touch(folder, "x\xff", STORE_CATALOGUE);
	cr_assert_eq(snap_list_vms(folder, &names, &count, NULL), ERR_OK);
	cr_assert_eq(count, 3);
	cr_expect_str_eq(names[0], "a b");
	cr_expect_str_eq(names[1], "lost");
	cr_expect_str_eq(names[2], "web");
	for (unsigned i = 0; i < count; i++)
		free(names[i]);
	free(names);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_assert_eq(system(command), 0);
	cr_assert_eq(snap_list_vms(folder, &names, &count, NULL), ERR_OK, "no folder: no VMs");
	cr_expect_eq(count, 0);
	free(names);
}
