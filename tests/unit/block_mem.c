/* SPDX-License-Identifier: MIT */
/* Files in memory: the file contract, copies, and the log that power cuts are replayed from (T1).
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "block/file_mem.h"
#include "tests/lib/random.h"
#include "util/bytes.h"

static struct file *open_as(struct mem_ns *ns, const char *path, unsigned flags)
{
	struct err_why why = {.text = ""};
	struct file *file;

	cr_assert_eq(file_ns_open(mem_ns_base(ns), path, flags, &file, &why), ERR_OK, "%s",
		     why.text);
	return file;
}

static enum err try_open(struct mem_ns *ns, const char *path, unsigned flags)
{
	struct file *file;
	enum err err = file_ns_open(mem_ns_base(ns), path, flags, &file, NULL);

	cr_expect_eq(file == NULL, err != ERR_OK);
	file_close(file, NULL);
	return err;
}

static void write_text(struct file *file, uint64_t off, const char *text)
{
	cr_assert_eq(file_write(file, EV_DATA, text, off, strlen(text), NULL), ERR_OK);
}

static void expect_text(struct mem_ns *ns, const char *path, uint64_t off, const char *text)
{
	char buf[64];

	mem_ns_get(ns, path, off, buf, strlen(text));
	cr_expect_eq(memcmp(buf, text, strlen(text)), 0, "%s at %llu", path,
		     (unsigned long long)off);
}

/* ---- opening and names ---- */

Test(block_mem, open_honours_its_flags)
{
	struct mem_ns *ns = mem_ns_new();

	cr_expect_eq(try_open(ns, "a", 0), ERR_NOENT);
	cr_expect_eq(try_open(ns, "a", FILE_OPEN_RDWR), ERR_NOENT);
	cr_expect_eq(try_open(ns, "a", FILE_OPEN_CREATE), ERR_OK);
	cr_expect_eq(try_open(ns, "a", FILE_OPEN_CREATE), ERR_EXIST);
	cr_expect_eq(try_open(ns, "a", 0), ERR_OK);
	cr_expect_eq(try_open(ns, "", 0), ERR_USAGE);
	cr_expect_eq(try_open(ns, "a", 64), ERR_USAGE);
	mem_ns_free(ns);
}

Test(block_mem, read_only_handles_refuse_changes)
{
	struct mem_ns *ns = mem_ns_new();
	struct err_why why;
	struct file *file;

	mem_ns_put(ns, "a", "text", 4);
	file = open_as(ns, "a", 0);
	cr_expect_eq(file_write(file, EV_BAT, "x", 0, 1, &why), ERR_READONLY);
	cr_expect_str_eq(why.text, "a: writing 1 bytes of BAT at 0x0: read-only");
	cr_expect_eq(file_zero(file, EV_DATA, 0, 1, NULL), ERR_READONLY);
	cr_expect_eq(file_punch(file, 0, 1, NULL), ERR_READONLY);
	cr_expect_eq(file_allocate(file, 0, 10, NULL), ERR_READONLY);
	cr_expect_eq(file_truncate(file, 0, NULL), ERR_READONLY);
	expect_text(ns, "a", 0, "text");
	cr_expect_eq(mem_ns_size(ns, "a"), 4);
	file_close(file, NULL);
	mem_ns_free(ns);
}

Test(block_mem, spellings_of_a_path_are_one_file)
{
	struct mem_ns *ns = mem_ns_new();

	mem_ns_put(ns, "./d//f", "1", 1);
	cr_expect_eq(try_open(ns, "d/f", 0), ERR_OK);
	cr_expect_eq(try_open(ns, ".//d/./f", 0), ERR_OK);
	cr_expect_eq(try_open(ns, "/d/f", 0), ERR_NOENT, "absolute is something else");
	mem_ns_put(ns, "//x", "2", 1);
	cr_expect_eq(mem_ns_size(ns, "/x"), 1);
	cr_expect_eq(mem_ns_size(ns, "/./x"), 1);
	cr_expect_eq(mem_ns_size(ns, "y"), UINT64_MAX);
	mem_ns_free(ns);
}

