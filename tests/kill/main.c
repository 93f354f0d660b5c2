/* SPDX-License-Identifier: MIT */

/*
 * T7: a VM's store whose users are killed.
 *
 * Usage: kill [--seconds N] [--seed N] [--dir DIR]
 *
 * One process has current open: threads write to it, and check what they read, while it takes
 * snapshots, deletes, folds, reads nodes, goes back, closes and opens. A thread of it and another
 * process fold, delete and read meanwhile. At random moments, or right after some operation has
 * begun, they are killed; then all is looked at as the next user would find it:
 *   P1, P2  current reads, in each sector, as something between the last that was flushed and the
 *           last that was written
 *   P3      everything opens, check finds nothing, each node reads as it did
 *   P4      each operation has happened or has not
 * and it goes on from there. DIR is on a real file system; without it a folder below $TMPDIR, which
 * stays when something went wrong.
 */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "block/queue.h"
#include "snapshot/snapshot.h"
#include "tests/kill/actor.h"
#include "tests/kill/verify.h"
#include "vhd/vhd.h"

#define BLOCK         (64u << 10)
#define PATH_ROOM     4096u
#define MOST_MS       1000u
#define LEAST_MS      20u
#define END_SECONDS   120u /* for what ends by itself */
#define HURRY_MS      40u
#define CLEAN_PERCENT 8u
#define FOLD_PERCENT  12u

struct options {
	unsigned seconds;
	uint64_t seed;
	const char *dir;
};

struct torture {
	struct options o;
	struct log *log;
	struct rng rng;
	char home[PATH_ROOM - 64], vm[PATH_ROOM];
	struct verify_opts verify;
	pid_t child[2]; /* the VM's, the other's; 0: none */
	unsigned cycles, kills, clean, folds;
};

enum child { CHILD_VM, CHILD_OTHER };

static void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*
 * What a killed process had locked is free when the kernel is through with its rings. Where it puts
 * such work off for seconds, to save power, a ring that goes has it done now, on each processor.
 */
static void hurry(void)
{
	struct queue *queue;
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (!sched_setaffinity(0, sizeof(one), &one) && !queue_create(2, &queue, NULL))
			queue_destroy(queue);
	}
	sched_setaffinity(0, sizeof(all), &all);
}

/* ---- processes ---- */

/* In a child it returns 0; who kills us kills it too. */
static pid_t spawn(void)
{
	pid_t parent = getpid();

	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0) {
		perror("kill: fork");
		exit(1);
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

static void start(struct torture *t, enum child which)
{
	uint64_t seed = rng_next(&t->rng);

	t->child[which] = spawn();
	if (t->child[which] == 0 && which == CHILD_VM)
		vm_run(t->log, t->vm, seed);
	if (t->child[which] == 0)
		other_run(t->log, t->vm, seed);
}

static void tell_end(struct torture *t, const char *who, int status)
{
	if (WIFSIGNALED(status))
		log_fail(t->log, "%s died of signal %d", who, WTERMSIG(status));
	else if (WEXITSTATUS(status))
		log_fail(t->log, "%s ended with exit code %d", who, WEXITSTATUS(status));
}

static const char *name_of(enum child which)
{
	return which == CHILD_VM ? "the VM" : "the other process";
}

static void kill_child(struct torture *t, enum child which)
{
	int status;

	if (!t->child[which])
		return;
	kill(t->child[which], SIGKILL);
	while (waitpid(t->child[which], &status, 0) < 0 && errno == EINTR)
		;
	t->child[which] = 0;
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		tell_end(t, name_of(which), status);
}

/* Of one that is to end by itself. */
static void wait_for(struct torture *t, pid_t pid, const char *who)
{
	uint64_t last = now_ms(), until = last + END_SECONDS * 1000;
	int status = 0;
	pid_t ended;

	while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && now_ms() < until) {
		sleep_ms(2);
		if (now_ms() - last < HURRY_MS)
			continue;
		hurry();
		last = now_ms();
	}
	if (ended == 0) {
		log_fail(t->log, "%s does not end", who);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	} else {
		tell_end(t, who, status);
	}
}

/* ---- one cycle ---- */

static bool all_run(struct torture *t)
{
	siginfo_t info = {0};

	/* one that ended is seen when it is killed */
	return !log_has_failed(t->log) &&
	       (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == 0);
}

static void let_run(struct torture *t, unsigned ms)
{
	uint64_t until = now_ms() + ms;

	while (now_ms() < until && all_run(t))
		sleep_ms(1);
}

