/* SPDX-License-Identifier: MIT */
#include "tests/tree/tree_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/file_mem.h"
#include "block/queue.h"
#include "snapshot/snapshot.h"
#include "tests/lib/random.h"
#include "vhd/parking.h"
#include "vhd/vhd.h"

#define DISKS      2u
#define DISK_BYTES (1u << 20)
#define SECTORS    (DISK_BYTES / DISK_SECTOR)
#define BLOCK      (64u << 10)
#define MAX_VIEWS  3u
#define DIR_NAME   "/home/vm"

/* What both disks read as, a tag for each sector; tag 0 is zeros. */
struct content {
	uint32_t tag[DISKS][SECTORS];
};

struct node {
	struct guid id;
	struct content *content;
};

struct open_view {
	struct snap_view *view;
	struct content *content;
};

struct tree_model {
	struct mem_ns *mem;
	struct file_ns *ns;
	struct store *store;
	struct queue *queue;
	struct rng rng;
	struct node *node;
	unsigned count;
	struct content *current;
	struct snap_view *writer;
	struct open_view view[MAX_VIEWS];
	uint32_t next_tag;
	unsigned done[16];
	unsigned deepest;
	uint8_t *buf;
};

static uint32_t pick(struct tree_model *m, uint32_t bound)
{
	return (uint32_t)rng_below(&m->rng, bound);
}

static bool fail(struct err_why *why, const char *what)
{
	err_context(why, "%s", what);
	return false;
}

static bool wrong(struct err_why *why, const char *text)
{
	err_set(why, ERR_CORRUPT, "%s", text);
	return false;
}

static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static struct content *copy_content(const struct content *from)
{
	struct content *copy = must(malloc(sizeof(*copy)));

	*copy = *from;
	return copy;
}

/* ---- content ---- */

/* Tag and place, so that what is misplaced is recognised. */
static void fill_sector(uint8_t *to, uint32_t tag, unsigned disk, uint32_t sector)
{
	uint64_t word = tag ? (uint64_t)tag << 32 | (disk << 24) | sector : 0;

	for (unsigned i = 0; i < DISK_SECTOR; i += 8)
		memcpy(to + i, &word, 8);
}

static bool compare_disk(struct tree_model *m, struct disk *disk, unsigned d,
			 const struct content *content, struct err_why *why)
{
	uint8_t expected[DISK_SECTOR];

	if (disk_read(disk, m->queue, m->buf, 0, DISK_BYTES, why))
		return fail(why, "reading a node");
	for (uint32_t s = 0; s < SECTORS; s++) {
		uint64_t have;

		fill_sector(expected, content->tag[d][s], d, s);
		if (!memcmp(expected, m->buf + (size_t)s * DISK_SECTOR, DISK_SECTOR))
			continue;
		memcpy(&have, m->buf + (size_t)s * DISK_SECTOR, 8);
		err_set(why, ERR_CORRUPT, "disk %u sector %u: tag %u expected, found 0x%llx", d, s,
			content->tag[d][s], (unsigned long long)have);
		return false;
	}
	return true;
}

static bool compare_view(struct tree_model *m, struct snap_view *view,
			 const struct content *content, struct err_why *why)
{
	for (unsigned d = 0; d < DISKS; d++)
		if (!compare_disk(m, view->disk[d], d, content, why))
			return false;
	return true;
}

static bool compare(struct tree_model *m, const struct guid *id, const struct content *content,
		    struct err_why *why)
{
	struct snap_view *view;

	if (!id && m->writer)
		return compare_view(m, m->writer, content, why);
	if (snap_view_open(m->store, id, NULL, &view, why))
		return fail(why, "opening a view");
	bool ok = compare_view(m, view, content, why);
	return (!snap_view_close(view, why) && ok) || fail(why, id ? "a node" : "current");
}

static bool compare_all(struct tree_model *m, struct err_why *why)
{
	for (unsigned i = 0; i < m->count; i++)
		if (!compare(m, &m->node[i].id, m->node[i].content, why))
			return false;
	for (unsigned i = 0; i < MAX_VIEWS; i++)
		if (m->view[i].view && !compare_view(m, m->view[i].view, m->view[i].content, why))
			return fail(why, "a view that stayed open");
	return compare(m, NULL, m->current, why);
}

/* The tree the store tells of is the one we know. */
static bool compare_tree(struct tree_model *m, struct err_why *why)
{
	struct snap_tree tree;
	bool ok;

	if (snap_tree(m->store, SNAP_TREE_SIZES, &tree, why))
		return fail(why, "tree");
	ok = tree.count == m->count;
	for (unsigned i = 0; i < tree.count; i++) {
		unsigned found = 0;

		for (unsigned j = 0; j < m->count; j++)
			found += guid_equal(&tree.node[i].id, &m->node[j].id);
		ok &= found == 1;
		if (tree.node[i].depth > m->deepest)
			m->deepest = tree.node[i].depth;
	}
	snap_tree_free(&tree);
	return ok || wrong(why, "the tree has other nodes than the model");
}

