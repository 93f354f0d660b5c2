/* SPDX-License-Identifier: MIT */
#include "block/iov.h"

#include <string.h>

#include "util/bytes.h"

bool iov_sum(const struct iovec *iov, unsigned count, uint64_t *out)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		if (!checked_add(sum, iov[i].iov_len, &sum))
			return false;
	*out = sum;
	return true;
}

unsigned iov_seek(const struct iovec *iov, unsigned count, uint64_t off, size_t *within)
{
	unsigned i = 0;

	while (i < count && off >= iov[i].iov_len)
		off -= iov[i++].iov_len;
	*within = (size_t)off;
	return i;
}

bool iov_is_aligned(const struct iovec *iov, unsigned count, uint32_t address_align,
		    uint32_t len_align)
{
	uintptr_t addresses = 0;
	size_t lens = 0;

	for (unsigned i = 0; i < count; i++) {
		addresses |= (uintptr_t)iov[i].iov_base;
		lens |= iov[i].iov_len;
	}
	return !(addresses & (address_align - 1)) && !(lens & (len_align - 1));
}

void iov_gather(const struct iovec *iov, unsigned count, void *out)
{
	char *to = out;

	for (unsigned i = 0; i < count; i++) {
		if (iov[i].iov_len)
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

void iov_scatter(const struct iovec *iov, unsigned count, const void *in)
{
	const char *from = in;

	for (unsigned i = 0; i < count; i++) {
		if (iov[i].iov_len)
			memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from += iov[i].iov_len;
	}
}

void iov_zero_from(const struct iovec *iov, unsigned count, uint64_t off)
{
	size_t within;

	for (unsigned i = iov_seek(iov, count, off, &within); i < count; i++) {
		memset((char *)iov[i].iov_base + within, 0, iov[i].iov_len - within);
		within = 0;
	}
}

unsigned iov_slice(const struct iovec *iov, unsigned count, uint64_t off, uint64_t len,
		   struct iovec *out)
{
	size_t within;
	unsigned n = 0;

	for (unsigned i = iov_seek(iov, count, off, &within); i < count && len; i++, within = 0) {
		size_t have = iov[i].iov_len - within;

		if (!have)
			continue;
		if (have > len)
			have = (size_t)len;
		out[n++] = (struct iovec){(char *)iov[i].iov_base + within, have};
		len -= have;
	}
	return n;
}

void iov_zero_range(const struct iovec *iov, unsigned count, uint64_t off, uint64_t len)
{
	size_t within;

	for (unsigned i = iov_seek(iov, count, off, &within); i < count && len; i++, within = 0) {
		size_t have = iov[i].iov_len - within;

		if (have > len)
			have = (size_t)len;
		memset((char *)iov[i].iov_base + within, 0, have);
		len -= have;
	}
}