/* Until somebody begins what we want to cut, and a little longer. */
static void let_begin(struct torture *t)
{
	static const enum op worth[] = {OP_TAKE, OP_TAKE, OP_REVERT,  OP_FOLD,
					OP_FOLD, OP_VIEW, OP_SUBTREE, OP_DELETE};
	enum op op = worth[rng_below(&t->rng, sizeof(worth) / sizeof(*worth))];
	unsigned own = op == OP_FOLD || op == OP_DELETE ? ACTORS : 1;
	const struct actor_log *actor = &t->log->actor[rng_below(&t->rng, own)];
	unsigned before = atomic_load(&actor->started[op]);
	uint64_t until = now_ms() + MOST_MS;

	while (atomic_load(&actor->started[op]) == before && now_ms() < until && all_run(t))
		nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
	nanosleep(&(struct timespec){.tv_nsec = (long)rng_below(&t->rng, 8000000)}, NULL);
}

static void note_cut(struct torture *t, enum actor_id first, enum actor_id last)
{
	for (unsigned a = first; a <= last; a++) {
		struct actor_log *actor = &t->log->actor[a];

		actor->cut[atomic_load(&actor->op)]++;
	}
}

/* One of them dies before the other, which goes on for a moment. */
static void kill_all(struct torture *t)
{
	bool other_first = rng_percent(&t->rng, 50);
	unsigned between = rng_percent(&t->rng, 50) ? (unsigned)rng_below(&t->rng, 40) : 0;

	kill_child(t, other_first ? CHILD_OTHER : CHILD_VM);
	if (between)
		let_run(t, between);
	kill_child(t, other_first ? CHILD_VM : CHILD_OTHER);
	note_cut(t, ACTOR_VM, ACTOR_OTHER);
	t->kills++;
}

/* The other process dies under a VM that goes on, and is followed by the next. */
static void replace_other(struct torture *t)
{
	kill_child(t, CHILD_OTHER);
	note_cut(t, ACTOR_OTHER, ACTOR_OTHER);
	t->kills++;
	start(t, CHILD_OTHER);
}

static void end_in_peace(struct torture *t)
{
	atomic_store(&t->log->stop, true);
	for (unsigned i = 0; i < 2; i++) {
		wait_for(t, t->child[i], name_of(i));
		t->child[i] = 0;
	}
	t->clean++;
}

static bool verify(struct torture *t, bool fold)
{
	pid_t pid;

	t->verify.mend = fold || rng_percent(&t->rng, 50);
	t->verify.fold = fold;
	t->folds += fold;
	pid = spawn();
	if (pid == 0)
		verify_run(t->log, t->vm, &t->verify);
	wait_for(t, pid, "who looks at it afterwards");
	return !log_has_failed(t->log);
}

static bool cycle(struct torture *t)
{
	log_begin_cycle(t->log);
	start(t, CHILD_VM);
	start(t, CHILD_OTHER);
	if (rng_percent(&t->rng, 30)) {
		let_run(t, (unsigned)rng_between(&t->rng, LEAST_MS, MOST_MS / 3));
		replace_other(t);
	}
	let_run(t, (unsigned)rng_between(&t->rng, LEAST_MS, MOST_MS));
	if (rng_percent(&t->rng, 60))
		let_begin(t);
	if (!log_has_failed(t->log) && rng_percent(&t->rng, CLEAN_PERCENT))
		end_in_peace(t);
	else
		kill_all(t);
	t->cycles++;
	return !log_has_failed(t->log) && verify(t, rng_percent(&t->rng, FOLD_PERCENT));
}

/* ---- setting up ---- */

static void path_of(const struct torture *t, const char *name, char out[PATH_ROOM])
{
	snprintf(out, PATH_ROOM, "%s/%s", t->home, name);
}

static enum err make_store(const struct torture *t, struct err_why *why)
{
	struct vhd_create_opts fixed = {.type = VHD_FIXED,
					.size_bytes = (uint64_t)FIXED_SECTORS * 512};
	struct vhd_create_opts dynamic = {.type = VHD_DYNAMIC,
					  .size_bytes = (uint64_t)DYNAMIC_SECTORS * 512,
					  .block_size = BLOCK};
	char path[DISKS][PATH_ROOM];
	const char *disks[DISKS] = {path[0], path[1]};
	struct snap_create_opts create = {.config = {.memory_bytes = 512u << 20, .cpus = 1},
					  .disks = disks,
					  .disk_count = DISKS,
					  .copy = !t->verify.disks_outside};

	path_of(t, "fixed.vhd", path[0]);
	path_of(t, "dynamic.vhd", path[1]);
	enum err e = vhd_create(path[0], &fixed, why);
	if (!e)
		e = vhd_create(path[1], &dynamic, why);
	return e ? e : snap_create(t->vm, &create, why);
}

