/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/file.h"
#include "block/queue.h"

static char path[64];

static void setup(void)
{
	snprintf(path, sizeof(path), "/tmp/strata-lock-XXXXXX");
	close(mkstemp(path));
	cr_assert_eq(truncate(path, 65536), 0);
}

static void teardown(void)
{
	unlink(path);
}

TestSuite(block_lock, .init = setup, .fini = teardown, .timeout = 60);

static struct file *open_file(void)
{
	struct err_why why;
	struct file *f;

	cr_assert_eq(file_ns_open(&file_ns_posix, path, FILE_OPEN_RDWR, &f, &why), ERR_OK, "%s",
		     why.text);
	return f;
}

static enum err try_lock(enum file_lock mode)
{
	struct file *f = open_file();
	enum err err = file_lock(f, mode, NULL);

	file_close(f, NULL);
	return err;
}

Test(block_lock, readers_share)
{
	struct file *f = open_file();

	cr_assert_eq(file_lock(f, FILE_LOCK_READ, NULL), ERR_OK);
	cr_assert_eq(try_lock(FILE_LOCK_READ), ERR_OK);
	cr_assert_eq(try_lock(FILE_LOCK_WRITE), ERR_LOCKED);
	file_close(f, NULL);
}

Test(block_lock, a_writer_is_alone)
{
	struct file *f = open_file(), *other = open_file();
	struct err_why why;

	cr_assert_eq(file_lock(f, FILE_LOCK_WRITE, NULL), ERR_OK);
	cr_assert_eq(file_lock(other, FILE_LOCK_READ, &why), ERR_LOCKED);
	cr_assert(strstr(why.text, "open for writing"), "%s", why.text);
	cr_assert_eq(file_lock(other, FILE_LOCK_WRITE, &why), ERR_LOCKED);
	cr_assert(strstr(why.text, path), "%s", why.text);
	cr_assert_eq(file_lock(f, FILE_UNLOCKED, NULL), ERR_OK);
	cr_assert_eq(file_lock(other, FILE_LOCK_WRITE, &why), ERR_OK);
	file_close(other, NULL);
	file_close(f, NULL);
}

Test(block_lock, a_refused_upgrade_leaves_a_reader)
{
	struct file *a = open_file(), *b = open_file();

	cr_assert_eq(file_lock(a, FILE_LOCK_READ, NULL), ERR_OK);
	cr_assert_eq(file_lock(b, FILE_LOCK_READ, NULL), ERR_OK);
	cr_assert_eq(file_lock(a, FILE_LOCK_WRITE, NULL), ERR_LOCKED);
	cr_assert_eq(try_lock(FILE_LOCK_READ), ERR_OK);
	file_close(b, NULL);
	cr_assert_eq(try_lock(FILE_LOCK_WRITE), ERR_LOCKED, "still locked for reading");
	cr_assert_eq(file_lock(a, FILE_LOCK_WRITE, NULL), ERR_OK);
	cr_assert_eq(try_lock(FILE_LOCK_READ), ERR_LOCKED);
	cr_assert_eq(file_lock(a, FILE_LOCK_READ, NULL), ERR_OK);
	cr_assert_eq(try_lock(FILE_LOCK_READ), ERR_OK);
	file_close(a, NULL);
}

static void mark(struct file_req *req)
{
	*(bool *)req->owner = true;
}

Test(block_lock, closing_unlocks_although_a_ring_knows_the_file)
{
	struct file *f = open_file();
	struct queue *q;
	char c;
	struct iovec iov = {&c, 1};
	bool done = false;
	struct file_req req = {
	    .len_bytes = 1, .iov = &iov, .iov_count = 1, .done = mark, .owner = &done};

	cr_assert_eq(queue_create(4, &q, NULL), ERR_OK);
	cr_assert_eq(file_lock(f, FILE_LOCK_WRITE, NULL), ERR_OK);
	file_submit(f, q, &req);
	while (!done)
		queue_wait(q);
	cr_assert_eq(file_close(f, NULL), ERR_OK);
	cr_assert_eq(try_lock(FILE_LOCK_WRITE), ERR_OK);
	queue_destroy(q);
}

/* ---- with QEMU ---- */

static void need_qemu(void)
{
	if (system("command -v qemu-io >/dev/null && command -v qemu-img >/dev/null"))
		cr_skip_test("qemu-io and qemu-img are not installed");
}

/* Whether the shell command, which finds the image's path in $IMAGE, succeeds. */
static bool succeeds(const char *command)
{
	char text[256];

	setenv("IMAGE", path, 1);
	snprintf(text, sizeof(text), "{ %s; } >/dev/null 2>&1", command);
	return system(text) == 0;
}

/* Unlike other readers in QEMU, convert denies writing to others. */
#define QEMU_WRITE "qemu-io -f raw -c 'write 0 512' $IMAGE"
#define QEMU_READ  "qemu-img convert -f raw -O raw $IMAGE $IMAGE.out && rm $IMAGE.out"
#define QEMU_INFO  "qemu-img info -f raw $IMAGE"

Test(block_lock, qemu_does_not_write_what_we_read)
{
	struct file *f = open_file();

	need_qemu();
	cr_assert(succeeds(QEMU_WRITE), "not locked yet");
	cr_assert_eq(file_lock(f, FILE_LOCK_READ, NULL), ERR_OK);
	cr_assert_not(succeeds(QEMU_WRITE));
	cr_assert(succeeds(QEMU_INFO));
	cr_assert(succeeds(QEMU_READ), "readers share");
	file_close(f, NULL);
	cr_assert(succeeds(QEMU_WRITE));
}

Test(block_lock, qemu_does_not_use_what_we_write)
{
	struct file *f = open_file();

	need_qemu();
	cr_assert_eq(file_lock(f, FILE_LOCK_WRITE, NULL), ERR_OK);
	cr_assert_not(succeeds(QEMU_WRITE));
	cr_assert_not(succeeds(QEMU_READ));
	cr_assert(succeeds(QEMU_INFO), "looking at it stays possible");
	file_close(f, NULL);
}

/* QEMU with the image open, until its standard input ends. */
static pid_t start_qemu_writer(int *input)
{
	int to[2], from[2];
	char c;
	pid_t pid;

	cr_assert_eq(pipe(to) | pipe(from), 0);
	pid = fork();
	if (!pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		close(to[1]);
		close(from[0]);
		execlp("qemu-io", "qemu-io", "-f", "raw", path, (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	cr_assert_eq(write(to[1], "write 0 512\n", 12), 12);
	cr_assert_eq(read(from[0], &c, 1), 1, "QEMU has answered: it has the image open");
	close(from[0]);
	*input = to[1];
	return pid;
}

Test(block_lock, we_do_not_use_what_qemu_writes)
{
	int input;
	pid_t pid;

	need_qemu();
	pid = start_qemu_writer(&input);
	cr_assert_eq(try_lock(FILE_LOCK_WRITE), ERR_LOCKED);
	cr_assert_eq(try_lock(FILE_LOCK_READ), ERR_LOCKED);
	close(input);
	waitpid(pid, NULL, 0);
	cr_assert_eq(try_lock(FILE_LOCK_WRITE), ERR_OK);
}
