/* SPDX-License-Identifier: MIT */
#include "hv/linux_boot.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/memory.h"
#include "util/bytes.h"

/* Below 0x9FC00 everything is ours until the kernel has started. */
enum {
	GDT_AT = 0x1000,
	PARAMS_AT = 0x2000,
	CMDLINE_AT = 0x3000,
	CMDLINE_MAX = 0x2000,
	STACK_TOP = 0x8000,
	PML4_AT = 0x9000,
	PDPT_AT = 0xA000,
	PD_AT = 0xB000, /* four of them: 4 GiB */
};

#define LOW_RAM_END  0x9FC00u
#define KERNEL_AT    0x1000000ull
#define LOADED_HIGH  1u
#define ENTRY_64     0x200u /* from the load address */
#define XLF_KERNEL64 1u

/* Offsets in the file, and in boot_params (Documentation/x86/boot.rst, zero-page.rst). */
enum {
	E820_COUNT = 0x1E8,
	SETUP_SECTS = 0x1F1,
	VID_MODE = 0x1FA,
	JUMP_LEN = 0x201,
	MAGIC = 0x202,
	VERSION = 0x206,
	LOADER = 0x210,
	LOADFLAGS = 0x211,
	CODE32 = 0x214,
	INITRD = 0x218,
	INITRD_SIZE = 0x21C,
	CMDLINE = 0x228,
	INITRD_MAX = 0x22C,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	INIT_SIZE = 0x260,
	HEADER_END = 0x290,
	E820 = 0x2D0,
	RSDP_ADDR = 0x070,
};

#define MIN_VERSION 0x20Cu /* xloadflags */
#define HEAD_BYTES  1024u  /* of the file: boot sector and header */

struct kernel {
	uint8_t head[HEAD_BYTES];
	uint64_t code_off; /* of the protected-mode part, in the file */
	uint64_t code_bytes;
	uint64_t init_size; /* memory it needs from its load address on */
	uint64_t cmdline_max;
	uint64_t initrd_max; /* highest address of the initrd's last byte */
	bool long_mode;
};

static enum err read_exactly(int fd, void *buf, size_t len, uint64_t off, const char *what,
			     struct err_why *why)
{
	uint8_t *to = buf;

	while (len) {
		ssize_t n = pread(fd, to, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(why, errno, "reading the %s", what);
		if (!n)
			return err_set(why, ERR_CORRUPT, "the %s ends early, at byte %llu", what,
				       (unsigned long long)off);
		to += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return ERR_OK;
}

static enum err file_bytes(int fd, const char *what, uint64_t *out, struct err_why *why)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_sys(why, errno, "looking at the %s", what);
	if (!S_ISREG(st.st_mode))
		return err_set(why, ERR_USAGE, "the %s is not a file", what);
	*out = (uint64_t)st.st_size;
	return ERR_OK;
}

static enum err parse(struct kernel *kernel, uint64_t file_size, struct err_why *why)
{
	const uint8_t *head = kernel->head;
	unsigned sects = head[SETUP_SECTS] ? head[SETUP_SECTS] : 4;
	uint32_t version = get_le16(head + VERSION);