/* ---- setting up ---- */

static bool make_disks(struct tree_model *m, struct err_why *why)
{
	struct vhd_create_opts fixed = {.ns = m->ns, .type = VHD_FIXED, .size_bytes = DISK_BYTES};
	struct vhd_create_opts dynamic = {
	    .ns = m->ns, .type = VHD_DYNAMIC, .size_bytes = DISK_BYTES, .block_size = BLOCK};
	const char *disks[] = {"/disks/fixed.vhd", "/disks/dynamic.vhd"};
	struct snap_create_opts create = {.ns = m->ns,
					  .config = {.memory_bytes = 512u << 20, .cpus = 1},
					  .disks = disks,
					  .disk_count = DISKS};

	return !vhd_create(disks[0], &fixed, why) && !vhd_create(disks[1], &dynamic, why) &&
	       !snap_create(DIR_NAME, &create, why) &&
	       !snap_open(m->ns, DIR_NAME, 0, &m->store, why);
}

struct tree_model *tree_model_new(uint64_t seed, struct err_why *why)
{
	struct tree_model *m = must(calloc(1, sizeof(*m)));

	m->rng = rng_seed(seed);
	m->mem = must(mem_ns_new());
	m->ns = mem_ns_base(m->mem);
	m->current = must(calloc(1, sizeof(*m->current)));
	m->buf = must(malloc(DISK_BYTES));
	m->next_tag = 1;
	parking_limit(24 + pick(m, 200)); /* fewer than the files there will be */
	if (queue_create(64, &m->queue, why) || !make_disks(m, why)) {
		tree_model_free(m);
		return NULL;
	}
	return m;
}

static void drop_view(struct open_view *open)
{
	snap_view_close(open->view, NULL);
	free(open->content);
	*open = (struct open_view){0};
}

void tree_model_free(struct tree_model *m)
{
	snap_view_close(m->writer, NULL);
	for (unsigned i = 0; i < MAX_VIEWS; i++)
		drop_view(&m->view[i]);
	snap_close(m->store);
	for (unsigned i = 0; i < m->count; i++)
		free(m->node[i].content);
	free(m->node);
	free(m->current);
	free(m->buf);
	queue_destroy(m->queue);
	mem_ns_free(m->mem);
	free(m);
}

/* ---- operations ---- */

static bool close_writer(struct tree_model *m, struct err_why *why)
{
	struct snap_view *view = m->writer;

	m->writer = NULL;
	return !snap_view_close(view, why) || fail(why, "closing current");
}

static bool open_writer(struct tree_model *m, struct err_why *why)
{
	struct snap_view_opts opts = {.writable = true};

	return m->writer || !snap_view_open(m->store, NULL, &opts, &m->writer, why) ||
	       fail(why, "opening current");
}

static bool write_range(struct tree_model *m, unsigned d, uint32_t first, uint32_t count,
			uint32_t tag, struct err_why *why)
{
	struct disk *disk = m->writer->disk[d];
	uint64_t off = (uint64_t)first * DISK_SECTOR, len = (uint64_t)count * DISK_SECTOR;
	enum err e;

	for (uint32_t s = 0; s < count; s++) {
		fill_sector(m->buf + (size_t)s * DISK_SECTOR, tag, d, first + s);
		m->current->tag[d][first + s] = tag;
	}
	e = tag ? disk_write(disk, m->queue, m->buf, off, len, why)
		: disk_zero(disk, m->queue, off, len, why);
	return !e || fail(why, "writing");
}

static bool step_write(struct tree_model *m, struct err_why *why)
{
	if (!open_writer(m, why))
		return false;
	for (unsigned n = 1 + pick(m, 4); n; n--) {
		unsigned d = pick(m, DISKS);
		uint32_t first = pick(m, SECTORS);
		uint32_t most = pick(m, 4) ? 16 : 400;
		uint32_t count = 1 + pick(m, most);
		uint32_t tag = pick(m, 6) ? m->next_tag++ : 0;

		if (count > SECTORS - first)
			count = SECTORS - first;
		if (!write_range(m, d, first, count, tag, why))
			return false;
	}
	return pick(m, 2) || close_writer(m, why);
}

static void add_node(struct tree_model *m, const struct guid *id)
{
	m->node = must(realloc(m->node, (m->count + 1) * sizeof(*m->node)));
	m->node[m->count++] = (struct node){*id, copy_content(m->current)};
}

