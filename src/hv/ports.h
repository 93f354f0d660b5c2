/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_PORTS_H
#define STRATA_HV_PORTS_H

/*
 * The I/O ports of a partition and the devices behind them: serial console, clock, power and
 * reset. One lock covers them all; every virtual processor may come here at any time. Ports nobody
 * has read as all ones and swallow what is written.
 *
 * Threads: any.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/power.h"
#include "hv/rtc.h"
#include "hv/serial.h"
#include "util/err.h"

struct machine;

struct ports {
	pthread_mutex_t lock;
	struct serial *serial;
	struct rtc rtc;
	struct power power;
	bool serial_line; /* the level the interrupt controller knows */
};

/* `console_fd`: where serial output goes; -1: nowhere. */
enum err ports_init(struct ports *ports, int console_fd, struct err_why *why);
void ports_free(struct ports *ports);
void ports_reset(struct ports *ports);

/*
 * The guest reads or writes `count` times `bytes` (1, 2 or 4) at `port`; `data` holds count * bytes
 * bytes. Interrupt lines of `machine` follow. A write may switch the machine off or reset it.
 */
void ports_in(struct ports *ports, const struct machine *machine, uint16_t port, unsigned bytes,
	      unsigned count, uint8_t *data);
enum power_event ports_out(struct ports *ports, const struct machine *machine, uint16_t port,
			   unsigned bytes, unsigned count, const uint8_t *data);

/*
 * Move characters between the console's descriptor and the serial port: called when it is
 * readable or writable. Returns false when its far end is gone.
 */
bool ports_console(struct ports *ports, const struct machine *machine, int fd);
/* What to wait for at the console's descriptor: POLLIN, POLLOUT. */
short ports_console_events(struct ports *ports);

#endif
