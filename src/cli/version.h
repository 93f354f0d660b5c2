/* SPDX-License-Identifier: MIT */
#ifndef STRATA_CLI_VERSION_H
#define STRATA_CLI_VERSION_H

#define STRATA_VERSION "0.2"

#endif
