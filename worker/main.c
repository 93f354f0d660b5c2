/* SPDX-License-Identifier: MIT */

/* One VM, one process: from the command line to the end of the VM. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/out.h"
#include "cli/version.h"
#include "worker/loop.h"
#include "worker/places.h"
#include "worker/requests.h"
#include "worker/vm.h"

#define MAX_ALLOWED 16
#define SPARE_RINGS 4

struct options {
	char *dir;                  /* absolute */
	int report_fd;              /* -1: none */
	char *allowed[MAX_ALLOWED]; /* absolute */
	unsigned allowed_count;
	bool check;
};

static const char help[] =
    "Usage: vmworker [OPTION]... FOLDER\n"
    "Run the virtual machine in FOLDER until it is switched off. 'vmctl start' does this.\n"
    "\n"
    "Options:\n"
    "      --allow DIR       disks may be added from this folder too; may be repeated\n"
    "      --report FD       say on this descriptor how the start went, and stay silent\n"
    "      --check-sandbox   try what a VM's process may not do, and say what happened\n"
    "  -h, --help            show this help\n"
    "      --version         show the version\n";

/* ---- the command line ---- */

static int set_report(const char *text, struct options *out)
{
	char *end;
	long fd = strtol(text, &end, 10);

	if (!*text || *end || fd < 0 || fd > INT_MAX)
		return out_usage(NULL, "--report: '%s' is no descriptor", out_name(text));
	out->report_fd = (int)fd;
	return 0;
}

static int set_allowed(const char *text, struct options *out)
{
	struct err_why why = {0};

	if (out->allowed_count == MAX_ALLOWED)
		return out_usage(NULL, "--allow was given more than %d times", MAX_ALLOWED);
	out->allowed[out->allowed_count] = realpath(text, NULL);
	if (!out->allowed[out->allowed_count]) {
		err_sys(&why, errno, "--allow: cannot be found");
		return out_fail(text, &why);
	}
	out->allowed_count++;
	return 0;
}

static int set_folder(int argc, char **argv, struct options *out)
{
	struct err_why why = {0};

	if (optind != argc - 1)
		return out_usage(NULL, "one folder of a VM is wanted");
	out->dir = realpath(argv[optind], NULL);
	if (out->dir)
		return 0;
	err_sys(&why, errno, "cannot be found");
	return out_fail(argv[optind], &why);
}

/* No folder in *out: there is nothing to be done; returns the exit code. */
static int parse(int argc, char **argv, struct options *out)
{
	static const struct option table[] = {
	    {"allow", required_argument, NULL, 'a'},   {"report", required_argument, NULL, 'r'},
	    {"check-sandbox", no_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'v'},       {0},
	};
	int c, rc = 0;

	*out = (struct options){.report_fd = -1};
	opterr = 0;
	while (!rc && (c = getopt_long(argc, argv, "h", table, NULL)) >= 0) {
		if (c == 'h' || c == 'v') {
			fputs(c == 'h' ? help : "vmworker " STRATA_VERSION "\n", stdout);
			return out_close(0);
		}
		if (c == 'a')
			rc = set_allowed(optarg, out);
		else if (c == 'r')
			rc = set_report(optarg, out);
		else if (c == 'c')
			out->check = true;
		else
			rc = out_usage(NULL, "%s: no such option, or its value is missing",
				       out_name(argv[optind - 1]));
	}
	if (!rc)
		rc = set_folder(argc, argv, out);
	return rc;
}

/* ---- start ---- */

static enum err prepare(struct vm *vm, struct places *places, struct err_why *why)
{
	const char *became = "";
	enum err err = places_find(places, why);

	if (!err)
		err = sandbox_drop(places, &became, why);
	if (!err)
		err = log_open(&vm->log, vm->dir_fd, why);
	if (!err)
		log_line(&vm->log, "vmworker " STRATA_VERSION ", process %d, %s", (int)getpid(),
			 became);
	return err;
}

static enum err confine(struct vm *vm, const struct places *places, struct err_why *why)
{
	bool confined;
	enum err err = sandbox_confine(places, &confined, why);

	if (!err && !confined)
		log_line(&vm->log, "this kernel has no Landlock: the process may use all files "
				   "its user may");
	return err;
}

/*
 * Rings that nothing restricts are a way round the filter, so none can be made behind it: there is
 * one for each storage channel the guest may open, and for what is done to disks meanwhile.
 */
static enum err make_rings(const struct vm *vm, struct err_why *why)
{
	unsigned channels = vm->config.cpus < STORVSP_MAX_SUB_CHANNELS
				? vm->config.cpus
				: STORVSP_MAX_SUB_CHANNELS + 1;

	return queue_reserve(channels + SPARE_RINGS, STORVSP_MAX_PENDING, why);
}

