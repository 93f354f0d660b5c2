/* SPDX-License-Identifier: MIT */
/* The 16550A as drivers see it: how they find out what it is, and its interrupts. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "hv/serial.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

#define OUT2     0x08
#define FIFO_ON  0x01
#define TX_EMPTY 0x60

struct line {
	struct serial *serial;
	int far; /* where output arrives */
	int near;
};

static struct line plug_in(void)
{
	struct line line;
	int fd[2];

	cr_assert_eq(pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0);
	line.far = fd[0];
	line.near = fd[1];
	cr_assert_eq(serial_create(line.near, &line.serial, NULL), ERR_OK);
	return line;
}

static void unplug(struct line *line)
{
	serial_destroy(line->serial);
	close(line->far);
	close(line->near);
}

/* Put bytes into the pipe until it takes no more; returns how many. */
static size_t stop_up(const struct line *line)
{
	size_t total = 0;
	char block[4096] = {0};
	ssize_t n;

	while ((n = write(line->near, block, sizeof(block))) > 0)
		total += (size_t)n;
	while (write(line->near, block, 1) == 1)
		total++;
	return total;
}

static void let_go(const struct line *line, size_t len)
{
	char block[4096];

	while (len) {
		ssize_t n = read(line->far, block, len < sizeof(block) ? len : sizeof(block));

		cr_assert_gt(n, 0);
		len -= (size_t)n;
	}
}

static void type_in(struct serial *s, const char *text)
{
	cr_assert_eq(serial_input(s, text, strlen(text)), strlen(text));
}

static unsigned pending(struct serial *s)
{
	return serial_read(s, IIR) & 0x0F;
}

Test(hv_serial, what_is_written_arrives)
{
	struct line line = plug_in();
	char got[8] = {0};

	for (const char *p = "hello"; *p; p++) {
		cr_expect_eq(serial_read(line.serial, LSR) & TX_EMPTY, TX_EMPTY);
		serial_write(line.serial, DATA, (uint8_t)*p);
	}
	cr_expect_eq(read(line.far, got, sizeof(got)), 5);
	cr_expect_str_eq(got, "hello");
	unplug(&line);
}

Test(hv_serial, without_a_far_end_output_goes_nowhere)
{
	struct serial *s;

	cr_assert_eq(serial_create(-1, &s, NULL), ERR_OK);
	for (unsigned i = 0; i < 1000; i++)
		serial_write(s, DATA, 'x');
	cr_expect_eq(serial_read(s, LSR), TX_EMPTY);
	cr_expect(!serial_output_waits(s));
	serial_destroy(s);
}

Test(hv_serial, a_reader_that_went_away_blocks_nobody)
{
	struct line line = plug_in();

	signal(SIGPIPE, SIG_IGN);
	close(line.far);
	serial_write(line.serial, DATA, 'x');
	cr_expect_eq(serial_read(line.serial, LSR), TX_EMPTY);
	line.far = dup(line.near);
	unplug(&line);
}

Test(hv_serial, a_full_pipe_holds_the_transmitter)
{
	struct line line = plug_in();
	size_t junk = stop_up(&line);
	char got[32] = {0};

	serial_write(line.serial, IIR, FIFO_ON);
	for (unsigned i = 0; i < 20; i++) /* four more than a transmitter holds */
		serial_write(line.serial, DATA, (uint8_t)('a' + i));
	cr_expect(serial_output_waits(line.serial));
	cr_expect_eq(serial_read(line.serial, LSR) & TX_EMPTY, 0);
	serial_output_ready(line.serial);
	cr_expect(serial_output_waits(line.serial), "the pipe is still full");
	let_go(&line, junk);
	serial_output_ready(line.serial);
	cr_expect(!serial_output_waits(line.serial));
	cr_expect_eq(serial_read(line.serial, LSR) & TX_EMPTY, TX_EMPTY);
	cr_expect_eq(read(line.far, got, sizeof(got)), 16);
	cr_expect_str_eq(got, "abcdefghijklmnop");
	unplug(&line);
}

