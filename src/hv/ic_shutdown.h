/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_IC_SHUTDOWN_H
#define STRATA_HV_IC_SHUTDOWN_H

/*
 * Shutdown: ask the guest to power off or to restart in good order. The answer comes first, then
 * it does so, which ends in ACPI's S5 or in a reset (power.h); how long that may take is for the
 * caller to judge. What is asked before a driver is there is sent when it is.
 *
 * Threads: the bus's.
 */

#include "hv/ic.h"
#include "hv/integration.h"

struct ic_shutdown {
	enum shutdown_state state;
	bool there;       /* a driver */
	bool due, reboot; /* what to send */
};

extern const struct ic_component ic_shutdown;

void shutdown_ask(struct ic_shutdown *shutdown, bool reboot);
void shutdown_forget(struct ic_shutdown *shutdown);

#endif
