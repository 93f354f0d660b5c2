/* SPDX-License-Identifier: MIT */
/*
 * The power-cut laboratory on toys whose mistakes are known: it must accept the correct ones and
 * find the fault in each of the others.
 *
 * The toy store is a file of sectors: sector 0 holds how many records are valid, sector 1 + n
 * record n. Each put is acknowledged with a mark, the number of records then promised.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/powercut.h"
#include "util/bytes.h"

#define SECTOR  512u
#define RECORDS 6u
#define STORE   "/d/store"
#define TEMP    "/d/store.new"

static void *no_run(const void *config, uint64_t seed, bool calm)
{
	(void)calm;
	(void)config;
	(void)seed;
	return NULL;
}

static void end_run(void *run)
{
	(void)run;
}

static enum err nothing(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	(void)run;
	(void)ns;
	(void)mark;
	(void)why;
	return ERR_OK;
}

static enum err open_store(struct mem_ns *ns, unsigned flags, struct file **out,
			   struct err_why *why)
{
	return file_ns_open(mem_ns_base(ns), STORE, flags, out, why);
}

static enum err put_sector(struct file *file, uint64_t sector, uint64_t value, struct err_why *why)
{
	uint8_t buf[SECTOR];

	for (size_t i = 0; i < SECTOR; i += 8)
		put_be64(buf + i, value);
	return file_write(file, EV_DATA, buf, sector * SECTOR, SECTOR, why);
}

static enum err get_sector(struct file *file, uint64_t sector, uint64_t *value, struct err_why *why)
{
	uint8_t buf[SECTOR];
	enum err err = file_read(file, EV_DATA, buf, sector * SECTOR, SECTOR, why);

	*value = get_be64(buf);
	return err;
}

static uint64_t record_value(uint64_t n)
{
	return 0x7265636f72640000ull + n;
}

static enum err setup_store(void *run, struct mem_ns *ns, struct err_why *why)
{
	struct file *file;
	enum err err = open_store(ns, FILE_OPEN_CREATE, &file, why);

	(void)run;
	if (err)
		return err;
	err = put_sector(file, 0, 0, why);
	if (!err)
		err = file_sync(file, why);
	if (!err)
		err = file_ns_sync_dir(mem_ns_base(ns), STORE, why);
	file_close(file, NULL);
	return err;
}

static enum err put_records(struct mem_ns *ns, bool sync_data, bool sync_count, struct err_why *why)
{
	struct file *file;
	enum err err = open_store(ns, FILE_OPEN_RDWR, &file, why);

	if (err)
		return err;
	for (uint64_t n = 0; n < RECORDS && !err; n++) {
		err = put_sector(file, 1 + n, record_value(n), why);
		if (!err && sync_data)
			err = file_sync(file, why);
		if (!err)
			err = put_sector(file, 0, n + 1, why);
		if (!err && sync_count)
			err = file_sync(file, why);
		mem_ns_mark(ns, n + 1);
	}
	file_close(file, NULL);
	return err;
}

static enum err verify_store(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct file *file;
	uint64_t count = 0;
	enum err err = open_store(ns, 0, &file, why);

	(void)run;
	if (err)
		return err;
	err = get_sector(file, 0, &count, why);
	if (!err && (count < mark || count > mark + 1))
		err = err_set(why, ERR_CORRUPT, "%llu records, %llu were acknowledged",
			      (unsigned long long)count, (unsigned long long)mark);
	for (uint64_t n = 0; n < count && !err; n++) {
		uint64_t value;

		err = get_sector(file, 1 + n, &value, why);
		if (!err && value != record_value(n))
			err = err_set(why, ERR_CORRUPT, "record %llu is wrong",
				      (unsigned long long)n);
	}
	file_close(file, NULL);
	return err;
}

static enum err operate_good(void *run, struct mem_ns *ns, struct err_why *why)
{
	(void)run;
	return put_records(ns, true, true, why);
}

static enum err operate_no_data_barrier(void *run, struct mem_ns *ns, struct err_why *why)
{
	(void)run;
	return put_records(ns, false, true, why);
}

static enum err operate_early_ack(void *run, struct mem_ns *ns, struct err_why *why)
{
	(void)run;
	return put_records(ns, true, false, why);
}

static struct powercut_scenario toy(enum err (*operate)(void *, struct mem_ns *, struct err_why *))
{
	return (struct powercut_scenario){.name = "toy",
					  .begin = no_run,
					  .setup = setup_store,
					  .operate = operate,
					  .recover = nothing,
					  .verify = verify_store,
					  .end = end_run};
}

static struct powercut_result explore(const struct powercut_scenario *scenario, size_t without)
{
	struct err_why why = {0};
	struct powercut *powercut = powercut_record(scenario, 1, true, &why);
	struct powercut_result result;

	cr_assert(powercut, "%s", why.text);
	powercut_explore(
	    powercut,
	    &(struct powercut_opts){.without = without, .budget_states = 5000, .recovery_cuts = 8},
	    &result);
	powercut_free(powercut);
	return result;
}

static size_t barriers_of(const struct powercut_scenario *scenario)
{
	struct powercut *powercut = powercut_record(scenario, 1, true, NULL);
	size_t barriers;

	cr_assert(powercut);
	barriers = powercut_barriers(powercut);
	powercut_free(powercut);
	return barriers;
}

Test(powercut, accepts_a_store_with_all_its_barriers)
{
	struct powercut_scenario scenario = toy(operate_good);
	struct powercut_result result = explore(&scenario, POWERCUT_WHOLE);

	cr_expect(!result.failed, "%s", result.text);
	cr_expect_geq(result.states, RECORDS * (4 + 2));
}

Test(powercut, notices_each_barrier_removed)
{
	struct powercut_scenario scenario = toy(operate_good);
	size_t barriers = barriers_of(&scenario);

	cr_assert_eq(barriers, 2 * RECORDS);
	for (size_t i = 0; i < barriers; i++)
		cr_expect(explore(&scenario, i).failed, "barrier %zu", i);
}

Test(powercut, finds_a_missing_barrier)
{
	struct powercut_scenario scenario = toy(operate_no_data_barrier);
	struct powercut_result result = explore(&scenario, POWERCUT_WHOLE);

	cr_expect(result.failed);
	cr_expect(strstr(result.text, "record"), "%s", result.text);
}

Test(powercut, finds_an_acknowledgement_before_its_barrier)
{
	struct powercut_scenario scenario = toy(operate_early_ack);
	struct powercut_result result = explore(&scenario, POWERCUT_WHOLE);

	cr_expect(result.failed);
	cr_expect(strstr(result.text, "acknowledged"), "%s", result.text);
}

/* ---- how many states ---- */

