/* SPDX-License-Identifier: MIT */
/* Which node a text means: a name, an id, or the beginning of one. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/snap_lab.h"

/* Of two the ids begin alike, and one is called as another one's id begins. */
static const struct {
	const char *name, *id;
} nodes[] = {
    {"one", "01234567-89ab-cdef-0123-456789abcdef"},
    {"two", "01234567-89ab-cdef-0123-456789abcd00"},
    {"three", "aaaaaaaa-0000-4000-8000-000000000000"},
    {"aaaaaaaa", "bbbbbbbb-0000-4000-8000-000000000000"},
    {"01234567-x", "cccccccc-0000-4000-8000-000000000000"},
};

static struct snap_node node[ARRAY_LEN(nodes)];
static struct snap_tree tree = {.node = node, .count = ARRAY_LEN(nodes)};

static void start(void)
{
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
		node[i].name = (char *)nodes[i].name;
		cr_assert(guid_parse(nodes[i].id, &node[i].id));
	}
}

TestSuite(snap_find, .init = start);

static void finds(const char *text, unsigned want)
{
	struct err_why why = {0};
	unsigned idx = 99;

	cr_expect_eq(snap_find(&tree, text, &idx, &why), ERR_OK, "%s: %s", text, why.text);
	cr_expect_eq(idx, want, "%s", text);
}

static void fails(const char *text, enum err want, const char *says)
{
	struct err_why why = {0};
	unsigned idx;

	cr_expect_eq(snap_find(&tree, text, &idx, &why), want, "%s", text);
	cr_expect(strstr(why.text, says), "%s: %s", text, why.text);
}

Test(snap_find, names_and_ids)
{
	finds("one", 0);
	finds("three", 2);
	for (unsigned i = 0; i < ARRAY_LEN(nodes); i++)
		finds(nodes[i].id, i);
	finds("CCCCCCCC-0000-4000-8000-000000000000", 4);
}

Test(snap_find, eight_characters_of_an_id_are_enough)
{
	finds("bbbbbbbb", 3);
	finds("cCcCcCcC-0", 4);
	fails("bbbbbbb", ERR_NOENT, "there is no snapshot \"bbbbbbb\"");
	fails("b", ERR_NOENT, "there is no snapshot");
}

Test(snap_find, a_name_comes_before_the_beginning_of_an_id)
{
	finds("aaaaaaaa", 3);
	finds("aaaaaaaa-", 2);
	finds("01234567-x", 4);
}

Test(snap_find, what_means_several_is_refused)
{
	fails("01234567", ERR_USAGE, "the id \"01234567\" is that of 2 snapshots");
	fails("01234567-89ab-cdef-0123-456789abcd", ERR_USAGE, "2 snapshots");
	finds("01234567-89ab-cdef-0123-456789abcd0", 1);
	finds("01234567-89ab-cdef-0123-456789abcde", 0);
}

Test(snap_find, what_means_none)
{
	fails("", ERR_NOENT, "there is no snapshot \"\"");
	fails("One", ERR_NOENT, "there is no snapshot");
	fails("current", ERR_NOENT, "there is no snapshot");
	fails("01234567-89ab-cdef-0123-456789abcdef0", ERR_NOENT, "there is no snapshot");
	fails("a\x1b[2J", ERR_NOENT, "a\\x1b[2J");
}