Test(hv_serial, the_interrupt_of_a_held_transmitter_waits_for_the_pipe)
{
	struct line line = plug_in();
	size_t junk;

	serial_write(line.serial, MCR, OUT2);
	serial_write(line.serial, IER, 0x02);
	cr_expect(serial_interrupt(line.serial));
	cr_expect_eq(pending(line.serial), 0x02);
	cr_expect(!serial_interrupt(line.serial), "reading IIR has told it");
	junk = stop_up(&line);
	serial_write(line.serial, DATA, 'x');
	cr_expect(!serial_interrupt(line.serial));
	cr_expect_eq(pending(line.serial), 0x01);
	let_go(&line, junk);
	serial_output_ready(line.serial);
	cr_expect(serial_interrupt(line.serial));
	cr_expect_eq(pending(line.serial), 0x02);
	unplug(&line);
}

Test(hv_serial, enabling_the_transmit_interrupt_asserts_it_each_time)
{
	struct line line = plug_in();

	serial_write(line.serial, MCR, OUT2);
	for (unsigned i = 0; i < 2; i++) { /* what a driver looks for a bug with */
		serial_write(line.serial, IER, 0x02);
		cr_expect_eq(pending(line.serial), 0x02);
		cr_expect_eq(pending(line.serial), 0x01);
		serial_write(line.serial, IER, 0x00);
	}
	serial_write(line.serial, IER, 0x02);
	serial_write(line.serial, DATA, 'x');
	cr_expect(serial_interrupt(line.serial), "sent, and empty again");
	serial_write(line.serial, IER, 0x00);
	cr_expect(!serial_interrupt(line.serial));
	unplug(&line);
}

Test(hv_serial, writing_withdraws_the_transmit_interrupt)
{
	struct line line = plug_in();

	stop_up(&line);
	serial_write(line.serial, IER, 0x02);
	serial_write(line.serial, DATA, 'x');
	cr_expect_eq(pending(line.serial), 0x01);
	unplug(&line);
}

Test(hv_serial, a_looping_transmitter_interrupts_too)
{
	struct line line = plug_in();

	serial_write(line.serial, MCR, 0x10);
	serial_write(line.serial, IER, 0x02);
	cr_expect_eq(pending(line.serial), 0x02);
	serial_write(line.serial, DATA, 'x');
	cr_expect_eq(pending(line.serial), 0x02);
	unplug(&line);
}

Test(hv_serial, input_interrupts_until_it_is_read)
{
	struct line line = plug_in();

	serial_write(line.serial, MCR, OUT2);
	type_in(line.serial, "ab");
	cr_expect(!serial_interrupt(line.serial), "not enabled");
	serial_write(line.serial, IER, 0x01);
	cr_expect(serial_interrupt(line.serial));
	cr_expect_eq(pending(line.serial), 0x04);
	cr_expect_eq(serial_read(line.serial, LSR) & 1, 1);
	cr_expect_eq(serial_read(line.serial, DATA), 'a');
	cr_expect(serial_interrupt(line.serial));
	cr_expect_eq(serial_read(line.serial, DATA), 'b');
	cr_expect(!serial_interrupt(line.serial));
	cr_expect_eq(serial_read(line.serial, LSR) & 1, 0);
	cr_expect_eq(serial_read(line.serial, DATA), 0, "nothing there");
	unplug(&line);
}

Test(hv_serial, below_the_trigger_level_it_is_the_time_out)
{
	static const struct {
		uint8_t fcr;
		unsigned level;
	} row[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xC1, 14}};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct line line = plug_in();

		serial_write(line.serial, IIR, row[i].fcr);
		serial_write(line.serial, IER, 0x01);
		for (unsigned n = 1; n <= 16; n++) {
			type_in(line.serial, "x");
			cr_expect_eq(pending(line.serial), n < row[i].level ? 0x0C : 0x04,
				     "level %u, %u characters", row[i].level, n);
		}
		unplug(&line);
	}
}

Test(hv_serial, input_waits_behind_the_fifo_and_loses_nothing)
{
	struct line line = plug_in();
	uint8_t sent[SERIAL_INPUT_BUFFER + 100];
	size_t taken, got = 0;

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7);
	serial_write(line.serial, IIR, FIFO_ON);
	taken = serial_input(line.serial, sent, sizeof(sent));
	cr_expect_eq(taken, SERIAL_INPUT_BUFFER);
	cr_expect_eq(serial_input_room(line.serial), 16, "what the FIFO has taken");
	taken += serial_input(line.serial, sent + taken, sizeof(sent) - taken);
	cr_expect_eq(taken, SERIAL_INPUT_BUFFER + 16);
	cr_expect_eq(serial_input_room(line.serial), 0);
	cr_expect_eq(serial_input(line.serial, sent, 1), 0);
	while (serial_read(line.serial, LSR) & 1)
		cr_assert_eq(serial_read(line.serial, DATA), sent[got++]);
	cr_expect_eq(got, taken);
	unplug(&line);
}

