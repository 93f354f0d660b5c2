/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_SYNIC_H
#define STRATA_HV_SYNIC_H

/*
 * The synthetic interrupt controllers of a partition, as the host uses them: messages into slot
 * SYNIC_SINT of a virtual processor's message page, and event flags in its event page (TLFS,
 * "Inter-Partition Communication"). One queue of waiting messages for each virtual processor, in
 * order; a busy slot is retried when the guest says that it is free, or from a timer.
 *
 * It knows no KVM: an interrupt is a write to an eventfd (KVM's irqfd), and the end of a message
 * arrives on another one (its resamplefd).
 *
 * Threads: any. Each virtual processor has a lock; no function blocks but for it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

#define SYNIC_SINT           2u   /* VMBus messages and events */
#define SYNIC_MESSAGE_MAX    240u /* bytes of payload */
#define SYNIC_EVENT_FLAGS    2048u
#define SYNIC_QUEUE_MESSAGES 4096u /* that may wait for one virtual processor */

struct memory;
struct synic;

enum err synic_create(struct memory *memory, unsigned vp_count, struct synic **out,
		      struct err_why *why);
/* NULL is allowed. */
void synic_destroy(struct synic *synic);

/* Write 1 here to raise SYNIC_SINT at that processor / becomes readable at the end of a message. */
int synic_interrupt_fd(const struct synic *synic, unsigned vp);
int synic_message_end_fd(const struct synic *synic, unsigned vp);

/*
 * The guest has written SCONTROL, SIMP or SIEFP: the values of the last two, whose bit 0 says
 * whether the page is enabled. A page outside RAM counts as disabled.
 */
void synic_set_pages(struct synic *synic, unsigned vp, uint64_t message_page, uint64_t event_page);

/*
 * Send a VMBus message (type 1) of `len` bytes, at most SYNIC_MESSAGE_MAX. False when the queue is
 * full or there is no such processor.
 */
bool synic_post(struct synic *synic, unsigned vp, const void *payload, size_t len);

/*
 * Set event flag `flag` and interrupt, if it was not set already. Nothing happens when the
 * processor's event page is not enabled.
 */
void synic_signal(struct synic *synic, unsigned vp, unsigned flag);

/* Readable when synic_run has something to do: a message ended, or one has waited for long. */
int synic_fd(const struct synic *synic);
/* Look at all processors with waiting messages again. One thread. */
void synic_run(struct synic *synic);

/* Forget waiting messages (a new connection, a reset); with `pages` also where the pages are. */
void synic_reset(struct synic *synic, bool pages);

#endif