Test(block_mem, info_tells_files_apart)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *a = open_as(ns, "a", FILE_OPEN_CREATE),
		    *b = open_as(ns, "b", FILE_OPEN_CREATE);
	struct file *again = open_as(ns, "a", 0);
	struct file_info ia, ib, ic;

	file_get_info(a, &ia, NULL);
	file_get_info(b, &ib, NULL);
	file_get_info(again, &ic, NULL);
	cr_expect_neq(ia.ino, ib.ino);
	cr_expect_eq(ia.ino, ic.ino);
	cr_expect_eq(ia.dev, ic.dev);
	cr_expect(ia.writable && !ic.writable && ia.can_punch && !ia.direct);
	file_close(a, NULL);
	file_close(b, NULL);
	file_close(again, NULL);
	mem_ns_free(ns);
}

Test(block_mem, rename_replaces_its_target)
{
	struct mem_ns *ns = mem_ns_new();
	struct file_ns *base = mem_ns_base(ns);

	mem_ns_put(ns, "new", "new", 3);
	mem_ns_put(ns, "old", "older", 5);
	cr_expect_eq(file_ns_rename(base, "new", "old", NULL), ERR_OK);
	cr_expect_eq(mem_ns_size(ns, "old"), 3);
	cr_expect_eq(try_open(ns, "new", 0), ERR_NOENT);
	cr_expect_eq(file_ns_rename(base, "old", "old", NULL), ERR_OK);
	cr_expect_eq(mem_ns_size(ns, "old"), 3);
	cr_expect_eq(file_ns_rename(base, "new", "x", NULL), ERR_NOENT);
	mem_ns_free(ns);
}

Test(block_mem, unlinked_files_live_until_closed)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *file = open_as(ns, "a", FILE_OPEN_CREATE);
	char buf[4];

	write_text(file, 0, "data");
	cr_expect_eq(file_ns_unlink(mem_ns_base(ns), "a", NULL), ERR_OK);
	cr_expect_eq(file_ns_unlink(mem_ns_base(ns), "a", NULL), ERR_NOENT);
	cr_expect_eq(try_open(ns, "a", FILE_OPEN_CREATE), ERR_OK);
	write_text(file, 2, "TA");
	cr_expect_eq(file_read(file, EV_DATA, buf, 0, 4, NULL), ERR_OK);
	cr_expect_eq(memcmp(buf, "daTA", 4), 0);
	cr_expect_eq(mem_ns_size(ns, "a"), 0, "the new one");
	file_close(file, NULL);
	mem_ns_free(ns);
}

struct names {
	struct mem_ns *ns;
	char text[64];
	unsigned limit;
};

static bool add_name(void *arg, const char *name)
{
	struct names *names = arg;

	strcat(strcat(names->text, name), " ");
	/* The callback may use the namespace. */
	cr_expect_neq(mem_ns_size(names->ns, "top"), 0);
	return --names->limit > 0;
}

static const char *listed(struct mem_ns *ns, const char *dir, unsigned limit)
{
	static struct names names;

	names = (struct names){.ns = ns, .limit = limit};
	cr_assert_eq(file_ns_list(mem_ns_base(ns), dir, add_name, &names, NULL), ERR_OK);
	return names.text;
}

Test(block_mem, list_gives_names_of_one_folder)
{
	struct mem_ns *ns = mem_ns_new();

	mem_ns_put(ns, "top", "x", 1);
	mem_ns_put(ns, "d/a", "", 0);
	mem_ns_put(ns, "d/b", "", 0);
	mem_ns_put(ns, "d/sub/c", "", 0);
	mem_ns_put(ns, "dd/e", "", 0);
	mem_ns_put(ns, "/r", "", 0);
	cr_expect_str_eq(listed(ns, "d", 9), "a b ");
	cr_expect_str_eq(listed(ns, "./d/", 9), "a b ");
	cr_expect_str_eq(listed(ns, "d", 1), "a ");
	cr_expect_str_eq(listed(ns, "d/sub", 9), "c ");
	cr_expect_str_eq(listed(ns, ".", 9), "top ");
	cr_expect_str_eq(listed(ns, "/", 9), "r ");
	cr_expect_str_eq(listed(ns, "none", 9), "");
	mem_ns_free(ns);
}

