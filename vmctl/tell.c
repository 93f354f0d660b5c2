/* SPDX-License-Identifier: MIT */
#include "vmctl/tell.h"

#include "cli/out.h"
#include "vmctl/call.h"

int tell_vm(const char *home, const char *name, const char *request, const char *state, bool json)
{
	int rc = call_vm(home, name, json_pack("{s:s}", "do", request), CALL_SECONDS, NULL);

	if (!rc && json)
		json_emit(json_pack("{s:o, s:s}", "name", json_text(name), "state", state));
	return rc;
}
