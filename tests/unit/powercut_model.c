/* SPDX-License-Identifier: MIT */
/* The model of a disk against which crash and property tests compare. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/lib/model.h"

#define SECTOR MODEL_SECTOR

static uint8_t a[2 * SECTOR], b[2 * SECTOR], zero[2 * SECTOR];

static bool after_cut(struct model *model, uint64_t mark, const void *buf)
{
	return model_check_after_cut(model, mark, 0, buf, SECTOR, NULL);
}

Test(model, shows_the_last_write)
{
	struct model *model = model_new(4 * SECTOR);
	struct model_op op = model_write(model, 0, 2 * SECTOR, a);

	model_done(model, &op, true);
	cr_expect(model_check_live(model, 0, a, 2 * SECTOR, NULL));
	cr_expect(!model_check_live(model, 0, zero, 2 * SECTOR, NULL));
	op = model_write(model, 0, SECTOR, b);
	model_done(model, &op, true);
	cr_expect(!model_check_live(model, 0, a, SECTOR, NULL));
	cr_expect(model_check_live(model, 0, b, SECTOR, NULL));
	cr_expect(model_check_live(model, SECTOR, a + SECTOR, SECTOR, NULL));
	model_free(model);
}

Test(model, recognises_misplaced_data)
{
	struct model *model = model_new(4 * SECTOR);
	struct model_op op = model_write(model, 0, 2 * SECTOR, a);
	struct err_why why;

	model_done(model, &op, true);
	cr_expect(!model_check_live(model, 0, a + SECTOR, SECTOR, &why));
	cr_expect(strstr(why.text, "of sector 1"), "%s", why.text);
	model_free(model);
}

Test(model, allows_old_or_new_until_the_flush_is_acknowledged)
{
	struct model *model = model_new(SECTOR);
	struct model_op op = model_write(model, 0, SECTOR, a);
	struct model_op flush;
	uint64_t flushed;

	cr_expect(after_cut(model, op.mark, a));
	cr_expect(after_cut(model, op.mark, zero));
	cr_expect(!after_cut(model, op.mark - 1, a), "not begun yet");
	model_done(model, &op, true);
	flush = model_flush(model);
	cr_expect(after_cut(model, flush.mark, zero));
	flushed = model_flushed(model, &flush);
	cr_expect(after_cut(model, flush.mark, zero));
	cr_expect(!after_cut(model, flushed, zero));
	cr_expect(after_cut(model, flushed, a));
	model_free(model);
}

Test(model, flush_covers_only_what_had_completed)
{
	struct model *model = model_new(SECTOR);
	struct model_op op = model_write(model, 0, SECTOR, a);
	struct model_op flush = model_flush(model);
	uint64_t flushed;

	model_done(model, &op, true);
	flushed = model_flushed(model, &flush);
	cr_expect(after_cut(model, flushed, zero));
	model_free(model);
}

Test(model, a_read_may_show_what_was_there_when_it_was_submitted)
{
	struct model *model = model_new(SECTOR);
	struct model_op op = model_write(model, 0, SECTOR, a);
	uint64_t before = model_now(model);

	model_done(model, &op, true);
	cr_expect(model_check_read(model, before, 0, zero, SECTOR, NULL));
	cr_expect(model_check_read(model, before, 0, a, SECTOR, NULL));
	cr_expect(!model_check_read(model, model_now(model), 0, zero, SECTOR, NULL));
	model_free(model);
}

Test(model, fua_covers_only_its_own_range)
{
	struct model *model = model_new(2 * SECTOR);
	struct model_op first = model_write(model, 0, SECTOR, a);
	struct model_op second = model_write(model, SECTOR, SECTOR, b);
	uint64_t durable;

	model_done(model, &first, true);
	model_done(model, &second, true);
	durable = model_durable(model, &second);
	cr_expect(model_check_after_cut(model, durable, 0, zero, SECTOR, NULL));
	cr_expect(!model_check_after_cut(model, durable, SECTOR, zero, SECTOR, NULL));
	cr_expect(model_check_after_cut(model, durable, SECTOR, b, SECTOR, NULL));
	model_free(model);
}

Test(model, trim_gives_old_or_zero_even_after_a_flush)
{
	struct model *model = model_new(SECTOR);
	struct model_op op = model_write(model, 0, SECTOR, a);
	struct model_op flush;
	uint64_t mark;

	model_done(model, &op, true);
	op = model_trim(model, 0, SECTOR);
	model_done(model, &op, true);
	flush = model_flush(model);
	mark = model_flushed(model, &flush);
	cr_expect(after_cut(model, mark, a));
	cr_expect(after_cut(model, mark, zero));
	cr_expect(model_check_live(model, 0, zero, SECTOR, NULL));
	model_free(model);
}

Test(model, failed_write_leaves_old_or_new)
{
	struct model *model = model_new(SECTOR);
	struct model_op op = model_write(model, 0, SECTOR, a);

	model_done(model, &op, false);
	cr_expect(model_check_live(model, 0, a, SECTOR, NULL));
	cr_expect(model_check_live(model, 0, zero, SECTOR, NULL));
	model_free(model);
}

Test(model, child_starts_with_what_the_parent_shows)
{
	struct model *parent = model_new(SECTOR);
	struct model_op op = model_write(parent, 0, SECTOR, a);
	struct model *child;

	model_done(parent, &op, true);
	child = model_child(parent);
	cr_expect(after_cut(child, 0, a));
	cr_expect(!after_cut(child, 0, zero));
	op = model_write(child, 0, SECTOR, b);
	cr_expect_neq(memcmp(a, b, SECTOR), 0);
	model_done(child, &op, true);
	cr_expect(!model_check_live(child, 0, a, SECTOR, NULL), "the parent's data came back");
	model_free(child);
	model_free(parent);
}

Test(model, resize_keeps_content_and_grows_with_zeros)
{
	struct model *model = model_new(SECTOR);
	struct model_op op = model_resize(model, 2 * SECTOR);
	uint64_t mark;

	cr_expect(model_size_after_cut(model, op.mark, SECTOR));
	cr_expect(model_size_after_cut(model, op.mark, 2 * SECTOR));
	model_done(model, &op, true);
	mark = model_durable(model, &op);
	cr_expect(!model_size_after_cut(model, mark, SECTOR));
	cr_expect(model_size_after_cut(model, mark, 2 * SECTOR));
	cr_expect_eq(model_size(model), 2 * SECTOR);
	cr_expect(model_check_after_cut(model, mark, SECTOR, zero, SECTOR, NULL));
	model_free(model);
}