/* ---- locks ---- */

Test(block_mem, one_writer_or_many_readers)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *a, *b;
	struct err_why why;

	mem_ns_put(ns, "f", "", 0);
	a = open_as(ns, "f", FILE_OPEN_RDWR);
	b = open_as(ns, "f", 0);
	cr_expect_eq(file_lock(a, FILE_LOCK_READ, NULL), ERR_OK);
	cr_expect_eq(file_lock(b, FILE_LOCK_READ, NULL), ERR_OK);
	cr_expect_eq(file_lock(a, FILE_LOCK_WRITE, &why), ERR_LOCKED);
	cr_expect_eq(file_lock(b, FILE_UNLOCKED, NULL), ERR_OK);
	cr_expect_eq(file_lock(a, FILE_LOCK_WRITE, NULL), ERR_OK, "the last reader may upgrade");
	cr_expect_eq(file_lock(a, FILE_LOCK_WRITE, NULL), ERR_OK);
	cr_expect_eq(file_lock(b, FILE_LOCK_READ, NULL), ERR_LOCKED);
	file_close(a, NULL);
	cr_expect_eq(file_lock(b, FILE_LOCK_WRITE, NULL), ERR_OK, "closing gives the lock back");
	file_close(b, NULL);
	mem_ns_free(ns);
}

/* ---- content ---- */

Test(block_mem, far_offsets_cost_nothing)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *file = open_as(ns, "a", FILE_OPEN_CREATE);
	uint64_t far = (uint64_t)INT64_MAX - 4;
	char buf[8];

	write_text(file, 3, "near");
	write_text(file, far, "far!");
	cr_expect_eq(mem_ns_size(ns, "a"), INT64_MAX);
	expect_text(ns, "a", far, "far!");
	expect_text(ns, "a", 3, "near");
	cr_expect_eq(file_read(file, EV_DATA, buf, far - 8, 8, NULL), ERR_OK);
	cr_expect(bytes_are_zero(buf, 8));
	cr_expect_eq(file_write(file, EV_DATA, "12345", far, 5, NULL), ERR_RANGE);
	cr_expect_eq(file_punch(file, 4, far, NULL), ERR_OK);
	expect_text(ns, "a", 3, "n");
	mem_ns_get(ns, "a", far, buf, 4);
	cr_expect(bytes_are_zero(buf, 4));
	cr_expect_eq(mem_ns_size(ns, "a"), INT64_MAX);
	file_close(file, NULL);
	mem_ns_free(ns);
}

Test(block_mem, sizes_follow_the_operations)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *file = open_as(ns, "a", FILE_OPEN_CREATE);

	write_text(file, 10, "x");
	cr_expect_eq(mem_ns_size(ns, "a"), 11);
	file_allocate(file, 0, 5, NULL);
	cr_expect_eq(mem_ns_size(ns, "a"), 11);
	file_allocate(file, 8, 8, NULL);
	cr_expect_eq(mem_ns_size(ns, "a"), 16);
	file_punch(file, 8, 100, NULL);
	cr_expect_eq(mem_ns_size(ns, "a"), 16, "a hole does not extend");
	file_zero(file, EV_DATA, 8, 100, NULL);
	cr_expect_eq(mem_ns_size(ns, "a"), 108, "zeros do");
	file_zero(file, EV_DATA, 500, 0, NULL);
	cr_expect_eq(mem_ns_size(ns, "a"), 108, "none do not");
	file_truncate(file, 4, NULL);
	cr_expect_eq(mem_ns_size(ns, "a"), 4);
	file_close(file, NULL);
	mem_ns_free(ns);
}

