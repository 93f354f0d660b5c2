/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_RANDOM_H
#define STRATA_TESTS_RANDOM_H

/*
 * Reproducible pseudo-random numbers for tests (splitmix64): the same seed gives the same
 * sequence on every machine. Not for anything that must be unpredictable.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

struct rng rng_seed(uint64_t seed);
uint64_t rng_next(struct rng *rng);
/* 0 .. bound - 1; 0 when `bound` is 0. */
uint64_t rng_below(struct rng *rng, uint64_t bound);
/* low .. high, both included. */
uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high);
/* True `percent` times in a hundred. */
bool rng_percent(struct rng *rng, unsigned percent);
void rng_fill(struct rng *rng, void *buf, size_t len_bytes);

/* One well-mixed number from another, without state. */
uint64_t rng_mix(uint64_t value);

#endif