static enum err operate_three_sectors(void *run, struct mem_ns *ns, struct err_why *why)
{
	struct file *file;
	enum err err = open_store(ns, FILE_OPEN_RDWR, &file, why);

	(void)run;
	if (err)
		return err;
	for (uint64_t sector = 0; sector < 3 && !err; sector++)
		err = put_sector(file, sector, 9, why);
	if (!err)
		err = file_sync(file, why);
	file_close(file, NULL);
	return err;
}

Test(powercut, tries_every_subset_of_sectors_and_sizes)
{
	struct powercut_scenario scenario = toy(operate_three_sectors);
	struct powercut_result result;

	scenario.verify = nothing;
	result = explore(&scenario, POWERCUT_WHOLE);
	/* Three sectors, two of them extend the file: 2^5; and the end, where nothing is pending.
	 */
	cr_expect_eq(result.states, 32 + 1, "%llu", (unsigned long long)result.states);
}

/* ---- sizes ---- */

/* A log that believes its size: wrong, because the size may land without the data. */
static enum err operate_append(void *run, struct mem_ns *ns, struct err_why *why)
{
	struct file *file;
	enum err err = open_store(ns, FILE_OPEN_RDWR, &file, why);

	(void)run;
	if (err)
		return err;
	err = put_sector(file, 1, record_value(0), why);
	if (!err)
		err = file_sync(file, why);
	file_close(file, NULL);
	return err;
}

static enum err verify_append(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct file *file;
	struct file_info info = {0};
	uint64_t value = 0;
	enum err err = open_store(ns, 0, &file, why);

	(void)run;
	(void)mark;
	if (err)
		return err;
	err = file_get_info(file, &info, why);
	if (!err && info.size_bytes != SECTOR && info.size_bytes != 2 * SECTOR)
		err = err_set(why, ERR_CORRUPT, "size %llu", (unsigned long long)info.size_bytes);
	if (!err && info.size_bytes == 2 * SECTOR)
		err = get_sector(file, 1, &value, why);
	if (!err && info.size_bytes == 2 * SECTOR && !value)
		err = err_set(why, ERR_CORRUPT, "size without data");
	file_close(file, NULL);
	return err;
}

