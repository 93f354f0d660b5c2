/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/vmbus_private.h"

#define MESSAGE_TYPE_VMBUS 1u
#define NEWEST_VERSION     VMBUS_VERSION(5, 3)
/* The bus's thread serves others, too (G7). */
#define POSTS_PER_RUN 64u

/* ---- making ---- */

enum err vmbus_create(struct memory *memory, struct synic *synic, unsigned vp_count,
		      const struct vmbus_wiring *wiring, struct vmbus **out, struct err_why *why)
{
	struct vmbus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return err_set(why, ERR_NOMEM, "no memory for the bus");
	bus->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (bus->fd < 0) {
		int e = errno;

		free(bus);
		return err_sys(why, e, "the bus's event descriptor");
	}
	bus->memory = memory;
	bus->synic = synic;
	bus->vp_count = vp_count;
	if (wiring)
		bus->wiring = *wiring;
	bus->version_cap = NEWEST_VERSION;
	bus->work_tail = &bus->work;
	for (unsigned i = 0; i < RELIDS; i++)
		bus->signal_fd[i] = -1;
	pthread_mutex_init(&bus->queue_lock, NULL);
	pthread_mutex_init(&bus->signal_lock, NULL);
	gpadls_init(&bus->gpadls, memory);
	*out = bus;
	return ERR_OK;
}

void vmbus_destroy(struct vmbus *bus)
{
	if (!bus)
		return;
	channel_free_all(bus);
	gpadl_free_all(&bus->gpadls);
	pthread_mutex_destroy(&bus->signal_lock);
	pthread_mutex_destroy(&bus->queue_lock);
	close(bus->fd);
	free(bus);
}

void vmbus_cap_version(struct vmbus *bus, uint32_t version)
{
	__atomic_store_n(&bus->version_cap, version, __ATOMIC_RELAXED);
}

uint32_t vmbus_version(const struct vmbus *bus)
{
	return bus->version;
}

/* ---- faults ---- */

void vmbus_fault(struct vmbus *bus, const char *text)
{
	bus->faults++;
	bus->fault = text;
}

uint64_t vmbus_faults(const struct vmbus *bus, const char **last)
{
	if (last)
		*last = bus->fault;
	return bus->faults;
}

/* ---- from any thread ---- */

