/* SPDX-License-Identifier: MIT */
#include "hv/serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIFO_BYTES 16u

enum reg { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RX     0x01u
#define IER_TX     0x02u
#define IER_LINE   0x04u
#define IER_MODEM  0x08u
#define IIR_MODEM  0x00u
#define IIR_NONE   0x01u
#define IIR_TX     0x02u
#define IIR_RX     0x04u
#define IIR_LINE   0x06u
#define IIR_RX_OLD 0x0Cu /* characters wait below the trigger level */
#define IIR_FIFO   0xC0u
#define FCR_ENABLE 0x01u
#define FCR_NO_RX  0x02u
#define FCR_NO_TX  0x04u
#define LCR_DLAB   0x80u
#define MCR_DTR    0x01u
#define MCR_RTS    0x02u
#define MCR_OUT1   0x04u
#define MCR_OUT2   0x08u
#define MCR_LOOP   0x10u
#define MCR_MASK   0x1Fu
#define LSR_DATA   0x01u
#define LSR_LOST   0x02u
#define LSR_THRE   0x20u
#define LSR_TEMT   0x40u
#define MSR_CTS    0x10u
#define MSR_DSR    0x20u
#define MSR_RI     0x40u
#define MSR_DCD    0x80u
#define MSR_LINES  0xF0u

struct serial {
	int out_fd;
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	uint8_t modem; /* MSR: lines, and their changes since it was read */
	bool fifo;     /* FIFOs are on */
	uint8_t trigger;
	bool lost;    /* overrun since LSR was read; in loopback only */
	bool tx_done; /* the transmitter has become empty, and nobody was told */

	uint8_t tx[FIFO_BYTES];
	unsigned tx_count;
	uint8_t rx[FIFO_BYTES];
	unsigned rx_count;

	uint8_t wait[SERIAL_INPUT_BUFFER]; /* a ring */
	size_t wait_first, wait_count;
};

static unsigned fifo_depth(const struct serial *s)
{
	return s->fifo ? FIFO_BYTES : 1;
}

static bool loops(const struct serial *s)
{
	return s->mcr & MCR_LOOP;
}

/* ---- input ---- */

static void fill_rx(struct serial *s)
{
	while (!loops(s) && s->wait_count && s->rx_count < fifo_depth(s)) {
		s->rx[s->rx_count++] = s->wait[s->wait_first];
		s->wait_first = (s->wait_first + 1) % SERIAL_INPUT_BUFFER;
		s->wait_count--;
	}
}

static uint8_t take_rx(struct serial *s)
{
	uint8_t value;

	if (!s->rx_count)
		return 0;
	value = s->rx[0];
	s->rx_count--;
	memmove(s->rx, s->rx + 1, s->rx_count);
	fill_rx(s);
	return value;
}

size_t serial_input_room(const struct serial *s)
{
	return SERIAL_INPUT_BUFFER - s->wait_count;
}

size_t serial_input(struct serial *s, const void *buf, size_t len)
{
	const uint8_t *from = buf;
	size_t taken = 0;

	while (taken < len && s->wait_count < SERIAL_INPUT_BUFFER) {
		s->wait[(s->wait_first + s->wait_count) % SERIAL_INPUT_BUFFER] = from[taken++];
		s->wait_count++;
	}
	fill_rx(s);
	return taken;
}

/* ---- output ---- */

static void empty_tx(struct serial *s)
{
	s->tx_count = 0;
	s->tx_done = true;
}

static void push_out(struct serial *s)
{
	while (s->tx_count) {
		ssize_t n =
		    s->out_fd < 0 ? (ssize_t)s->tx_count : write(s->out_fd, s->tx, s->tx_count);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0) /* nobody will ever read it */
			n = (ssize_t)s->tx_count;
		s->tx_count -= (unsigned)n;
		memmove(s->tx, s->tx + n, s->tx_count);
	}
	empty_tx(s);
}

static void loop_back(struct serial *s, uint8_t value)
{
	if (s->rx_count < fifo_depth(s)) {
		s->rx[s->rx_count++] = value;
	} else {
		s->lost = true;
		if (!s->fifo) /* the one register is overwritten; a full FIFO keeps what it has */
			s->rx[0] = value;
	}
	s->tx_done = !s->tx_count;
}

static void transmit(struct serial *s, uint8_t value)
{
	s->tx_done = false;
	if (loops(s)) {
		loop_back(s, value);
		return;
	}
	if (s->tx_count == fifo_depth(s))
		return;
	s->tx[s->tx_count++] = value;
	push_out(s);
}

bool serial_output_waits(const struct serial *s)
{
	return s->tx_count != 0;
}

void serial_output_ready(struct serial *s)
{
	if (s->tx_count)
		push_out(s);
}

/* ---- state the guest reads ---- */

