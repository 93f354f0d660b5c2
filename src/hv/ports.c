/* SPDX-License-Identifier: MIT */
#include "hv/ports.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hv/machine.h"
#include "util/bytes.h"

#define SERIAL_PORT 0x3F8u
#define SERIAL_IRQ  4u

enum err ports_init(struct ports *ports, int console_fd, struct err_why *why)
{
	enum err err;

	memset(ports, 0, sizeof(*ports));
	err = serial_create(console_fd, &ports->serial, why);
	if (err)
		return err;
	pthread_mutex_init(&ports->lock, NULL);
	rtc_init(&ports->rtc);
	power_init(&ports->power);
	return ERR_OK;
}

void ports_free(struct ports *ports)
{
	if (!ports->serial)
		return;
	serial_destroy(ports->serial);
	ports->serial = NULL;
	pthread_mutex_destroy(&ports->lock);
}

void ports_reset(struct ports *ports)
{
	pthread_mutex_lock(&ports->lock);
	serial_reset(ports->serial);
	rtc_init(&ports->rtc);
	power_init(&ports->power);
	ports->serial_line = false;
	pthread_mutex_unlock(&ports->lock);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool within(uint16_t port, unsigned first, unsigned count)
{
	return port >= first && port < first + count;
}

static bool is_power(uint16_t port)
{
	return within(port, POWER_PM1_EVENT, POWER_PM_PORTS) || port == POWER_KBD_DATA ||
	       port == POWER_KBD_COMMAND || within(port, POWER_PCI, POWER_PCI_PORTS);
}

/* Devices of one byte take wider accesses byte by byte, as the bus of a PC splits them. */
static uint8_t read_byte(struct ports *ports, uint16_t port)
{
	if (within(port, SERIAL_PORT, SERIAL_PORTS))
		return serial_read(ports->serial, port - SERIAL_PORT);
	if (within(port, RTC_PORT, RTC_PORTS))
		return rtc_read(&ports->rtc, port, clock_ns(CLOCK_REALTIME));
	return 0xFF;
}

static void write_byte(struct ports *ports, uint16_t port, uint8_t value)
{
	if (within(port, SERIAL_PORT, SERIAL_PORTS))
		serial_write(ports->serial, port - SERIAL_PORT, value);
	else if (within(port, RTC_PORT, RTC_PORTS))
		rtc_write(&ports->rtc, port, value, clock_ns(CLOCK_REALTIME));
}

static void read_one(struct ports *ports, uint16_t port, unsigned bytes, uint8_t *data)
{
	uint8_t value[4];

	if (!is_power(port)) {
		for (unsigned i = 0; i < bytes; i++)
			data[i] = read_byte(ports, (uint16_t)(port + i));
		return;
	}
	put_le32(value, power_read(&ports->power, port, bytes, clock_ns(CLOCK_MONOTONIC)));
	memcpy(data, value, bytes);
}

static enum power_event write_one(struct ports *ports, uint16_t port, unsigned bytes,
				  const uint8_t *data)
{
	uint8_t value[4] = {0};

	if (!is_power(port)) {
		for (unsigned i = 0; i < bytes; i++)
			write_byte(ports, (uint16_t)(port + i), data[i]);
		return POWER_NONE;
	}
	memcpy(value, data, bytes);
	return power_write(&ports->power, port, bytes, get_le32(value));
}

/* With the lock held. */
static void update_serial_line(struct ports *ports, const struct machine *machine)
{
	bool level = serial_interrupt(ports->serial);

	if (level == ports->serial_line)
		return;
	ports->serial_line = level;
	machine_irq(machine, SERIAL_IRQ, level);
}

void ports_in(struct ports *ports, const struct machine *machine, uint16_t port, unsigned bytes,
	      unsigned count, uint8_t *data)
{
	if (bytes > 4)
		return;
	pthread_mutex_lock(&ports->lock);
	for (unsigned i = 0; i < count; i++)
		read_one(ports, port, bytes, data + (size_t)i * bytes);
	update_serial_line(ports, machine);
	pthread_mutex_unlock(&ports->lock);
}

enum power_event ports_out(struct ports *ports, const struct machine *machine, uint16_t port,
			   unsigned bytes, unsigned count, const uint8_t *data)
{
	enum power_event event = POWER_NONE;

	if (bytes > 4)
		return POWER_NONE;
	pthread_mutex_lock(&ports->lock);
	for (unsigned i = 0; i < count && !event; i++)
		event = write_one(ports, port, bytes, data + (size_t)i * bytes);
	update_serial_line(ports, machine);
	pthread_mutex_unlock(&ports->lock);
	return event;
}

bool ports_console(struct ports *ports, const struct machine *machine, int fd)
{
	char buf[SERIAL_INPUT_BUFFER];
	bool there = true;
	size_t room;

	pthread_mutex_lock(&ports->lock);
	serial_output_ready(ports->serial);
	room = min_u64(serial_input_room(ports->serial), sizeof(buf));
	if (room) {
		ssize_t n = read(fd, buf, room);

		if (n > 0)
			serial_input(ports->serial, buf, (size_t)n);
		else
			there = n < 0 && (errno == EAGAIN || errno == EINTR);
	}
	update_serial_line(ports, machine);
	pthread_mutex_unlock(&ports->lock);
	return there;
}

short ports_console_events(struct ports *ports)
{
	short events = 0;

	pthread_mutex_lock(&ports->lock);
	if (serial_input_room(ports->serial))
		events |= POLLIN;
	if (serial_output_waits(ports->serial))
		events |= POLLOUT;
	pthread_mutex_unlock(&ports->lock);
	return events;
}
