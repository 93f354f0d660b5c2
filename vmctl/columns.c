/* SPDX-License-Identifier: MIT */
#include "vmctl/columns.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "util/utf8.h"

bool columns_begin(void)
{
	setlocale(LC_CTYPE, "");
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

unsigned columns_of(const char *text)
{
	unsigned columns = 0, taken;
	uint32_t c = 0;

	for (; *text; text += taken) {
		int width;

		taken = utf8_decode(text, &c);
		width = taken ? wcwidth((wchar_t)c) : 1;
		columns += width < 0 ? 1 : (unsigned)width; /* the locale does not know it */
		taken = taken ? taken : 1;
	}
	return columns;
}

void columns_print(const char *text, unsigned columns)
{
	unsigned used = columns_of(text);

	printf("%s%*s", text, used < columns ? (int)(columns - used) : 0, "");
}