static uint8_t modem_lines(const struct serial *s)
{
	uint8_t lines = 0;

	if (!loops(s)) /* a terminal that is always there */
		return MSR_CTS | MSR_DSR | MSR_DCD;
	lines |= s->mcr & MCR_RTS ? MSR_CTS : 0;
	lines |= s->mcr & MCR_DTR ? MSR_DSR : 0;
	lines |= s->mcr & MCR_OUT1 ? MSR_RI : 0;
	lines |= s->mcr & MCR_OUT2 ? MSR_DCD : 0;
	return lines;
}

static void update_modem(struct serial *s)
{
	uint8_t lines = modem_lines(s);
	uint8_t changed = (s->modem ^ lines) & MSR_LINES;

	if (lines & MSR_RI) /* only the end of a ring counts as a change */
		changed &= (uint8_t)~MSR_RI;
	s->modem = (uint8_t)(lines | (s->modem & 0x0F) | changed >> 4);
}

static uint8_t line_status(const struct serial *s)
{
	uint8_t status = 0;

	status |= s->rx_count ? LSR_DATA : 0;
	status |= s->lost ? LSR_LOST : 0;
	status |= s->tx_count ? 0 : LSR_THRE | LSR_TEMT;
	return status;
}

/* The pending interrupt of the highest priority. */
static uint8_t identify(const struct serial *s)
{
	if (s->ier & IER_LINE && s->lost)
		return IIR_LINE;
	if (s->ier & IER_RX && s->rx_count)
		return s->rx_count >= s->trigger ? IIR_RX : IIR_RX_OLD;
	if (s->ier & IER_TX && s->tx_done)
		return IIR_TX;
	if (s->ier & IER_MODEM && s->modem & 0x0F)
		return IIR_MODEM;
	return IIR_NONE;
}

bool serial_interrupt(const struct serial *s)
{
	return identify(s) != IIR_NONE && s->mcr & MCR_OUT2 && !loops(s);
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t id = identify(s);

	if (id == IIR_TX)
		s->tx_done = false;
	return (uint8_t)(id | (s->fifo ? IIR_FIFO : 0));
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t status = line_status(s);

	s->lost = false;
	return status;
}

static uint8_t read_msr(struct serial *s)
{
	uint8_t status = s->modem;

	s->modem &= MSR_LINES;
	return status;
}

/* ---- registers ---- */

static void write_ier(struct serial *s, uint8_t value)
{
	value &= IER_RX | IER_TX | IER_LINE | IER_MODEM;
	if (value & ~s->ier & IER_TX && !s->tx_count)
		s->tx_done = true;
	s->ier = value;
}

static void write_fcr(struct serial *s, uint8_t value)
{
	static const uint8_t trigger[] = {1, 4, 8, 14};
	bool on = value & FCR_ENABLE;
	bool changes = on != s->fifo;

	s->fifo = on;
	s->trigger = on ? trigger[value >> 6] : 1;
	if (changes || (on && value & FCR_NO_RX))
		s->rx_count = 0;
	if (s->tx_count && (changes || (on && value & FCR_NO_TX)))
		empty_tx(s);
	fill_rx(s);
}

static void write_mcr(struct serial *s, uint8_t value)
{
	s->mcr = value & MCR_MASK;
	update_modem(s);
	fill_rx(s);
}

static void write_latch_or(struct serial *s, unsigned offset, uint8_t value)
{
	if (s->lcr & LCR_DLAB)
		*(offset == REG_DATA ? &s->dll : &s->dlm) = value;
	else if (offset == REG_DATA)
		transmit(s, value);
	else
		write_ier(s, value);
}

uint8_t serial_read(struct serial *s, unsigned offset)
{
	switch (offset) {
	case REG_DATA:
		return s->lcr & LCR_DLAB ? s->dll : take_rx(s);
	case REG_IER:
		return s->lcr & LCR_DLAB ? s->dlm : s->ier;
	case REG_IIR:
		return read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return read_lsr(s);
	case REG_MSR:
		return read_msr(s);
	case REG_SCR:
		return s->scr;
	default:
		return 0xFF;
	}
}

void serial_write(struct serial *s, unsigned offset, uint8_t value)
{
	switch (offset) {
	case REG_DATA:
	case REG_IER:
		write_latch_or(s, offset, value);
		break;
	case REG_IIR:
		write_fcr(s, value);
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		write_mcr(s, value);
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR are not for writing */
		break;
	}
}

/* ---- life ---- */

void serial_reset(struct serial *s)
{
	s->ier = s->lcr = s->mcr = s->scr = s->dlm = 0;
	s->dll = 12; /* 9600 baud, which nobody looks at */
	s->fifo = s->lost = s->tx_done = false;
	s->trigger = 1;
	s->tx_count = s->rx_count = 0;
	s->modem = modem_lines(s);
	fill_rx(s);
}

enum err serial_create(int out_fd, struct serial **out, struct err_why *why)
{
	struct serial *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(why, ERR_NOMEM, "no memory for a serial port");
	s->out_fd = out_fd;
	serial_reset(s);
	*out = s;
	return ERR_OK;
}

void serial_destroy(struct serial *s)
{
	free(s);
}