Test(block_mem, what_was_cut_off_does_not_come_back)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *file = open_as(ns, "a", FILE_OPEN_CREATE);
	char buf[12];

	write_text(file, 0, "abcdefghijkl");
	file_truncate(file, 4, NULL);
	file_truncate(file, 12, NULL);
	cr_expect_eq(file_read(file, EV_DATA, buf, 0, 12, NULL), ERR_OK);
	cr_expect_arr_eq(buf, "abcd\0\0\0\0\0\0\0\0", 12);
	file_close(file, NULL);
	mem_ns_free(ns);
}

Test(block_mem, stored_ranges_are_told_from_holes)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *file = open_as(ns, "a", FILE_OPEN_CREATE);
	uint64_t end;
	bool is_data;

	file->ops->map_data(file, 12345, &is_data, &end, NULL);
	cr_expect(!is_data);
	cr_expect_eq(end, UINT64_MAX);
	write_text(file, (1 << 20) + 5, "x");
	file->ops->map_data(file, 100, &is_data, &end, NULL);
	cr_expect(!is_data);
	cr_expect_eq(end, 1 << 20);
	file->ops->map_data(file, end, &is_data, &end, NULL);
	cr_expect(is_data);
	cr_expect_eq(end, (1 << 20) + 4096);
	file->ops->map_data(file, end, &is_data, &end, NULL);
	cr_expect(!is_data);
	cr_expect_eq(end, UINT64_MAX);
	file_close(file, NULL);
	mem_ns_free(ns);
}

/* ---- against a model ---- */

#define MODEL_BYTES (600u << 10) /* some levels of the page tree */

struct model {
	uint8_t *bytes;
	uint64_t size;
};

static void model_resize(struct model *model, uint64_t size)
{
	if (size < model->size)
		memset(model->bytes + size, 0, model->size - size);
	model->size = size;
}

static void random_change(struct rng *rng, struct file *file, struct model *model)
{
	static uint8_t buf[40000];
	uint64_t off = rng_below(rng, MODEL_BYTES - sizeof(buf));
	uint64_t len = rng_percent(rng, 20) ? rng_below(rng, MODEL_BYTES - off)
					    : rng_between(rng, 1, sizeof(buf));

	if (rng_percent(rng, 30)) {
		off = round_down(off, 4096);
		len = round_down(len, 4096);
	}
	switch (rng_below(rng, 5)) {
	case 0:
		file_zero(file, EV_DATA, off, len, NULL);
		memset(model->bytes + off, 0, len);
		model->size = len ? max_u64(model->size, off + len) : model->size;
		break;
	case 1:
		file_punch(file, off, len, NULL);
		memset(model->bytes + off, 0, len);
		break;
	case 2:
		file_truncate(file, off + len, NULL);
		model_resize(model, off + len);
		break;
	default:
		len = min_u64(len, sizeof(buf));
		rng_fill(rng, buf, len);
		file_write(file, EV_DATA, buf, off, len, NULL);
		memcpy(model->bytes + off, buf, len);
		model->size = len ? max_u64(model->size, off + len) : model->size;
		break;
	}
}

static void expect_same(struct mem_ns *ns, const struct model *model)
{
	static uint8_t buf[MODEL_BYTES];

	cr_assert_eq(mem_ns_size(ns, "f"), model->size);
	mem_ns_get(ns, "f", 0, buf, MODEL_BYTES);
	cr_assert_eq(memcmp(buf, model->bytes, MODEL_BYTES), 0);
}

static struct model model_copy(const struct model *from)
{
	struct model copy = {.bytes = malloc(MODEL_BYTES), .size = from->size};

	cr_assert_not_null(copy.bytes);
	memcpy(copy.bytes, from->bytes, MODEL_BYTES);
	return copy;
}