static bool step_take(struct tree_model *m, struct err_why *why)
{
	struct snap_take_opts opts = {0};
	struct guid id;

	if (snap_take(m->store, &opts, &id, why))
		return fail(why, "take");
	add_node(m, &id);
	return true;
}

static bool step_revert(struct tree_model *m, struct err_why *why)
{
	bool keep = pick(m, 2);
	struct guid kept;

	if (!m->count)
		return true;
	if (m->writer && !close_writer(m, why))
		return false;
	struct guid id = m->node[pick(m, m->count)].id;
	if (snap_revert(m->store, &id, keep ? "" : NULL, &kept, why))
		return fail(why, "revert");
	if (keep)
		add_node(m, &kept);
	for (unsigned i = 0; i < m->count; i++)
		if (guid_equal(&m->node[i].id, &id))
			*m->current = *m->node[i].content;
	return true;
}

/* The model follows the store in which nodes a subtree has. */
static bool forget_deleted(struct tree_model *m, unsigned deleted, struct err_why *why)
{
	struct snap_tree tree;
	unsigned kept = 0, before = m->count;

	if (snap_tree(m->store, 0, &tree, why))
		return fail(why, "tree");
	for (unsigned j = 0; j < m->count; j++) {
		bool found = false;

		for (unsigned i = 0; i < tree.count && !found; i++)
			found = guid_equal(&tree.node[i].id, &m->node[j].id);
		if (found)
			m->node[kept++] = m->node[j];
		else
			free(m->node[j].content);
	}
	m->count = kept;
	snap_tree_free(&tree);
	return before - kept == deleted || wrong(why, "more or fewer nodes are gone than said");
}

static bool step_delete(struct tree_model *m, struct err_why *why)
{
	bool subtree = pick(m, 12) == 0;
	unsigned deleted;

	if (!m->count)
		return true;
	struct guid id = m->node[pick(m, m->count)].id;
	if (snap_delete(m->store, &id, subtree, &deleted, why))
		return fail(why, "delete");
	if (!subtree && deleted != 1)
		return wrong(why, "one node was to go");
	return forget_deleted(m, deleted, why);
}

static bool step_fold(struct tree_model *m, struct err_why *why)
{
	struct snap_fold_opts opts = {.budget_bytes = pick(m, 2) ? 0 : 1 + pick(m, 65536)};
	struct snap_fold_result result;

	return !snap_fold(m->store, &opts, &result, why) || fail(why, "fold");
}

static bool step_view(struct tree_model *m, struct err_why *why)
{
	struct open_view *open = &m->view[pick(m, MAX_VIEWS)];

	if (open->view)
		drop_view(open);
	if (!m->count)
		return true;
	const struct node *node = &m->node[pick(m, m->count)];
	if (snap_view_open(m->store, &node->id, NULL, &open->view, why))
		return fail(why, "opening a view to stay");
	open->content = copy_content(node->content);
	return true;
}

static bool step_reopen(struct tree_model *m, struct err_why *why)
{
	if (m->writer && !close_writer(m, why))
		return false;
	for (unsigned i = 0; i < MAX_VIEWS; i++)
		if (m->view[i].view)
			drop_view(&m->view[i]);
	snap_close(m->store);
	m->store = NULL;
	return !snap_open(m->ns, DIR_NAME, 0, &m->store, why) || fail(why, "opening the store");
}

static bool no_findings(struct tree_model *m, const char *dir, struct err_why *why)
{
	struct snap_report report;

	if (snap_check(m->ns, dir, true, NULL, &report, why))
		return fail(why, "check");
	for (size_t i = 0; i < report.count; i++)
		if (report.finding[i].kind != SNAP_NOTE)
			err_set(why, ERR_CORRUPT, "check found: %s", report.finding[i].what);
	bool ok = !snap_report_result(&report);
	snap_report_free(&report);
	return ok;
}

static bool step_check(struct tree_model *m, struct err_why *why)
{
	if (m->writer && !close_writer(m, why))
		return false;
	return no_findings(m, DIR_NAME, why);
}

/* What was exported is a store, and so is what is imported from it. */
static bool compare_export(struct tree_model *m, const char *dir, const struct content *content,
			   struct err_why *why)
{
	struct store *own = m->store;
	struct snap_view *writer = m->writer;
	bool ok;

	m->writer = NULL;
	if (snap_open(m->ns, dir, 0, &m->store, why)) {
		m->store = own;
		return fail(why, "opening an export");
	}
	ok = compare(m, NULL, content, why);
	snap_close(m->store);
	m->store = own;
	m->writer = writer;
	return ok && no_findings(m, dir, why);
}

