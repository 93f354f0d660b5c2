/* SPDX-License-Identifier: MIT */
/*
 * Edges: who reads which file below which. Against another opening of the store the locks are the
 * kernel's, so on a real folder; two openings in one process exclude each other as two processes
 * do.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/snap_lab.h"

static char folder[64];
static struct store *a, *b;

static void start(void)
{
	char path[80];

	snprintf(folder, sizeof(folder), "/tmp/strata-edges-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/" STORE_LOCK, folder);
	FILE *file = fopen(path, "w");
	cr_assert(file && !fclose(file));
	cr_assert_eq(store_open_bare(NULL, folder, &a, NULL), ERR_OK);
	cr_assert_eq(store_open_bare(NULL, folder, &b, NULL), ERR_OK);
}

static void stop(void)
{
	char path[80];

	snap_close(a);
	snap_close(b);
	snprintf(path, sizeof(path), "%s/" STORE_LOCK, folder);
	unlink(path);
	rmdir(folder);
}

TestSuite(snap_edges, .init = start, .fini = stop);

static bool can_close(struct store *store, uint64_t file, uint64_t upper)
{
	bool closed = edges_close(store, file, upper);

	if (closed)
		edges_open(store, file, upper);
	return closed;
}

static void hold(struct store *store, uint64_t file, uint64_t upper)
{
	struct err_why why = {0};

	cr_assert_eq(edge_hold(store, file, upper, &why), ERR_OK, "%s", why.text);
}

Test(snap_edges, a_file_that_is_read_is_not_closed_here_or_elsewhere)
{
	cr_expect(can_close(a, 5, 0));
	hold(a, 5, EDGE_TOP);
	cr_expect_not(can_close(a, 5, 0));
	cr_expect_not(can_close(b, 5, 0));
	cr_expect(can_close(b, 4, 0) && can_close(b, 6, 0), "its neighbours are");
	edge_release(a, 5, EDGE_TOP);
	cr_expect(can_close(a, 5, 0) && can_close(b, 5, 0));
}

Test(snap_edges, edges_are_counted)
{
	hold(a, 5, 9);
	hold(a, 5, 9);
	cr_expect_eq(a->edges, 1);
	edge_release(a, 5, 9);
	cr_expect_not(can_close(b, 5, 0));
	edge_release(a, 5, 9);
	cr_expect(can_close(b, 5, 0));
	edge_release(a, 5, 9); /* one too many does nothing */
	cr_expect_eq(a->edges, 0);
}

Test(snap_edges, several_read_together)
{
	hold(a, 5, 9);
	hold(b, 5, 9);
	hold(b, 5, EDGE_TOP);
	edge_release(a, 5, 9);
	cr_expect_not(can_close(a, 5, 0));
	edge_release(b, 5, 9);
	edge_release(b, 5, EDGE_TOP);
	cr_expect(can_close(a, 5, 0));
}

/* A fold of 9 into 5 does not mind those who read 5 below 9: they see no difference. */
Test(snap_edges, the_edge_below_one_file_may_be_left_out)
{
	static const uint64_t others[] = {EDGE_TOP, 8, 10, EDGE_FOLD, EDGE_COPY};

	hold(a, 5, 9);
	cr_expect(can_close(a, 5, 9) && can_close(b, 5, 9));
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		struct store *store = i % 2 ? a : b;

		hold(store, 5, others[i]);
		cr_expect_not(can_close(a, 5, 9), "edge %llx", (unsigned long long)others[i]);
		cr_expect_not(can_close(b, 5, 9), "edge %llx", (unsigned long long)others[i]);
		edge_release(store, 5, others[i]);
	}
	cr_expect(can_close(a, 5, 9) && can_close(b, 5, 9), "and nothing stays behind");
}

