/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_COLUMNS_H
#define STRATA_VMCTL_COLUMNS_H

/* Tables of texts that are not ASCII. */

#include <stdbool.h>

/* Take the user's locale for what follows; true when it is one of UTF-8. */
bool columns_begin(void);
/* How many columns a terminal gives to `text`, which out_name has escaped. */
unsigned columns_of(const char *text);
/* Print `text`, and blanks up to `columns`. */
void columns_print(const char *text, unsigned columns);

#endif