Test(powercut, lands_a_size_without_the_data)
{
	struct powercut_scenario scenario = toy(operate_append);
	struct powercut_result result;

	scenario.verify = verify_append;
	result = explore(&scenario, POWERCUT_WHOLE);
	cr_expect(result.failed);
	cr_expect(strstr(result.text, "size without data"), "%s", result.text);
}

/* ---- long and torn writes ---- */

static enum err operate_long(void *run, struct mem_ns *ns, struct err_why *why)
{
	static uint8_t buf[64 * SECTOR];
	struct file *file;
	enum err err = open_store(ns, FILE_OPEN_RDWR, &file, why);

	(void)run;
	if (err)
		return err;
	memset(buf, 1, sizeof(buf));
	err = file_truncate(file, sizeof(buf), why);
	if (!err)
		err = file_sync(file, why);
	if (!err)
		err = file_write(file, EV_DATA, buf, 0, sizeof(buf), why);
	file_close(file, NULL);
	return err;
}

/* Fails only when the write has landed with a hole: some sector missing between two that landed. */
static enum err verify_no_hole(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	unsigned changes = 0;
	uint8_t before = 1;

	(void)run;
	(void)mark;
	for (uint64_t sector = 0; sector < 64; sector++) {
		uint8_t byte;

		mem_ns_get(ns, STORE, sector * SECTOR, &byte, 1);
		changes += byte != before;
		before = byte;
	}
	return changes > 2 ? err_set(why, ERR_CORRUPT, "hole") : ERR_OK;
}

Test(powercut, tears_long_writes_at_sectors)
{
	struct powercut_scenario scenario = toy(operate_long);

	scenario.verify = verify_no_hole;
	cr_expect(explore(&scenario, POWERCUT_WHOLE).failed);
}

static enum err operate_footer(void *run, struct mem_ns *ns, struct err_why *why)
{
	uint8_t buf[SECTOR];
	struct file *file;
	enum err err = open_store(ns, FILE_OPEN_RDWR, &file, why);

	(void)run;
	if (err)
		return err;
	memset(buf, 1, sizeof(buf));
	err = file_write(file, EV_FOOTER, buf, 0, sizeof(buf), why);
	file_close(file, NULL);
	return err;
}

static enum err verify_whole_sector(void *run, struct mem_ns *ns, uint64_t mark,
				    struct err_why *why)
{
	uint8_t buf[SECTOR];

	(void)run;
	(void)mark;
	mem_ns_get(ns, STORE, 0, buf, SECTOR);
	return buf[7] != buf[SECTOR - 1] ? err_set(why, ERR_CORRUPT, "torn inside") : ERR_OK;
}

Test(powercut, tears_sectors_that_have_a_checksum)
{
	struct powercut_scenario scenario = toy(operate_footer);

	scenario.verify = verify_whole_sector;
	cr_expect(explore(&scenario, POWERCUT_WHOLE).failed);
}

Test(powercut, keeps_other_sectors_whole)
{
	struct powercut_scenario scenario = toy(operate_three_sectors);

	scenario.verify = verify_whole_sector;
	cr_expect(!explore(&scenario, POWERCUT_WHOLE).failed);
}

/* ---- names ---- */

enum replace_step { REPLACE_SYNC = 1, REPLACE_SYNC_DIR = 2 };

/* Replace the store by a new one with one record. */
static enum err replace(struct mem_ns *ns, unsigned steps, struct err_why *why)
{
	struct file_ns *base = mem_ns_base(ns);
	struct file *file;
	enum err err = file_ns_open(base, TEMP, FILE_OPEN_CREATE, &file, why);

	if (err)
		return err;
	err = put_sector(file, 0, 1, why);
	if (!err)
		err = put_sector(file, 1, record_value(0), why);
	if (!err && steps & REPLACE_SYNC)
		err = file_sync(file, why);
	file_close(file, NULL);
	if (!err)
		err = file_ns_rename(base, TEMP, STORE, why);
	if (!err && steps & REPLACE_SYNC_DIR)
		err = file_ns_sync_dir(base, STORE, why);
	mem_ns_mark(ns, 1);
	return err;
}