static void wake(struct vmbus *bus)
{
	uint64_t one = 1;

	/* Fails only when the counter is full: then it is readable anyway. */
	while (write(bus->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static enum hv_status check_post(struct vmbus *bus, uint32_t connection, uint32_t type, size_t len)
{
	uint32_t cap = __atomic_load_n(&bus->version_cap, __ATOMIC_RELAXED);

	if (connection != CONNECTION_MESSAGES && connection != CONNECTION_CONTACT)
		return HV_INVALID_CONNECTION;
	/* As hosts that are older than the connection: the guest then tries older versions. */
	if (connection == CONNECTION_CONTACT && cap < VMBUS_VERSION(5, 0))
		return HV_INVALID_CONNECTION;
	if (type != MESSAGE_TYPE_VMBUS || len > MESSAGE_MAX)
		return HV_INVALID_PARAMETER;
	return HV_SUCCESS;
}

enum hv_status vmbus_post(struct vmbus *bus, uint32_t connection, uint32_t type,
			  const void *payload, size_t len)
{
	enum hv_status status = check_post(bus, connection, type, len);
	struct post *post;

	if (status != HV_SUCCESS)
		return status;
	pthread_mutex_lock(&bus->queue_lock);
	if (bus->post_count < VMBUS_POST_QUEUE) {
		post = &bus->post[(bus->post_first + bus->post_count++) % VMBUS_POST_QUEUE];
		post->len = (uint16_t)len;
		memcpy(post->bytes, payload, len);
	} else {
		status = HV_INSUFFICIENT_BUFFERS; /* the guest tries again (G7) */
	}
	pthread_mutex_unlock(&bus->queue_lock);
	if (status == HV_SUCCESS)
		wake(bus);
	return status;
}

enum hv_status vmbus_signal(struct vmbus *bus, uint32_t connection, uint32_t flag)
{
	enum hv_status status = HV_INVALID_CONNECTION;
	uint32_t relid = connection - CONNECTION_CHANNELS;
	uint64_t one = 1;

	if (relid >= RELIDS)
		return HV_INVALID_CONNECTION;
	if (flag)
		return HV_INVALID_PARAMETER;
	pthread_mutex_lock(&bus->signal_lock);
	if (bus->signal_fd[relid] >= 0) {
		while (write(bus->signal_fd[relid], &one, sizeof(one)) < 0 && errno == EINTR)
			;
		status = HV_SUCCESS;
	}
	pthread_mutex_unlock(&bus->signal_lock);
	return status;
}

void vmbus_set_signal(struct vmbus *bus, uint32_t relid, int fd)
{
	pthread_mutex_lock(&bus->signal_lock);
	bus->signal_fd[relid] = fd;
	pthread_mutex_unlock(&bus->signal_lock);
}

void vmbus_defer(struct vmbus *bus, struct vmbus_work *work)
{
	pthread_mutex_lock(&bus->queue_lock);
	if (!work->waiting) {
		work->waiting = true;
		work->next = NULL;
		*bus->work_tail = work;
		bus->work_tail = &work->next;
		bus->work_count++;
	}
	pthread_mutex_unlock(&bus->queue_lock);
	wake(bus);
}

/* ---- the bus's thread ---- */

/* With the lock held. */
static void unlink_work(struct vmbus *bus, struct vmbus_work **link)
{
	struct vmbus_work *work = *link;

	*link = work->next;
	if (!work->next)
		bus->work_tail = link;
	work->waiting = false;
	bus->work_count--;
}

void vmbus_cancel(struct vmbus *bus, struct vmbus_work *work)
{
	pthread_mutex_lock(&bus->queue_lock);
	for (struct vmbus_work **link = &bus->work; *link; link = &(*link)->next)
		if (*link == work) {
			unlink_work(bus, link);
			break;
		}
	pthread_mutex_unlock(&bus->queue_lock);
}

static struct vmbus_work *take_work(struct vmbus *bus)
{
	struct vmbus_work *work;

	pthread_mutex_lock(&bus->queue_lock);
	work = bus->work;
	if (work)
		unlink_work(bus, &bus->work);
	pthread_mutex_unlock(&bus->queue_lock);
	return work;
}

static bool take_post(struct vmbus *bus, struct post *out)
{
	bool taken;

	pthread_mutex_lock(&bus->queue_lock);
	taken = bus->post_count > 0;
	if (taken) {
		const struct post *post = &bus->post[bus->post_first];

		out->len = post->len;
		memcpy(out->bytes, post->bytes, post->len);
		bus->post_first = (bus->post_first + 1) % VMBUS_POST_QUEUE;
		bus->post_count--;
	}
	pthread_mutex_unlock(&bus->queue_lock);
	return taken;
}

void vmbus_drop_posts(struct vmbus *bus)
{
	pthread_mutex_lock(&bus->queue_lock);
	bus->post_count = 0;
	pthread_mutex_unlock(&bus->queue_lock);
}

void vmbus_send(struct vmbus *bus, const uint8_t *message, size_t len)
{
	if (!synic_post(bus->synic, bus->vp, message, len))
		vmbus_fault(bus, "the guest does not take the messages it is sent");
}

/* What makes sense only on a connection. */
static void handle_connected(struct vmbus *bus, const struct message *message)
{
	switch (message->type) {
	case MESSAGE_REQUEST_OFFERS:
		vmbus_request_offers(bus);
		break;
	case MESSAGE_OPEN:
		vmbus_open(bus, &message->open);
		break;
	case MESSAGE_CLOSE:
		vmbus_close(bus, message->relid);
		break;
	case MESSAGE_GPADL_HEADER:
		vmbus_gpadl_header(bus, &message->header);
		break;
	case MESSAGE_GPADL_BODY:
		vmbus_gpadl_body(bus, &message->body);
		break;
	case MESSAGE_GPADL_TEARDOWN:
		vmbus_gpadl_teardown(bus, &message->teardown);
		break;
	default:
		vmbus_modify(bus, &message->modify);
		break;
	}
}

static void handle(struct vmbus *bus, const struct post *post)
{
	struct message message;
	const char *fault;

	if (!message_decode(post->bytes, post->len, &message, &fault)) {
		vmbus_fault(bus, fault);
		return;
	}
	switch (message.type) {
	case MESSAGE_CONTACT:
		vmbus_contact(bus, &message.contact);
		break;
	case MESSAGE_UNLOAD:
		vmbus_unload(bus);
		break;
	case MESSAGE_RELID_RELEASED:
		vmbus_released(bus, message.relid);
		break;
	default:
		if (bus->version)
			handle_connected(bus, &message);
		else
			vmbus_fault(bus, "a message without a connection");
		break;
	}
}

int vmbus_fd(const struct vmbus *bus)
{
	return bus->fd;
}

void vmbus_run(struct vmbus *bus)
{
	struct vmbus_work *work;
	struct post post;
	unsigned budget, left;
	uint64_t count;

	/* Emptied first: what comes while we work makes it readable again. */
	while (read(bus->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	for (budget = POSTS_PER_RUN; budget && take_post(bus, &post); budget--)
		handle(bus, &post);
	pthread_mutex_lock(&bus->queue_lock);
	budget = bus->work_count; /* what is deferred by this work is for the next run */
	left = bus->post_count;
	pthread_mutex_unlock(&bus->queue_lock);
	for (; budget && (work = take_work(bus)); budget--)
		work->run(work);
	if (left)
		wake(bus);
}
