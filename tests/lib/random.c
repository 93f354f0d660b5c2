/* SPDX-License-Identifier: MIT */
#include "tests/lib/random.h"

#include <string.h>

#define GOLDEN 0x9e3779b97f4a7c15ull

uint64_t rng_mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
	value = (value ^ value >> 27) * 0x94d049bb133111ebull;
	return value ^ value >> 31;
}

struct rng rng_seed(uint64_t seed)
{
	return (struct rng){.state = rng_mix(seed + GOLDEN)};
}

uint64_t rng_next(struct rng *rng)
{
	rng->state += GOLDEN;
	return rng_mix(rng->state);
}

uint64_t rng_below(struct rng *rng, uint64_t bound)
{
	return bound ? rng_next(rng) % bound : 0;
}

uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high)
{
	return low + rng_below(rng, high - low + 1);
}

bool rng_percent(struct rng *rng, unsigned percent)
{
	return rng_below(rng, 100) < percent;
}

void rng_fill(struct rng *rng, void *buf, size_t len_bytes)
{
	uint8_t *p = buf;

	for (size_t done = 0; done < len_bytes; done += sizeof(uint64_t)) {
		uint64_t word = rng_next(rng);
		size_t part = len_bytes - done < sizeof(word) ? len_bytes - done : sizeof(word);

		memcpy(p + done, &word, part);
	}
}