	if (memcmp(head + MAGIC, "HdrS", 4) != 0)
		return err_set(why, ERR_CORRUPT,
			       "this is not a Linux kernel (bzImage): no \"HdrS\" at 0x202");
	if (version < MIN_VERSION)
		return err_set(why, ERR_UNSUPPORTED,
			       "the kernel's boot protocol is %u.%02u; 2.12 or newer is needed",
			       version >> 8, version & 0xFF);
	if (!(head[LOADFLAGS] & LOADED_HIGH))
		return err_set(why, ERR_UNSUPPORTED, "the kernel is a zImage, which loads low");
	kernel->code_off = (sects + 1) * 512ull;
	if (kernel->code_off >= file_size)
		return err_set(why, ERR_CORRUPT,
			       "the kernel ends at byte %llu, before its code at %llu",
			       (unsigned long long)file_size, (unsigned long long)kernel->code_off);
	kernel->code_bytes = file_size - kernel->code_off;
	kernel->init_size = max_u64(get_le32(head + INIT_SIZE), kernel->code_bytes);
	kernel->cmdline_max = min_u64(get_le32(head + CMDLINE_SIZE), CMDLINE_MAX - 1);
	kernel->initrd_max = get_le32(head + INITRD_MAX);
	kernel->long_mode = get_le16(head + XLOADFLAGS) & XLF_KERNEL64;
	return ERR_OK;
}

static enum err load_kernel(struct memory *memory, int fd, struct kernel *kernel,
			    struct err_why *why)
{
	uint64_t size;
	void *to;
	enum err err = file_bytes(fd, "kernel", &size, why);

