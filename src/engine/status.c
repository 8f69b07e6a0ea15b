/*
 * status.c: texts of errors; what a failed assertion does.
 */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

uds_status
uds_error_set(uds_error *error, uds_status status, int system_errno, const char *format, ...)
{
	va_list args;

	if (error == NULL)
		return status;
	error->status = status;
	error->system_errno = system_errno;
	error->detail[0] = '\0';
	error->hint[0] = '\0';
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return status;
}

void
uds_error_detail(uds_error *error, const char *format, ...)
{
	va_list args;

	if (error == NULL)
		return;
	va_start(args, format);
	vsnprintf(error->detail, sizeof(error->detail), format, args);
	va_end(args);
}

void
uds_error_hint(uds_error *error, const char *format, ...)
{
	va_list args;

	if (error == NULL)
		return;
	va_start(args, format);
	vsnprintf(error->hint, sizeof(error->hint), format, args);
	va_end(args);
}

#ifdef UDS_ASSERTIONS
void
uds_assert_failed(const char *expression, const char *file, int line)
{
	fprintf(stderr, "assertion failed: %s at %s:%d\n", expression, file, line);
	abort();
}
#endif
