/* SPDX-License-Identifier: MIT */
#include "fuse/call.h"

#include <errno.h>
#include <stdlib.h>

#include "fuse/mount.h"
#include "util/bytes.h"

static void run(struct errand *errand)
{
	const struct call *call = container_of(errand, struct call, errand);

	call->answer(call);
}

static void done(struct errand *errand)
{
	free(container_of(errand, struct call, errand));
}

void call_serve(const struct call *call)
{
	struct vhd_mount *mount = fuse_req_userdata(call->fuse);
	struct call *copy;

	if (!mount->vm) {
		call->answer(call);
		return;
	}
	copy = malloc(sizeof(*copy));
	if (!copy) {
		fuse_reply_err(call->fuse, ENOMEM);
		return;
	}
	*copy = *call;
	copy->errand.run = run;
	copy->errand.done = done;
	errand_send(&copy->errand);
}