static enum err replace_good(void *run, struct mem_ns *ns, struct err_why *why)
{
	(void)run;
	return replace(ns, REPLACE_SYNC | REPLACE_SYNC_DIR, why);
}

static enum err replace_unsynced(void *run, struct mem_ns *ns, struct err_why *why)
{
	(void)run;
	return replace(ns, REPLACE_SYNC_DIR, why);
}

static enum err replace_no_dir(void *run, struct mem_ns *ns, struct err_why *why)
{
	(void)run;
	return replace(ns, REPLACE_SYNC, why);
}

Test(powercut, accepts_replacing_a_file)
{
	struct powercut_scenario scenario = toy(replace_good);
	struct powercut_result result = explore(&scenario, POWERCUT_WHOLE);

	cr_expect(!result.failed, "%s", result.text);
	cr_assert_eq(barriers_of(&scenario), 2);
	cr_expect(explore(&scenario, 0).failed);
	cr_expect(explore(&scenario, 1).failed);
}

Test(powercut, finds_a_name_that_lands_before_the_content)
{
	struct powercut_scenario scenario = toy(replace_unsynced);

	cr_expect(explore(&scenario, POWERCUT_WHOLE).failed);
}

Test(powercut, finds_a_name_that_never_landed)
{
	struct powercut_scenario scenario = toy(replace_no_dir);

	cr_expect(explore(&scenario, POWERCUT_WHOLE).failed);
}

/* ---- recovery ---- */

/*
 * Operate sets a "dirty" record; recovery moves it to the count and clears it. Done without a
 * barrier between, a cut in the recovery loses it.
 */
static enum err operate_dirty(void *run, struct mem_ns *ns, struct err_why *why)
{
	struct file *file;
	enum err err = open_store(ns, FILE_OPEN_RDWR, &file, why);

	(void)run;
	if (err)
		return err;
	err = put_sector(file, 1, 7, why);
	if (!err)
		err = file_sync(file, why);
	mem_ns_mark(ns, 1);
	file_close(file, NULL);
	return err;
}

static enum err recover_dirty(struct mem_ns *ns, bool barrier, struct err_why *why)
{
	struct file *file;
	uint64_t dirty = 0;
	enum err err = open_store(ns, FILE_OPEN_RDWR, &file, why);

	if (err)
		return err;
	err = get_sector(file, 1, &dirty, why);
	if (!err && dirty)
		err = put_sector(file, 0, dirty, why);
	if (!err && dirty && barrier)
		err = file_sync(file, why);
	if (!err && dirty)
		err = put_sector(file, 1, 0, why);
	if (!err && dirty)
		err = file_sync(file, why);
	file_close(file, NULL);
	return err;
}

static enum err recover_safely(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	(void)run;
	(void)mark;
	return recover_dirty(ns, true, why);
}

static enum err recover_carelessly(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	(void)run;
	(void)mark;
	return recover_dirty(ns, false, why);
}

static enum err verify_dirty(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	uint8_t buf[8];

	(void)run;
	mem_ns_get(ns, STORE, 0, buf, sizeof(buf));
	return mark && get_be64(buf) != 7 ? err_set(why, ERR_CORRUPT, "lost in recovery") : ERR_OK;
}

Test(powercut, cuts_the_recovery_too)
{
	struct powercut_scenario scenario = toy(operate_dirty);
	struct powercut_result result;

	scenario.verify = verify_dirty;
	scenario.recover = recover_safely;
	result = explore(&scenario, POWERCUT_WHOLE);
	cr_expect(!result.failed, "%s", result.text);
	cr_expect_gt(result.recovery_states, 0);
	scenario.recover = recover_carelessly;
	result = explore(&scenario, POWERCUT_WHOLE);
	cr_expect(result.failed);
	cr_expect(strstr(result.text, "in the recovery"), "%s", result.text);
}

Test(powercut, same_seed_tries_the_same_states)
{
	struct powercut_scenario scenario = toy(operate_no_data_barrier);
	struct powercut_result first = explore(&scenario, POWERCUT_WHOLE);
	struct powercut_result second = explore(&scenario, POWERCUT_WHOLE);

	cr_expect_eq(first.states, second.states);
	cr_expect_str_eq(first.text, second.text);
}
