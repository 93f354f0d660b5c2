/* SPDX-License-Identifier: MIT */
#include "hv/synic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "hv/memory.h"
#include "util/bytes.h"

/* The message page and the event page have a block of 256 bytes for each SINT. */
#define SINT_BLOCK 256u

/* A message slot. Only `type` and `flags` are shared words; the guest's other fields are never
 * read. */
#define SLOT_TYPE    0u
#define SLOT_SIZE    4u
#define SLOT_FLAGS   5u
#define SLOT_ORIGIN  8u
#define SLOT_PAYLOAD 16u

#define MESSAGE_FREE    0u
#define MESSAGE_VMBUS   1u
#define MESSAGE_PENDING 1u /* flag: the guest has to say when it is done */

#define PAGE_ENABLED 1ull
#define RETRY_NS     1000000 /* where the end of a message is not told */

struct waiting {
	struct waiting *next;
	uint8_t len;
	uint8_t payload[SYNIC_MESSAGE_MAX];
};

struct vp {
	pthread_mutex_t lock; /* guards all that follows but the descriptors */
	uint8_t *slot;        /* NULL: the page is not enabled */
	uint32_t *flags;      /* the same */
	struct waiting *head, **tail;
	unsigned count;
	bool watched; /* the end of messages is reported by the epoll descriptor */
	int interrupt_fd;
	int end_fd;
};

struct synic {
	struct memory *memory;
	int epoll_fd;
	int timer_fd;
	unsigned vp_count;
	struct vp vp[];
};

/* ---- making ---- */

static void vp_close(struct vp *vp)
{
	if (vp->interrupt_fd >= 0)
		close(vp->interrupt_fd);
	if (vp->end_fd >= 0)
		close(vp->end_fd);
	pthread_mutex_destroy(&vp->lock);
}

static void drop_waiting(struct vp *vp)
{
	while (vp->head) {
		struct waiting *next = vp->head->next;

		free(vp->head);
		vp->head = next;
	}
	vp->tail = &vp->head;
	vp->count = 0;
}

static bool watch_fd(struct synic *synic, int op, int fd, bool on)
{
	struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.fd = fd};

	return epoll_ctl(synic->epoll_fd, op, fd, &event) == 0;
}

static bool vp_open(struct synic *synic, struct vp *vp)
{
	pthread_mutex_init(&vp->lock, NULL);
	vp->tail = &vp->head;
	vp->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vp->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return vp->interrupt_fd >= 0 && vp->end_fd >= 0 &&
	       watch_fd(synic, EPOLL_CTL_ADD, vp->end_fd, false);
}

enum err synic_create(struct memory *memory, unsigned vp_count, struct synic **out,
		      struct err_why *why)
{
	struct synic *synic = calloc(1, sizeof(*synic) + vp_count * sizeof(synic->vp[0]));
	bool good;
	int e;

	if (!synic)
		return err_set(why, ERR_NOMEM, "no memory for %u interrupt controllers", vp_count);
	synic->memory = memory;
	synic->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	synic->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	good = synic->epoll_fd >= 0 && synic->timer_fd >= 0 &&
	       watch_fd(synic, EPOLL_CTL_ADD, synic->timer_fd, true);
	while (good && synic->vp_count < vp_count)
		good = vp_open(synic, &synic->vp[synic->vp_count++]);
	if (good) {
		*out = synic;
		return ERR_OK;
	}
	e = errno;
	synic_destroy(synic);
	return err_sys(why, e, "descriptors of %u interrupt controllers", vp_count);
}

void synic_destroy(struct synic *synic)
{
	if (!synic)
		return;
	for (unsigned i = 0; i < synic->vp_count; i++) {
		drop_waiting(&synic->vp[i]);
		vp_close(&synic->vp[i]);
	}
	if (synic->timer_fd >= 0)
		close(synic->timer_fd);
	if (synic->epoll_fd >= 0)
		close(synic->epoll_fd);
	free(synic);
}

int synic_interrupt_fd(const struct synic *synic, unsigned vp)
{
	return vp < synic->vp_count ? synic->vp[vp].interrupt_fd : -1;
}

int synic_message_end_fd(const struct synic *synic, unsigned vp)
{
	return vp < synic->vp_count ? synic->vp[vp].end_fd : -1;
}

/* ---- messages ---- */

