/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_FAULT_H
#define STRATA_BLOCK_FAULT_H

/*
 * Fault injection below a format: a namespace that passes everything to another one until a rule
 * matches. Rules name an operation and an event (file.h), not a call site.
 *
 * Threads: rules are set before I/O starts; the counters are atomic.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/file.h"

#define FAULT_ANY (-1)

struct fault_rule {
	int op;        /* enum file_op, or FAULT_ANY */
	int event;     /* enum file_event, or FAULT_ANY */
	uint64_t nth;  /* fail the nth match, counted from 1 */
	bool sticky;   /* and every one after it */
	int sys_errno; /* EIO, ENOSPC, EDQUOT, ... */
	bool partial;  /* WRITE: the first half lands before the failure */
};

struct fault_ns;

/* Wraps `below`, which must outlive it. */
struct fault_ns *fault_ns_new(struct file_ns *below);
void fault_ns_free(struct fault_ns *ns);
struct file_ns *fault_ns_base(struct fault_ns *ns);
/* One rule at a time; NULL: none. Resets the counters. */
void fault_ns_set(struct fault_ns *ns, const struct fault_rule *rule);
/* How many requests matched the rule so far (or all requests, with no rule). */
uint64_t fault_ns_matches(const struct fault_ns *ns);
/* Whether the rule has fired. */
bool fault_ns_fired(const struct fault_ns *ns);

#endif