	if (!err && size < HEAD_BYTES)
		err = err_set(why, ERR_CORRUPT, "this is not a Linux kernel: it has %llu bytes",
			      (unsigned long long)size);
	if (!err)
		err = read_exactly(fd, kernel->head, HEAD_BYTES, 0, "kernel", why);
	if (!err)
		err = parse(kernel, size, why);
	if (err)
		return err;
	if (!memory_at(memory, KERNEL_AT, kernel->init_size, MEMORY_WRITE))
		return err_set(why, ERR_RANGE,
			       "memory is too small: the kernel alone needs %llu MiB",
			       (unsigned long long)((KERNEL_AT + kernel->init_size) >> 20) + 1);
	to = memory_at(memory, KERNEL_AT, kernel->code_bytes, MEMORY_WRITE);
	return read_exactly(fd, to, kernel->code_bytes, kernel->code_off, "kernel", why);
}

/* As high as the kernel allows, so that it is out of its way while it unpacks itself. */
static enum err load_initrd(struct memory *memory, int fd, const struct kernel *kernel,
			    uint64_t *at, uint64_t *size, struct err_why *why)
{
	struct memory_part part[2];
	uint64_t top, floor = KERNEL_AT + kernel->init_size;
	enum err err = file_bytes(fd, "initrd", size, why);

	if (err)
		return err;
	memory_parts(memory, part);
	top = min_u64(part[0].size_bytes, kernel->initrd_max + 1);
	if (top < floor || top - floor < *size + GUEST_PAGE)
		return err_set(why, ERR_RANGE,
			       "memory is too small: kernel and initrd need %llu MiB",
			       (unsigned long long)((floor + *size) >> 20) + 2);
	*at = round_down(top - *size, GUEST_PAGE);
	return read_exactly(fd, memory_at(memory, *at, *size, MEMORY_WRITE), *size, 0, "initrd",
			    why);
}

static void e820_add(uint8_t *params, uint64_t addr, uint64_t size, uint32_t type)
{
	uint8_t *entry = params + E820 + 20ul * params[E820_COUNT]++;

	put_le64(entry, addr);
	put_le64(entry + 8, size);
	put_le32(entry + 16, type);
}

static void fill_e820(const struct memory *memory, uint8_t *params)
{
	enum { RAM = 1, RESERVED = 2 };
	struct memory_part part[2];
	unsigned parts = memory_parts(memory, part);

	e820_add(params, 0, LOW_RAM_END, RAM);
	e820_add(params, LOW_RAM_END, 0x100000 - LOW_RAM_END, RESERVED);
	e820_add(params, 0x100000, part[0].size_bytes - 0x100000, RAM);
	if (parts > 1)
		e820_add(params, part[1].gpa, part[1].size_bytes, RAM);
}

static void write_params(struct memory *memory, const struct kernel *kernel, uint64_t initrd,
			 uint64_t initrd_size)
{
	uint8_t params[GUEST_PAGE] = {0};
	/* the header's own length; what lies behind it is not a header's */
	size_t end = min_u64(MAGIC + kernel->head[JUMP_LEN], HEADER_END);

	memcpy(params + SETUP_SECTS, kernel->head + SETUP_SECTS, end - SETUP_SECTS);
	put_le64(params + RSDP_ADDR, LINUX_ACPI_AREA);
	put_le16(params + VID_MODE, 0xFFFF);
	params[LOADER] = 0xFF;
	put_le32(params + CODE32, (uint32_t)KERNEL_AT);
	put_le32(params + INITRD, (uint32_t)initrd);
	put_le32(params + INITRD_SIZE, (uint32_t)initrd_size);
	put_le32(params + CMDLINE, CMDLINE_AT);
	fill_e820(memory, params);
	memory_write(memory, PARAMS_AT, params, sizeof(params));
}

static void write_gdt(struct memory *memory, bool long_mode)
{
	/* flat, present, ring 0: code (64-bit or 32-bit), data */
	const uint64_t code = long_mode ? 0x00AF9B000000FFFFull : 0x00CF9B000000FFFFull;
	uint8_t gdt[32] = {0};

	put_le64(gdt + LINUX_CODE_SELECTOR, code);
	put_le64(gdt + LINUX_DATA_SELECTOR, 0x00CF93000000FFFFull);
	memory_write(memory, GDT_AT, gdt, sizeof(gdt));
}

/* The first 4 GiB, one to one, in pages of 2 MiB. */
static void write_page_table(struct memory *memory)
{
	enum { PRESENT_WRITABLE = 3, LARGE = 0x80 };
	uint8_t page[GUEST_PAGE] = {0};

	put_le64(page, PDPT_AT | PRESENT_WRITABLE);
	memory_write(memory, PML4_AT, page, sizeof(page));
	for (unsigned i = 0; i < 4; i++)
		put_le64(page + 8ul * i, (PD_AT + i * GUEST_PAGE) | PRESENT_WRITABLE);
	memory_write(memory, PDPT_AT, page, sizeof(page));
	for (unsigned i = 0; i < 4; i++) {
		for (uint64_t j = 0; j < 512; j++)
			put_le64(page + 8 * j, (i * 512 + j) << 21 | LARGE | PRESENT_WRITABLE);
		memory_write(memory, PD_AT + i * GUEST_PAGE, page, sizeof(page));
	}
}

static enum err write_cmdline(struct memory *memory, const struct kernel *kernel,
			      const char *cmdline, struct err_why *why)
{
	size_t len = strlen(cmdline);

	if (len > kernel->cmdline_max)
		return err_set(why, ERR_RANGE,
			       "the command line has %zu characters; this kernel takes %llu", len,
			       (unsigned long long)kernel->cmdline_max);
	memory_write(memory, CMDLINE_AT, cmdline, len + 1);
	return ERR_OK;
}

enum err linux_boot_load(struct memory *memory, int kernel_fd, int initrd_fd, const char *cmdline,
			 struct linux_entry *out, struct err_why *why)
{
	struct kernel kernel;
	uint64_t initrd = 0, initrd_size = 0;
	enum err err = load_kernel(memory, kernel_fd, &kernel, why);

	if (!err && initrd_fd >= 0)
		err = load_initrd(memory, initrd_fd, &kernel, &initrd, &initrd_size, why);
	if (!err)
		err = write_cmdline(memory, &kernel, cmdline ? cmdline : "", why);
	if (err)
		return err;
	write_params(memory, &kernel, initrd, initrd_size);
	write_gdt(memory, kernel.long_mode);
	if (kernel.long_mode)
		write_page_table(memory);
	*out = (struct linux_entry){
	    .long_mode = kernel.long_mode,
	    .ip = kernel.long_mode ? KERNEL_AT + ENTRY_64 : KERNEL_AT,
	    .params = PARAMS_AT,
	    .stack = STACK_TOP,
	    .page_table = PML4_AT,
	    .gdt = GDT_AT,
	    .gdt_limit = 31,
	};
	return ERR_OK;
}