static void interrupt(const struct vp *vp)
{
	uint64_t one = 1;

	/* Fails only when the counter is full: then an interrupt is on its way. */
	while (write(vp->interrupt_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static bool slot_is_free(uint8_t *slot)
{
	uint32_t *type = (uint32_t *)(slot + SLOT_TYPE);

	if (__atomic_load_n(type, __ATOMIC_ACQUIRE) == MESSAGE_FREE)
		return true;
	/*
	 * The guest frees the slot, then looks at the flag. So the flag goes first, and the second
	 * look is in one order with it: either we see the free slot, or the guest sees the flag.
	 */
	__atomic_fetch_or(slot + SLOT_FLAGS, MESSAGE_PENDING, __ATOMIC_SEQ_CST);
	return __atomic_load_n(type, __ATOMIC_SEQ_CST) == MESSAGE_FREE;
}

/* The slot is ours: nobody looks at it before the type is there. */
static void fill_slot(uint8_t *slot, const struct waiting *message, bool more)
{
	slot[SLOT_SIZE] = message->len;
	/* Sets it as well as clears it: a flag may be left over from the message before. */
	__atomic_store_n(slot + SLOT_FLAGS, more ? MESSAGE_PENDING : 0, __ATOMIC_RELAXED);
	put_le16(slot + SLOT_FLAGS + 1, 0);
	put_le64(slot + SLOT_ORIGIN, 0);
	memcpy(slot + SLOT_PAYLOAD, message->payload, message->len);
	__atomic_store_n((uint32_t *)(slot + SLOT_TYPE), MESSAGE_VMBUS, __ATOMIC_RELEASE);
}

static void start_timer(struct synic *synic)
{
	const struct itimerspec once = {.it_value.tv_nsec = RETRY_NS};

	timerfd_settime(synic->timer_fd, 0, &once, NULL);
}

/* Ends of messages wake nobody while nothing waits: they come with each interrupt. */
static void watch_ends(struct synic *synic, struct vp *vp, bool on)
{
	if (vp->watched == on)
		return;
	vp->watched = on;
	watch_fd(synic, EPOLL_CTL_MOD, vp->end_fd, on);
}

/* Hand over what can be handed over; with the lock held. True when a busy slot is waited for. */
static bool deliver(struct synic *synic, struct vp *vp)
{
	while (vp->head && vp->slot && slot_is_free(vp->slot)) {
		struct waiting *message = vp->head;

		fill_slot(vp->slot, message, message->next != NULL);
		interrupt(vp);
		vp->head = message->next;
		if (!vp->head)
			vp->tail = &vp->head;
		vp->count--;
		free(message);
	}
	watch_ends(synic, vp, vp->head && vp->slot);
	return vp->watched;
}

bool synic_post(struct synic *synic, unsigned vp_index, const void *payload, size_t len)
{
	struct waiting *message;
	struct vp *vp;
	bool posted;

	if (vp_index >= synic->vp_count || len > SYNIC_MESSAGE_MAX)
		return false;
	message = malloc(sizeof(*message));
	if (!message)
		return false;
	message->next = NULL;
	message->len = (uint8_t)len;
	memcpy(message->payload, payload, len);

	vp = &synic->vp[vp_index];
	pthread_mutex_lock(&vp->lock);
	posted = vp->count < SYNIC_QUEUE_MESSAGES;
	if (posted) {
		bool waited = vp->watched;

		*vp->tail = message;
		vp->tail = &message->next;
		vp->count++;
		/* The timer is left alone where it runs: many posts must not put it off. */
		if (deliver(synic, vp) && !waited)
			start_timer(synic);
	}
	pthread_mutex_unlock(&vp->lock);
	if (!posted)
		free(message);
	return posted;
}

static void empty_fd(int fd)
{
	uint64_t count;

	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

int synic_fd(const struct synic *synic)
{
	return synic->epoll_fd;
}

void synic_run(struct synic *synic)
{
	bool waits = false;

	empty_fd(synic->timer_fd);
	for (unsigned i = 0; i < synic->vp_count; i++) {
		struct vp *vp = &synic->vp[i];

		pthread_mutex_lock(&vp->lock);
		if (vp->watched) {
			/* Emptied first: an end that comes while we look is seen next time. */
			empty_fd(vp->end_fd);
			waits |= deliver(synic, vp);
		}
		pthread_mutex_unlock(&vp->lock);
	}
	if (waits)
		start_timer(synic);
}

/* ---- the guest's pages, event flags ---- */

static void *sint_block(struct synic *synic, uint64_t page)
{
	uint8_t *p = NULL;

	if (page & PAGE_ENABLED)
		p = memory_at(synic->memory, round_down(page, GUEST_PAGE), GUEST_PAGE,
			      MEMORY_WRITE);
	return p ? p + (size_t)SYNIC_SINT * SINT_BLOCK : NULL;
}

void synic_set_pages(struct synic *synic, unsigned vp_index, uint64_t message_page,
		     uint64_t event_page)
{
	struct vp *vp;

	if (vp_index >= synic->vp_count)
		return;
	vp = &synic->vp[vp_index];
	pthread_mutex_lock(&vp->lock);
	vp->slot = sint_block(synic, message_page);
	vp->flags = sint_block(synic, event_page);
	if (deliver(synic, vp))
		start_timer(synic);
	pthread_mutex_unlock(&vp->lock);
}

void synic_signal(struct synic *synic, unsigned vp_index, unsigned flag)
{
	uint32_t bit = 1u << flag % 32;
	struct vp *vp;

	if (vp_index >= synic->vp_count || flag >= SYNIC_EVENT_FLAGS)
		return;
	vp = &synic->vp[vp_index];
	pthread_mutex_lock(&vp->lock);
	if (vp->flags && !(__atomic_fetch_or(&vp->flags[flag / 32], bit, __ATOMIC_SEQ_CST) & bit))
		interrupt(vp);
	pthread_mutex_unlock(&vp->lock);
}

void synic_reset(struct synic *synic, bool pages)
{
	for (unsigned i = 0; i < synic->vp_count; i++) {
		struct vp *vp = &synic->vp[i];

		pthread_mutex_lock(&vp->lock);
		drop_waiting(vp);
		if (pages) {
			vp->slot = NULL;
			vp->flags = NULL;
		}
		watch_ends(synic, vp, false);
		pthread_mutex_unlock(&vp->lock);
	}
}
