/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_SERIAL_H
#define STRATA_HV_SERIAL_H

/*
 * A 16550A serial port whose far end is a pipe. No character times: a byte is sent when the pipe
 * takes it, and received bytes are there at once, so that the FIFO's time-out interrupt is due
 * whenever there is data below the trigger level.
 *
 * Back pressure both ways. Output the pipe does not take stays in the transmitter, whose THRE and
 * TEMT stay clear meanwhile; a guest that writes on regardless loses what it writes, as on the
 * real thing. Input waits in a buffer and fills the FIFO as the guest reads: it never overruns.
 *
 * The interrupt is gated by OUT2, as on a PC.
 *
 * Threads: none of its own and no lock: the caller's port lock covers every call. No call blocks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

#define SERIAL_PORTS        8u
#define SERIAL_INPUT_BUFFER 4096u /* bytes that may wait behind the FIFO */

struct serial;

/*
 * `out_fd`: non-blocking, stays the caller's; -1: output goes nowhere. Output to a pipe nobody
 * reads any more is dropped; the program ignores SIGPIPE.
 */
enum err serial_create(int out_fd, struct serial **out, struct err_why *why);
/* NULL is allowed. */
void serial_destroy(struct serial *serial);

/* The guest reads or writes the register at `offset` (0 to 7) of the port. */
uint8_t serial_read(struct serial *serial, unsigned offset);
void serial_write(struct serial *serial, unsigned offset, uint8_t value);

/* The level of the interrupt line; to be asked after every call that may have changed it. */
bool serial_interrupt(const struct serial *serial);

/* The transmitter holds bytes the pipe did not take: call serial_output_ready when it would. */
bool serial_output_waits(const struct serial *serial);
void serial_output_ready(struct serial *serial);

/* How many bytes serial_input would take now. */
size_t serial_input_room(const struct serial *serial);
/* Characters for the guest; returns how many were taken. */
size_t serial_input(struct serial *serial, const void *buf, size_t len);

/* The guest was reset: registers as after power on; input that waits is kept. */
void serial_reset(struct serial *serial);

#endif