Test(hv_serial, without_fifo_one_character_is_there_at_a_time)
{
	struct line line = plug_in();

	type_in(line.serial, "abc");
	cr_expect_eq(serial_input_room(line.serial), SERIAL_INPUT_BUFFER - 2);
	cr_expect_eq(serial_read(line.serial, IIR) & 0xC0, 0);
	for (const char *p = "abc"; *p; p++)
		cr_expect_eq(serial_read(line.serial, DATA), *p);
	unplug(&line);
}

Test(hv_serial, switching_or_clearing_the_fifo_drops_what_is_in_it)
{
	struct line line = plug_in();

	type_in(line.serial, "a");
	serial_write(line.serial, IIR, FIFO_ON);
	cr_expect_eq(serial_read(line.serial, LSR) & 1, 0);
	type_in(line.serial, "b");
	serial_write(line.serial, IIR, FIFO_ON);
	cr_expect_eq(serial_read(line.serial, LSR) & 1, 1, "no change, no loss");
	serial_write(line.serial, IIR, FIFO_ON | 0x02);
	cr_expect_eq(serial_read(line.serial, LSR) & 1, 0);
	unplug(&line);
}

Test(hv_serial, clearing_the_transmitter_drops_what_it_holds)
{
	struct line line = plug_in();

	serial_write(line.serial, IIR, FIFO_ON);
	stop_up(&line);
	serial_write(line.serial, DATA, 'x');
	serial_write(line.serial, IIR, FIFO_ON | 0x04);
	cr_expect(!serial_output_waits(line.serial));
	cr_expect_eq(serial_read(line.serial, LSR), TX_EMPTY);
	unplug(&line);
}

/* The steps of Linux' 8250 driver. */
Test(hv_serial, is_found_to_be_a_16550a)
{
	struct line line = plug_in();
	struct serial *s = line.serial;

	serial_write(s, IER, 0x00);
	cr_expect_eq(serial_read(s, IER), 0x00);
	serial_write(s, IER, 0xFF);
	cr_expect_eq(serial_read(s, IER), 0x0F, "no other bits: not an XScale");
	serial_write(s, IER, 0x00);
	serial_write(s, MCR, 0x1A);
	cr_expect_eq(serial_read(s, MSR) & 0xF0, 0x90);
	serial_write(s, MCR, 0x00);
	serial_write(s, LCR, 0xBF);
	serial_write(s, IIR, 0x00);
	serial_write(s, LCR, 0x00);
	serial_write(s, IIR, FIFO_ON);
	cr_expect_eq(serial_read(s, IIR), 0xC1);
	serial_write(s, LCR, 0x80);
	cr_expect_neq(serial_read(s, IIR), 0, "an EFR of zero would be a 16650's");
	serial_write(s, LCR, 0x00);
	serial_write(s, SCR, 0x5A);
	cr_expect_eq(serial_read(s, SCR), 0x5A);
	unplug(&line);
}

Test(hv_serial, loops_back_sixteen_characters)
{
	struct line line = plug_in();
	struct serial *s = line.serial;
	unsigned n = 0;
	char got;

	serial_write(s, IIR, FIFO_ON | 0x06);
	serial_write(s, MCR, 0x10);
	for (unsigned i = 0; i < 256; i++)
		serial_write(s, DATA, (uint8_t)i);
	cr_expect_eq(serial_read(s, LSR) & 0x02, 0x02, "some were lost");
	cr_expect_eq(serial_read(s, LSR) & 0x02, 0, "and it is said once");
	while (serial_read(s, LSR) & 1)
		cr_expect_eq(serial_read(s, DATA), n++);
	cr_expect_eq(n, 16);
	cr_expect_eq(read(line.far, &got, 1), -1, "nothing left the port");
	unplug(&line);
}