Test(snap_edges, nobody_begins_to_read_a_file_that_is_closed)
{
	cr_assert(edges_close(a, 5, 9));
	cr_expect_eq(edge_hold(b, 5, EDGE_TOP, NULL), ERR_LOCKED);
	cr_expect_eq(edge_hold(b, 5, 8, NULL), ERR_LOCKED);
	cr_expect_eq(edge_hold(b, 5, EDGE_COPY, NULL), ERR_LOCKED);
	cr_expect_eq(b->edges, 0);
	hold(b, 5, 9);
	cr_expect_not(edges_close(b, 5, 0));
	edge_release(b, 5, 9);
	edges_open(a, 5, 9);
	hold(b, 5, EDGE_TOP);
	edge_release(b, 5, EDGE_TOP);
	cr_assert(edges_close(a, 5, 0));
	cr_expect_eq(edge_hold(b, 5, 9, NULL), ERR_LOCKED);
	edges_open(a, 5, 0);
}

/* What was locked of the first part is given back when the second one is not to be had. */
Test(snap_edges, closing_is_all_or_nothing)
{
	hold(a, 5, 20);
	cr_expect_not(edges_close(b, 5, 9));
	hold(a, 5, 3);
	edge_release(a, 5, 3);
	edge_release(a, 5, 20);
}

Test(snap_edges, a_chain_is_held_whole_or_not_at_all)
{
	static const uint64_t chain[] = {2, 5, 3};

	cr_assert_eq(edges_hold(a, chain, 3, NULL), ERR_OK);
	cr_expect_eq(a->edges, 3);
	cr_expect(can_close(b, 2, 5) && can_close(b, 5, 3));
	cr_expect_not(can_close(b, 2, 3) || can_close(b, 5, 0) || can_close(b, 3, 0));
	edges_release(a, chain, 3);
	cr_expect_eq(a->edges, 0);
	cr_assert(edges_close(b, 3, 0));
	cr_expect_eq(edges_hold(a, chain, 3, NULL), ERR_LOCKED);
	cr_expect_eq(a->edges, 0);
	cr_expect(can_close(b, 2, 0) && can_close(b, 5, 0));
	cr_expect_eq(edges_hold_all(a, chain, 3, EDGE_COPY, NULL), ERR_LOCKED);
	cr_expect_eq(a->edges, 0);
	edges_open(b, 3, 0);
	cr_assert_eq(edges_hold_all(a, chain, 3, EDGE_COPY, NULL), ERR_OK);
	cr_expect_not(can_close(b, 2, 5));
	edges_release_all(a, chain, 3, EDGE_COPY);
	cr_expect(can_close(b, 2, 0) && can_close(b, 5, 0) && can_close(b, 3, 0));
}

/* Of many files, held in no order, each is found again. */
Test(snap_edges, they_are_kept_in_order)
{
	struct rng rng = rng_seed(7);
	uint64_t file[200];

	for (unsigned i = 0; i < ARRAY_LEN(file); i++) {
		file[i] = rng_between(&rng, 1, 50);
		hold(a, file[i], rng_below(&rng, 4));
	}
	for (unsigned i = 1; i < a->edges; i++)
		cr_expect(a->edge[i - 1].file < a->edge[i].file ||
			  (a->edge[i - 1].file == a->edge[i].file &&
			   a->edge[i - 1].upper < a->edge[i].upper));
	while (a->edges)
		edge_release(a, a->edge[a->edges / 2].file, a->edge[a->edges / 2].upper);
	for (uint64_t n = 1; n <= 50; n++)
		cr_expect(can_close(b, n, 0), "file %llu", (unsigned long long)n);
}

/* The highest numbers there can be are still places in a file. */
Test(snap_edges, the_highest_number)
{
	hold(a, CAT_MAX_NUMBER - 1, EDGE_FOLD);
	cr_expect_not(can_close(b, CAT_MAX_NUMBER - 1, 0));
	cr_expect(can_close(b, CAT_MAX_NUMBER - 2, 0));
	edge_release(a, CAT_MAX_NUMBER - 1, EDGE_FOLD);
	cr_expect(can_close(b, CAT_MAX_NUMBER - 1, CAT_MAX_NUMBER - 2));
}