static bool set_up(struct torture *t)
{
	const char *tmp = getenv("TMPDIR");

	if (t->o.dir)
		snprintf(t->home, sizeof(t->home), "%s", t->o.dir);
	else
		snprintf(t->home, sizeof(t->home), "%s/strata-kill.XXXXXX", tmp ? tmp : "/tmp");
	if (t->o.dir ? mkdir(t->home, 0700) && errno != EEXIST : !mkdtemp(t->home))
		return log_fail(t->log, "%s: %s", t->home, strerror(errno));
	path_of(t, "vm", t->vm);
	t->verify.disks_outside = rng_percent(&t->rng, 50) ? DISKS : 0;
	pid_t pid = spawn();
	if (pid == 0) {
		struct err_why why = {0};

		if (make_store(t, &why))
			log_fail(t->log, "%s", why.text);
		_exit(0);
	}
	wait_for(t, pid, "who makes the store");
	return !log_has_failed(t->log);
}

static void clean_up(struct torture *t)
{
	static const char *const names[] = {"fixed.vhd", "dynamic.vhd"};
	struct err_why why = {0};
	char path[PATH_ROOM];

	if (snap_remove(NULL, t->vm, &why))
		log_fail(t->log, "removing the store: %s", why.text);
	for (unsigned i = 0; i < 2; i++) {
		path_of(t, names[i], path);
		unlink(path);
	}
	if (!t->o.dir && rmdir(t->home))
		log_fail(t->log, "%s: %s", t->home, strerror(errno));
}

/* ---- telling ---- */

static const char *const op_names[] = {
    [OP_TAKE] = "take",  [OP_DELETE] = "delete", [OP_SUBTREE] = "delete of a subtree",
    [OP_FOLD] = "fold",  [OP_READ] = "read",     [OP_REVERT] = "revert",
    [OP_VIEW] = "close", [OP_STORE] = "reopen"};

static void tell(const struct torture *t)
{
	const struct log *log = t->log;

	printf("# kill: %u kills and %u quiet ends in %u cycles, %u writes, %u flushes, %u reads "
	       "by writers, %u whole nodes read beside them, %u waits for a lock, %u nodes found "
	       "after an unconfirmed take, %u folds to the end; seed %llu\n",
	       t->kills, t->clean, t->cycles, log->written, log->flushed, log->read_back,
	       log->checked_reads, log->waited, log->adopted, t->folds,
	       (unsigned long long)t->o.seed);
	printf("# kill: done (and cut by a kill):");
	for (unsigned op = OP_NONE + 1; op < OPS; op++) {
		unsigned done = 0, cut = 0;

		for (unsigned a = 0; a < ACTORS; a++) {
			done += log->actor[a].done[op];
			cut += log->actor[a].cut[op];
		}
		printf("%s %s %u (%u)", op == OP_NONE + 1 ? "" : ",", op_names[op], done, cut);
	}
	printf("\n");
}

static int report(const struct torture *t, const char *phase)
{
	bool failed = log_has_failed(t->log);

	if (!failed)
		printf("ok kill %s (seed %llu)\n", phase, (unsigned long long)t->o.seed);
	else
		printf("not ok kill %s: cycle %u: %s; again: --seconds %u --seed %llu; the store "
		       "is in %s\n",
		       phase, t->cycles, t->log->text, t->o.seconds, (unsigned long long)t->o.seed,
		       t->home);
	fflush(stdout);
	return failed;
}

static bool parse(int argc, char **argv, struct options *out)
{
	*out = (struct options){.seconds = 45, .seed = (uint64_t)time(NULL)};
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seconds"))
			out->seconds = (unsigned)strtoul(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--seed"))
			out->seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--dir"))
			out->dir = argv[i + 1];
		else
			return false;
	}
	return argc % 2 == 1;
}

static int torture(struct torture *t)
{
	uint64_t until = now_ms() + (uint64_t)t->o.seconds * 1000;

	if (!set_up(t))
		return report(t, "setup");
	do
		cycle(t);
	while (!log_has_failed(t->log) && now_ms() < until);
	if (report(t, "torture"))
		return 1;
	verify(t, true);
	if (report(t, "fold to the end"))
		return 1;
	clean_up(t);
	return report(t, "removal");
}

int main(int argc, char **argv)
{
	static struct torture t;

	if (!parse(argc, argv, &t.o)) {
		fprintf(stderr, "usage: kill [--seconds N] [--seed N] [--dir DIR]\n");
		return 64;
	}
	t.log = log_new();
	t.rng = rng_seed(t.o.seed);
	int failed = torture(&t);
	for (unsigned i = 0; i < 2; i++)
		kill_child(&t, i);
	tell(&t);
	return failed;
}
