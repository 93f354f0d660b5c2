/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_EXITS_H
#define STRATA_HV_EXITS_H

/* What a virtual processor leaves the guest for. On the processor's own thread. */

struct vp;

/* vp->run says what it is; its answer is put there. */
void exit_handle(struct vp *vp);
/* KVM_RUN itself has failed. */
void exit_failed(struct vp *vp, int sys_errno);

#endif