static void random_changes(struct rng *rng, struct mem_ns *ns, struct model *model)
{
	struct file *file = open_as(ns, "f", FILE_OPEN_RDWR);

	for (int i = 0; i < 30; i++)
		random_change(rng, file, model);
	file_close(file, NULL);
}

/* Copies of copies, each changed on its own; none may see another's changes. */
Test(block_mem, copies_share_until_either_side_writes)
{
	enum { COPIES = 8 };
	struct mem_ns *ns[COPIES] = {mem_ns_new()};
	struct model model[COPIES] = {{.bytes = calloc(1, MODEL_BYTES)}};
	struct rng rng = rng_seed(4711);

	mem_ns_put(ns[0], "f", "", 0);
	for (int round = 0; round < 12 * COPIES; round++) {
		uint64_t from = rng_below(&rng, COPIES), to = rng_below(&rng, COPIES);

		if (!ns[from])
			from = 0;
		if (to && to != from) {
			mem_ns_free(ns[to]);
			free(model[to].bytes);
			ns[to] = mem_ns_clone(ns[from]);
			model[to] = model_copy(&model[from]);
			random_changes(&rng, ns[to], &model[to]);
		}
		random_changes(&rng, ns[from], &model[from]);
		for (int i = 0; i < COPIES; i++)
			if (ns[i])
				expect_same(ns[i], &model[i]);
	}
	for (int i = 0; i < COPIES; i++) {
		mem_ns_free(ns[i]);
		free(model[i].bytes);
	}
}

static void *change_copies(void *arg)
{
	struct mem_ns *ns = arg;
	uint8_t sector[512];

	memset(sector, 'n', sizeof(sector));
	for (int i = 0; i < 200; i++) {
		struct mem_ns *copy = mem_ns_clone(ns);
		struct file *file = open_as(copy, "f", FILE_OPEN_RDWR);

		file_write(file, EV_DATA, sector, (uint64_t)i * 100, sizeof(sector), NULL);
		file_close(file, NULL);
		mem_ns_free(copy);
	}
	return NULL;
}

Test(block_mem, copies_may_be_used_from_different_threads)
{
	static uint8_t content[100000], after[sizeof(content)];
	struct mem_ns *ns = mem_ns_new();
	pthread_t thread[3];

	memset(content, 'c', sizeof(content));
	mem_ns_put(ns, "f", content, sizeof(content));
	for (size_t i = 0; i < ARRAY_LEN(thread); i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, change_copies, ns), 0);
	for (size_t i = 0; i < ARRAY_LEN(thread); i++)
		pthread_join(thread[i], NULL);
	mem_ns_get(ns, "f", 0, after, sizeof(after));
	cr_expect_eq(memcmp(after, content, sizeof(content)), 0);
	mem_ns_free(ns);
}

Test(block_mem, the_log_rebuilds_what_happened)
{
	struct mem_ns *ns = mem_ns_new(), *start, *end;
	struct model model = {.bytes = calloc(1, MODEL_BYTES)};
	struct rng rng = rng_seed(815);
	const struct mem_event *log;
	size_t count;

	mem_ns_put(ns, "f", "", 0);
	random_changes(&rng, ns, &model);
	start = mem_ns_clone(ns);
	mem_ns_log_start(ns);
	random_changes(&rng, ns, &model);
	file_ns_rename(mem_ns_base(ns), "f", "g", NULL);
	file_close(open_as(ns, "tmp", FILE_OPEN_CREATE), NULL);
	file_ns_rename(mem_ns_base(ns), "g", "f", NULL);
	file_ns_unlink(mem_ns_base(ns), "tmp", NULL);
	mem_ns_log_stop(ns);

	log = mem_ns_log(ns, &count);
	end = mem_ns_clone(start);
	for (size_t i = 0; i < count; i++)
		mem_ns_apply(end, &log[i]);
	expect_same(end, &model);
	cr_expect_eq(mem_ns_size(end, "tmp"), UINT64_MAX);
	mem_ns_free(end);
	mem_ns_free(start);
	mem_ns_free(ns);
	free(model.bytes);
}