Test(hv_serial, input_waits_while_it_loops)
{
	struct line line = plug_in();

	serial_write(line.serial, MCR, 0x10);
	type_in(line.serial, "a");
	cr_expect_eq(serial_read(line.serial, LSR) & 1, 0);
	serial_write(line.serial, MCR, 0x00);
	cr_expect_eq(serial_read(line.serial, DATA), 'a');
	unplug(&line);
}

Test(hv_serial, line_errors_come_before_data)
{
	struct line line = plug_in();

	serial_write(line.serial, MCR, 0x10);
	serial_write(line.serial, IER, 0x05);
	serial_write(line.serial, DATA, 'a');
	cr_expect_eq(pending(line.serial), 0x04);
	serial_write(line.serial, DATA, 'b');
	cr_expect_eq(pending(line.serial), 0x06);
	serial_read(line.serial, LSR);
	cr_expect_eq(pending(line.serial), 0x04);
	cr_expect_eq(serial_read(line.serial, DATA), 'b', "the register was overwritten");
	unplug(&line);
}

Test(hv_serial, modem_lines_tell_their_changes_once)
{
	struct line line = plug_in();

	serial_write(line.serial, IER, 0x08);
	cr_expect_eq(serial_read(line.serial, MSR), 0xB0, "a terminal is there");
	serial_write(line.serial, MCR, 0x14);
	cr_expect_eq(pending(line.serial), 0x00);
	cr_expect_eq(serial_read(line.serial, MSR), 0x4B, "CTS, DSR and DCD fell; RI rose");
	cr_expect_eq(pending(line.serial), 0x01);
	serial_write(line.serial, MCR, 0x10);
	cr_expect_eq(serial_read(line.serial, MSR), 0x04, "the end of a ring");
	cr_expect_eq(serial_read(line.serial, MSR), 0x00);
	unplug(&line);
}

Test(hv_serial, out2_gates_the_interrupt)
{
	struct line line = plug_in();

	serial_write(line.serial, IER, 0x01);
	type_in(line.serial, "a");
	cr_expect_eq(pending(line.serial), 0x04);
	cr_expect(!serial_interrupt(line.serial));
	serial_write(line.serial, MCR, OUT2);
	cr_expect(serial_interrupt(line.serial));
	serial_write(line.serial, MCR, OUT2 | 0x10);
	cr_expect(!serial_interrupt(line.serial), "no line leaves a port that loops");
	unplug(&line);
}

Test(hv_serial, the_divisor_is_kept)
{
	struct line line = plug_in();

	serial_write(line.serial, IER, 0x05);
	serial_write(line.serial, LCR, 0x83);
	serial_write(line.serial, DATA, 0x34);
	serial_write(line.serial, IER, 0x12);
	cr_expect_eq(serial_read(line.serial, DATA), 0x34);
	cr_expect_eq(serial_read(line.serial, IER), 0x12);
	serial_write(line.serial, LCR, 0x03);
	cr_expect_eq(serial_read(line.serial, LCR), 0x03);
	cr_expect_eq(serial_read(line.serial, IER), 0x05, "another register");
	unplug(&line);
}

Test(hv_serial, a_reset_keeps_input_that_waits)
{
	struct line line = plug_in();

	serial_write(line.serial, IIR, FIFO_ON);
	serial_write(line.serial, MCR, OUT2);
	serial_write(line.serial, IER, 0x0F);
	type_in(line.serial, "0123456789abcdefgh");
	serial_reset(line.serial);
	cr_expect(!serial_interrupt(line.serial));
	cr_expect_eq(serial_read(line.serial, IER), 0);
	cr_expect_eq(serial_read(line.serial, MCR), 0);
	cr_expect_eq(serial_read(line.serial, DATA), 'g', "the FIFO's content is gone");
	cr_expect_eq(serial_read(line.serial, DATA), 'h');
	unplug(&line);
}

Test(hv_serial, registers_that_are_not_there)
{
	struct line line = plug_in();

	serial_write(line.serial, LSR, 0xFF);
	serial_write(line.serial, MSR, 0xFF);
	serial_write(line.serial, 8, 0xFF);
	cr_expect_eq(serial_read(line.serial, LSR), TX_EMPTY);
	cr_expect_eq(serial_read(line.serial, MSR), 0xB0);
	cr_expect_eq(serial_read(line.serial, 8), 0xFF);
	unplug(&line);
}
