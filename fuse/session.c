/* SPDX-License-Identifier: MIT */
#include "fuse/session.h"

#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fuse/channel.h"
#include "fuse/ops.h"
#include "fuse/worker.h"

/* One for each CPU, because a thread waits for no request; but one slow answer must not hold up
 * all. */
#define MIN_THREADS 2
#define MAX_THREADS 8
/* Opening disks of a VM waits for storage, not for a CPU. */
#define VM_HELPERS 4

struct session {
	struct fuse_session *fuse;
	struct workers *workers;
	int ended_fd;
};

/* ---- mounting ---- */

static enum err build_args(const struct options *options, struct fuse_args *args,
			   struct err_why *why)
{
	char *list = NULL;
	int rc = fuse_opt_add_opt(&list, "subtype=vhd,default_permissions");

	if (!rc && options->readonly)
		rc = fuse_opt_add_opt(&list, "ro");
	if (!rc && options->mount_options)
		rc = fuse_opt_add_opt(&list, options->mount_options);
	if (!rc) {
		char *source = NULL;

		rc = asprintf(&source, "fsname=%s", options->file) < 0;
		if (!rc)
			rc = fuse_opt_add_opt_escaped(&list, source);
		free(source);
	}
	if (!rc)
		rc = fuse_opt_add_arg(args, "vhdmount") || fuse_opt_add_arg(args, "-o") ||
		     fuse_opt_add_arg(args, list);
	if (!rc && options->debug)
		rc = fuse_opt_add_arg(args, "-d");
	free(list);
	return rc ? err_set(why, ERR_NOMEM, "no memory for the mount options") : ERR_OK;
}

static enum err create(const struct options *options, struct vhd_mount *mount,
		       struct fuse_session **out, struct err_why *why)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	enum err err = build_args(options, &args, why);

	if (!err) {
		*out = fuse_session_new(&args, &vhd_mount_ops, sizeof(vhd_mount_ops), mount);
		if (!*out)
			err = err_set(why, ERR_USAGE, "libfuse refuses the mount options");
	}
	fuse_opt_free_args(&args);
	return err;
}

/* The first request negotiates the protocol; until it is answered the kernel sends no other. */
static enum err negotiate(struct fuse_session *fuse, struct err_why *why)
{
	struct fuse_buf buf = {.mem = malloc(CHANNEL_MSG_ROOM)};
	ssize_t n;

	if (!buf.mem)
		return err_set(why, ERR_NOMEM, "no memory for a request");
	channel_use(fuse_session_fd(fuse));
	n = channel_read(fuse_session_fd(fuse), buf.mem);
	if (n > 0) {
		buf.size = (size_t)n;
		fuse_session_process_buf(fuse, &buf);
	}
	free(buf.mem);
	if (n <= 0 || fuse_session_exited(fuse))
		return err_set(why, ERR_UNSUPPORTED, "the kernel's FUSE protocol does not fit");
	return ERR_OK;
}

static unsigned thread_count(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (cpus < MIN_THREADS)
		return MIN_THREADS;
	return cpus > MAX_THREADS ? MAX_THREADS : (unsigned)cpus;
}

static enum err mount_and_serve(struct session *s, const struct options *options,
				struct err_why *why)
{
	unsigned helpers = options->vm ? VM_HELPERS : 0;
	enum err err;

	if (fuse_session_mount(s->fuse, options->dir))
		return err_set(why, ERR_PERM, "cannot mount on %s", options->dir);
	err = channel_attach(s->fuse, why);
	if (!err)
		err = negotiate(s->fuse, why);
	if (!err)
		err =
		    workers_start(s->fuse, thread_count(), helpers, s->ended_fd, &s->workers, why);
	return err;
}

enum err session_start(const struct options *options, struct vhd_mount *mount, struct session **out,
		       struct err_why *why)
{
	struct session *s = calloc(1, sizeof(*s));
	enum err err;

	if (!s)
		return err_set(why, ERR_NOMEM, "no memory for a session");
	s->ended_fd = eventfd(0, EFD_CLOEXEC);
	err = s->ended_fd < 0 ? err_sys(why, errno, "cannot create an event descriptor")
			      : create(options, mount, &s->fuse, why);
	if (!err)
		err = mount_and_serve(s, options, why);
	if (err) {
		session_stop(s);
		return err;
	}
	*out = s;
	return ERR_OK;
}

int session_ended_fd(const struct session *session)
{
	return session->ended_fd;
}

void session_detach(struct session *session)
{
	/* The threads have connections of their own, so that this does not cut off anybody. */
	fuse_session_unmount(session->fuse);
}

void session_stop(struct session *session)
{
	workers_stop(session->workers);
	if (session->fuse) {
		fuse_session_unmount(session->fuse);
		fuse_session_destroy(session->fuse);
	}
	if (session->ended_fd >= 0)
		close(session->ended_fd);
	free(session);
}
