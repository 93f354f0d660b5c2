/* SPDX-License-Identifier: MIT */
#include "fuse/helpers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct helpers {
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;
	struct job *first;
	struct job **last;
	bool stop;

	unsigned count;
	pthread_t thread[];
};

static struct job *next_job(struct helpers *helpers)
{
	struct job *job;

	pthread_mutex_lock(&helpers->lock);
	while (!helpers->first && !helpers->stop)
		pthread_cond_wait(&helpers->wake, &helpers->lock);
	job = helpers->first;
	if (job) {
		helpers->first = job->next;
		if (!helpers->first)
			helpers->last = &helpers->first;
	}
	pthread_mutex_unlock(&helpers->lock);
	return job;
}

static void *helper_main(void *arg)
{
	struct helpers *helpers = arg;
	struct job *job;

	while ((job = next_job(helpers)))
		job->run(job);
	return NULL;
}

enum err helpers_start(unsigned count, struct helpers **out, struct err_why *why)
{
	struct helpers *helpers = calloc(1, sizeof(*helpers) + count * sizeof(pthread_t));
	int rc = 0;

	if (!helpers)
		return err_set(why, ERR_NOMEM, "no memory for %u threads", count);
	pthread_mutex_init(&helpers->lock, NULL);
	pthread_cond_init(&helpers->wake, NULL);
	helpers->last = &helpers->first;
	while (!rc && helpers->count < count) {
		rc = pthread_create(&helpers->thread[helpers->count], NULL, helper_main, helpers);
		helpers->count += !rc;
	}
	if (rc) {
		helpers_stop(helpers);
		return err_sys(why, rc, "cannot start a thread");
	}
	*out = helpers;
	return ERR_OK;
}

void helpers_add(struct helpers *helpers, struct job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&helpers->lock);
	*helpers->last = job;
	helpers->last = &job->next;
	pthread_cond_signal(&helpers->wake);
	pthread_mutex_unlock(&helpers->lock);
}

void helpers_stop(struct helpers *helpers)
{
	if (!helpers)
		return;
	pthread_mutex_lock(&helpers->lock);
	helpers->stop = true;
	pthread_cond_broadcast(&helpers->wake);
	pthread_mutex_unlock(&helpers->lock);
	for (unsigned i = 0; i < helpers->count; i++)
		pthread_join(helpers->thread[i], NULL);
	pthread_cond_destroy(&helpers->wake);
	pthread_mutex_destroy(&helpers->lock);
	free(helpers);
}
