/* SPDX-License-Identifier: MIT */

/* Names are data: what may be one, and where the VMs of this user are. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/store.h"
#include "util/text.h"
#include "util/utf8.h"

/* Controls, also those that turn the direction of text round, so that a name is what it looks. */
static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069);
}

static const char *bad_character(const char *name)
{
	uint32_t c;

	for (unsigned len; *name; name += len) {
		len = utf8_decode(name, &c);
		if (!len)
			return "is not valid UTF-8";
		if (is_control(c))
			return "has control characters";
		if (c == '/' || c == '\\')
			return "has a slash or backslash";
	}
	return NULL;
}

static const char *fault_of(const char *name)
{
	size_t len = strlen(name);
	struct guid guid;

	if (!len)
		return "is empty";
	if (len > SNAP_NAME_MAX)
		return "is longer than 128 bytes";
	if (bad_character(name))
		return bad_character(name);
	if (!strcmp(name, "current"))
		return "means where the VM is now";
	if (name[0] == '.' || name[0] == '-')
		return "begins with a dot or a dash";
	if (name[0] == ' ' || name[len - 1] == ' ')
		return "begins or ends with a space";
	if (guid_parse(name, &guid))
		return "looks like an id";
	return NULL;
}

enum err snap_check_name(const char *name, struct err_why *why)
{
	const char *fault = fault_of(name);
	char shown[80];

	if (!fault)
		return ERR_OK;
	return err_set(why, ERR_USAGE, "the name \"%s\" is not allowed: it %s",
		       text_escape(name, shown, sizeof(shown)), fault);
}

/* ---- places ---- */

static char *absolute(const char *path)
{
	char *folder, *out;

	if (*path == '/')
		return strdup(path);
	folder = getcwd(NULL, 0);
	out = folder ? store_name_path(folder, path) : NULL;
	free(folder);
	return out;
}

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static char *usual_home(void)
{
	const char *data = variable("XDG_DATA_HOME");
	const char *home = variable("HOME");

	if (geteuid() == 0)
		return strdup("/var/lib/strata");
	if (data && *data == '/')
		return store_name_path(data, "strata");
	return home ? store_name_path(home, ".local/share/strata") : NULL;
}

enum err snap_home(const char *given, char **out, struct err_why *why)
{
	const char *named = given ? given : variable("STRATA_HOME");

	*out = named ? absolute(named) : usual_home();
	return *out
		   ? ERR_OK
		   : err_set(why, ERR_USAGE, "where the VMs are cannot be told: there is no $HOME");
}

enum err snap_vm_dir(const char *home, const char *name, char **out, struct err_why *why)
{
	enum err e = snap_check_name(name, why);

	*out = e ? NULL : store_name_path(home, name);
	return e || *out ? e : err_set(why, ERR_NOMEM, "out of memory");
}

struct listing {
	const char *home;
	char **names;
	unsigned count;
	bool failed;
};

static bool is_vm(const char *home, const char *name)
{
	struct file_info info;
	char *dir = store_name_path(home, name);
	char *catalogue = dir ? store_name_path(dir, STORE_CATALOGUE) : NULL;
	char *copy = dir ? store_name_path(dir, CATALOGUE_COPY) : NULL;
	bool found = catalogue && !file_ns_info(&file_ns_posix, catalogue, &info, NULL);

	/* one that has lost its catalogue is to be seen, so that it can be repaired */
	found |= copy && !file_ns_info(&file_ns_posix, copy, &info, NULL);
	free(copy);
	free(catalogue);
	free(dir);
	return found;
}

static bool add_vm(void *arg, const char *name)
{
	struct listing *list = arg;

	if (snap_check_name(name, NULL) || !is_vm(list->home, name))
		return true;
	char **grown = realloc(list->names, (list->count + 1) * sizeof(char *));
	char *copy = strdup(name);
	if (grown)
		list->names = grown;
	if (!grown || !copy) {
		free(copy);
		list->failed = true;
		return false;
	}
	list->names[list->count++] = copy;
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

enum err snap_list_vms(const char *home, char ***names, unsigned *count, struct err_why *why)
{
	struct listing list = {.home = home};
	struct err_why here = {0};
	enum err e = file_ns_list(&file_ns_posix, home, add_vm, &list, &here);

	if (e == ERR_NOENT)
		e = ERR_OK;
	else if (e && why)
		*why = here;
	if (!e && list.failed)
		e = err_set(why, ERR_NOMEM, "out of memory");
	if (e) {
		for (unsigned i = 0; i < list.count; i++)
			free(list.names[i]);
		free(list.names);
		return e;
	}
	if (list.count)
		qsort(list.names, list.count, sizeof(char *), by_name);
	*names = list.names;
	*count = list.count;
	return ERR_OK;
}
