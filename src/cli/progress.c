/* SPDX-License-Identifier: MIT */
#include "cli/progress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/text.h"

#define BAR_CELLS 30
#define BAR_MS    100
#define LINE_MS   1000

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};
static struct sigaction old_action[ARRAY_LEN(stop_signals)];
static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
	(void)number;
	stop_asked = 1;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void draw_bar(struct cli_progress *progress, uint64_t done, uint64_t total, int64_t now)
{
	double share = total ? (double)done / (double)total : 1;
	int64_t spent_ms = now - progress->started_ms;
	uint64_t rate = spent_ms > 0 ? done * 1000 / (uint64_t)spent_ms : 0;
	char bar[BAR_CELLS + 1], text[32], speed[32];

	for (unsigned i = 0; i < BAR_CELLS; i++)
		bar[i] = (double)i < share * BAR_CELLS ? '#' : '.';
	bar[BAR_CELLS] = 0;
	fprintf(stderr, "\r%s [%s] %3.0f %% of %s, %s/s\033[K", progress->label, bar, share * 100,
		size_text(total, text, sizeof(text)), size_text(rate, speed, sizeof(speed)));
	progress->drawn = true;
}

static void print_line(struct cli_progress *progress, uint64_t done, uint64_t total)
{
	double percent = total ? 100.0 * (double)done / (double)total : 100;
	char a[32], b[32];

	if (progress->mode == PROGRESS_JSON)
		fprintf(stderr,
			"{\"operation\": \"%s\", \"done\": %" PRIu64 ", \"total\": %" PRIu64
			", \"percent\": %.1f}\n",
			progress->label, done, total, percent);
	else
		fprintf(stderr, "%s: %.0f %% (%s of %s)\n", progress->label, percent,
			size_text(done, a, sizeof(a)), size_text(total, b, sizeof(b)));
}

static bool report(struct progress *base, uint64_t done_bytes, uint64_t total_bytes)
{
	struct cli_progress *progress = container_of(base, struct cli_progress, base);
	int64_t now, wait_ms = progress->mode == PROGRESS_AUTO ? BAR_MS : LINE_MS;

	if (progress->mode == PROGRESS_NONE)
		return !stop_asked;
	now = now_ms();
	if (now - progress->shown_ms >= wait_ms || done_bytes == total_bytes) {
		progress->shown_ms = now;
		if (progress->mode == PROGRESS_AUTO)
			draw_bar(progress, done_bytes, total_bytes, now);
		else
			print_line(progress, done_bytes, total_bytes);
	}
	return !stop_asked;
}

struct progress *progress_begin(struct cli_progress *progress, unsigned mode, const char *label)
{
	/* No SA_RESTART: a read from a pipe has to notice. SA_RESETHAND: the second one kills. */
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	if (mode == PROGRESS_UNSET)
		mode = PROGRESS_AUTO;
	if (mode == PROGRESS_AUTO && !isatty(STDERR_FILENO))
		mode = PROGRESS_NONE;
	*progress = (struct cli_progress){.base.report = report, .label = label, .mode = mode};
	progress->started_ms = progress->shown_ms = now_ms();
	for (size_t i = 0; i < ARRAY_LEN(stop_signals); i++) {
		sigaction(stop_signals[i], NULL, &old_action[i]);
		if (old_action[i].sa_handler != SIG_IGN) /* nohup, background jobs */
			sigaction(stop_signals[i], &action, NULL);
	}
	return &progress->base;
}

void progress_end(struct cli_progress *progress)
{
	for (size_t i = 0; i < ARRAY_LEN(stop_signals); i++)
		sigaction(stop_signals[i], &old_action[i], NULL);
	if (progress->drawn)
		fputs("\r\033[K", stderr);
}

bool progress_stopped(void)
{
	return stop_asked;
}