static enum err filter(struct vm *vm, struct err_why *why)
{
	bool filtered;
	enum err err = make_rings(vm, why);

	if (!err)
		err = sandbox_filter(&filtered, why);

	if (!err && !filtered)
		log_line(&vm->log, "this build does not filter system calls");
	return err;
}

static enum err start(struct vm *vm, const struct options *options, struct err_why *why)
{
	struct places places = {.dir = options->dir,
				.dir_fd = vm->dir_fd,
				.allowed = options->allowed,
				.allowed_count = options->allowed_count};
	enum err err = prepare(vm, &places, why);

	if (!err && options->report_fd >= 0)
		log_take_stderr(&vm->log);
	if (!err)
		err = vm_open(vm, why);
	if (!err)
		err = control_open(&vm->control, vm->dir_fd, why);
	if (!err)
		err = confine(vm, &places, why);
	if (!err)
		err = vm_build(vm, why);
	if (!err)
		err = filter(vm, why);
	if (!err)
		err = vm_run(vm, why);
	places_free(&places);
	return err;
}

/* ---- what whoever started us hears ---- */

/* False: nobody listens any more. */
static bool report(int fd, json_t *what)
{
	char *text = json_dumps(what, JSON_COMPACT);
	bool ok = text && dprintf(fd, "%s\n", text) > 0;

	free(text);
	json_decref(what);
	return ok;
}

static void report_start(struct vm *vm, const struct options *options, uint64_t began_ns)
{
	double ms = (double)(vm->started_ns - began_ns) / 1e6;

	log_line(&vm->log, "the guest runs; the start took %.1f ms", ms);
	if (options->report_fd < 0)
		return;
	if (!report(options->report_fd,
		    json_pack("{s:b, s:i, s:f}", "ok", 1, "pid", (int)getpid(), "start_ms", ms))) {
		log_line(&vm->log, "whoever started the VM has gone: it is stopped");
		vm->ends = true;
	}
	close(options->report_fd);
}

static int report_failure(struct vm *vm, const struct options *options, const struct err_why *why)
{
	if (vm->log.file.fd >= 0)
		log_line(&vm->log, "not started: %s", why->text);
	if (options->report_fd < 0)
		return out_fail(options->dir, why);
	report(options->report_fd, reply_error(why));
	return err_exit_code(why->code);
}

/* ---- the whole ---- */

static int finish(struct vm *vm)
{
	struct err_why why = {0};
	json_t *reply;
	enum err err;

	partition_pause(vm->partition); /* so that no more is printed than is read */
	loop_drain_console(vm);
	control_hide(&vm->control);
	err = vm_close(vm, &why);
	if (err)
		log_line(&vm->log, "closing the disks: %s", why.text);
	else
		log_line(&vm->log, "off");
	reply = err ? reply_error(&why) : reply_ok();
	control_close(&vm->control, reply);
	json_decref(reply);
	return err ? err_exit_code(err) : 0;
}

/* Signals are read in the loop; each thread that comes later inherits that. */
static int take_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* A chain may have more files than the usual limit. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int run(const struct options *options, uint64_t began_ns)
{
	static struct vm vm;
	struct err_why why = {0};
	int signal_fd = take_signals(), rc;
	enum err err;

	err = vm_init(&vm, options->dir, &why);
	if (!err && signal_fd < 0)
		err = err_sys(&why, errno, "signalfd");
	if (!err)
		err = start(&vm, options, &why);
	if (err) {
		rc = report_failure(&vm, options, &why);
		control_hide(&vm.control);
		vm_close(&vm, NULL);
	} else {
		report_start(&vm, options, began_ns);
		loop_run(&vm, signal_fd);
		rc = finish(&vm);
	}
	vm_free(&vm);
	return rc;
}

static int check(const struct options *options)
{
	struct places places = {.dir = options->dir,
				.allowed = options->allowed,
				.allowed_count = options->allowed_count};
	struct err_why why = {0};

	places.dir_fd = open(options->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (places.dir_fd < 0) {
		err_sys(&why, errno, "cannot be opened");
		return out_fail(options->dir, &why);
	}
	return out_close(sandbox_check(&places));
}

int main(int argc, char **argv)
{
	uint64_t began_ns = monotonic_ns();
	struct options options;
	int rc;

	out_begin("vmworker");
	rc = parse(argc, argv, &options);
	if (!options.dir)
		return rc;
	raise_limit();
	/* what it was started in may be unmounted */
	if (chdir("/") < 0)
		out_note(NULL, "the folder / cannot be entered");
	rc = options.check ? check(&options) : run(&options, began_ns);
	for (unsigned i = 0; i < options.allowed_count; i++)
		free(options.allowed[i]);
	free(options.dir);
	return rc;
}