static bool step_export(struct tree_model *m, struct err_why *why)
{
	enum snap_export_kind kind = (enum snap_export_kind)pick(m, 3);
	bool node = m->count && kind != SNAP_EXPORT_VM && pick(m, 2);
	unsigned i = m->count ? pick(m, m->count) : 0;
	const struct content *content = node ? m->node[i].content : m->current;

	if (m->writer && !close_writer(m, why))
		return false;
	if (snap_export(m->store, node ? &m->node[i].id : NULL, kind, "/home/out", NULL, why))
		return fail(why, "export");
	if (!compare_export(m, "/home/out", content, why))
		return fail(why, "an export");
	if (snap_import(m->ns, "/home/out", "/home/in", NULL, why))
		return fail(why, "import");
	if (!compare_export(m, "/home/in", content, why))
		return fail(why, "an import");
	return (!snap_remove(m->ns, "/home/out", why) && !snap_remove(m->ns, "/home/in", why)) ||
	       fail(why, "remove");
}

/* ---- the torture ---- */

struct step {
	const char *name;
	unsigned weight;
	bool (*run)(struct tree_model *model, struct err_why *why);
};

static const struct step steps_table[] = {
    {"write", 30, step_write},   {"take", 24, step_take},  {"revert", 8, step_revert},
    {"delete", 13, step_delete}, {"fold", 10, step_fold},  {"view", 8, step_view},
    {"reopen", 3, step_reopen},  {"check", 1, step_check}, {"export", 1, step_export},
};

#define STEPS (sizeof(steps_table) / sizeof(steps_table[0]))

static unsigned choose(struct tree_model *m)
{
	unsigned total = 0, at;

	for (unsigned i = 0; i < STEPS; i++)
		total += steps_table[i].weight;
	at = pick(m, total);
	for (unsigned i = 0; i < STEPS; i++) {
		if (at < steps_table[i].weight)
			return i;
		at -= steps_table[i].weight;
	}
	return 0;
}

static bool compare_some(struct tree_model *m, struct err_why *why)
{
	unsigned i = m->count ? pick(m, m->count) : 0;
	const struct open_view *open = &m->view[pick(m, MAX_VIEWS)];

	if (open->view && !compare_view(m, open->view, open->content, why))
		return fail(why, "a view that stayed open");
	return (!m->count || compare(m, &m->node[i].id, m->node[i].content, why)) &&
	       compare(m, NULL, m->current, why);
}

bool tree_model_steps(struct tree_model *m, unsigned steps, struct err_why *why)
{
	for (unsigned n = 0; n < steps; n++) {
		unsigned i = choose(m);

		if (!steps_table[i].run(m, why)) {
			err_context(why, "step %u (%s)", n, steps_table[i].name);
			return false;
		}
		m->done[i]++;
		bool ok = n % 200 == 199 ? compare_all(m, why) && compare_tree(m, why)
					 : compare_some(m, why);
		if (!ok) {
			err_context(why, "after step %u (%s)", n, steps_table[i].name);
			return false;
		}
	}
	return true;
}

bool tree_model_line(struct tree_model *m, unsigned depth, struct err_why *why)
{
	for (unsigned n = 0; n < depth; n++) {
		uint32_t first = pick(m, SECTORS - 8);

		if (!open_writer(m, why) ||
		    !write_range(m, n % DISKS, first, 1 + pick(m, 8), m->next_tag++, why) ||
		    !step_take(m, why))
			return fail(why, "in a line");
	}
	if (!close_writer(m, why) || !compare_tree(m, why) || !compare_some(m, why))
		return false;
	for (unsigned n = 0; n < 40; n++)
		if (!step_delete(m, why) || !step_revert(m, why) || !step_fold(m, why) ||
		    !compare_some(m, why))
			return fail(why, "in a long line");
	return true;
}

bool tree_model_finish(struct tree_model *m, struct err_why *why)
{
	struct snap_fold_opts all = {0};
	struct snap_fold_result result;
	struct snap_tree tree;

	if (!step_reopen(m, why))
		return false;
	if (snap_fold(m->store, &all, &result, why))
		return fail(why, "fold");
	if (result.more)
		return wrong(why, "a fold without a budget left something");
	if (snap_tree(m->store, 0, &tree, why))
		return fail(why, "tree");
	bool ok = tree.debt.layers - tree.debt.shared == result.busy && tree.debt.garbage == 0;
	snap_tree_free(&tree);
	if (!ok)
		return wrong(why, "there is debt left that is neither shared nor busy");
	return compare_all(m, why) && compare_tree(m, why) && no_findings(m, DIR_NAME, why);
}

void tree_model_tell(const struct tree_model *m)
{
	printf("# tree: %u nodes, at most %u deep;", m->count, m->deepest);
	for (unsigned i = 0; i < STEPS; i++)
		printf(" %s %u", steps_table[i].name, m->done[i]);
	printf("; %u tags\n", m->next_tag);
}
