/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/out.h"
#include "util/text.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"
#include "worker/protocol.h"

/* More than the worker lets one of them become. */
#define MAX_BYTES (4u << 20)

struct log_args {
	struct common common;
	const char *home;
	unsigned lines;
	bool worker, raw;
};

static const struct opt log_opts[] = {
    {"worker", 'w', OPT_FLAG, NULL, offsetof(struct log_args, worker),
     "what happened to the VM, instead of what its guest printed"},
    {"lines", 'l', OPT_NUMBER, "N", offsetof(struct log_args, lines), "the last N lines only"},
    {"raw", 0, OPT_FLAG, NULL, offsetof(struct log_args, raw), "as it was printed, unescaped"},
    VM_HOME(struct log_args),
    {0},
};

struct text {
	char *bytes;
	size_t count;
};

/* What is not there is empty. */
static enum err append_file(int dir_fd, const char *name, struct text *out, struct err_why *why)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	size_t most = out->count + MAX_BYTES;
	char *grown;
	ssize_t n = 0;

	if (fd < 0)
		return errno == ENOENT ? ERR_OK : err_sys(why, errno, "%s", name);
	grown = realloc(out->bytes, most);
	if (!grown) {
		close(fd);
		return err_set(why, ERR_NOMEM, "no memory for %s", name);
	}
	out->bytes = grown;
	while (out->count < most && (n = read(fd, out->bytes + out->count, most - out->count)) > 0)
		out->count += (size_t)n;
	if (n < 0)
		err_sys(why, errno, "%s", name);
	close(fd);
	return n < 0 ? ERR_IO : ERR_OK;
}

static enum err read_log(const struct vm *vm, bool worker, struct text *out, struct err_why *why)
{
	int dir_fd = open(vm->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err err;

	if (dir_fd < 0)
		return err_sys(why, errno, "the VM's folder");
	err = append_file(dir_fd, worker ? WORKER_LOG_OLD : WORKER_CONSOLE_OLD, out, why);
	/* The console's old file may be of the run before: then it began anew with this one. */
	if (!err)
		err = append_file(dir_fd, worker ? WORKER_LOG : WORKER_CONSOLE, out, why);
	close(dir_fd);
	return err;
}

/* The last `lines`; 0: all. */
static void keep_last(struct text *text, unsigned lines)
{
	size_t at = text->count;

	if (!lines || !text->count)
		return;
	if (text->bytes[at - 1] == '\n')
		at--;
	while (at && (text->bytes[at - 1] != '\n' || --lines))
		at--;
	memmove(text->bytes, text->bytes + at, text->count - at);
	text->count -= at;
}

/* One line, without its end, as a text that can be printed; free() it. */
static char *shown_line(const char *line, size_t len)
{
	char *copy, *shown;

	while (len && (line[len - 1] == '\r' || line[len - 1] == '\0'))
		len--;
	copy = malloc(len + 1);
	shown = malloc(4 * len + 1);
	if (copy && shown) {
		memcpy(copy, line, len);
		for (size_t i = 0; i < len; i++)
			if (!copy[i])
				copy[i] = ' ';
		copy[len] = 0;
		text_escape(copy, shown, 4 * len + 1);
	}
	free(copy);
	return shown;
}

static void print_line(const char *line, size_t len, json_t *list)
{
	char *shown = shown_line(line, len);

	if (list)
		json_array_append_new(list, json_text(shown));
	else
		printf("%s\n", shown ? shown : "");
	free(shown);
}

static void print(const struct text *text, json_t *list)
{
	const char *at = text->bytes, *end = text->bytes + text->count;

	while (at < end) {
		const char *next = memchr(at, '\n', (size_t)(end - at));

		print_line(at, (size_t)((next ? next : end) - at), list);
		at = next ? next + 1 : end;
	}
}

static void show(const struct log_args *args, const struct vm *vm, struct text *text)
{
	json_t *list = args->common.json ? json_array() : NULL;

	keep_last(text, args->lines);
	if (args->raw && !list)
		fwrite(text->bytes, 1, text->count, stdout);
	else
		print(text, list);
	if (list)
		json_emit(json_pack("{s:o, s:o}", "name", json_text(vm->name), "lines", list));
}

static int run(void *arg)
{
	struct log_args *args = arg;
	struct err_why why = {0};
	struct text text = {0};
	struct vm vm;
	int rc = vm_open(args->home, args->common.arg[0], SNAP_READONLY, &vm);

	if (rc)
		return rc;
	if (read_log(&vm, args->worker, &text, &why))
		rc = out_fail(vm.name, &why);
	else
		show(args, &vm, &text);
	free(text.bytes);
	vm_close(&vm);
	return rc;
}

const struct verb verb_log = {
    .name = "log",
    .summary = "show what a VM's guest has printed",
    .usage = "NAME",
    .details =
	"What the guest has printed on its console, since its start or the newest megabyte of\n"
	"it, and before that what is left of the time before; or, with --worker, when the VM was\n"
	"started, stopped and reset, and what went wrong. Control characters are escaped.",
    .opts = log_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct log_args),
    .run = run,
};
