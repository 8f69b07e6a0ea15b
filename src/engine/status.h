/*
 * status.h: results, error details and assertions of the engine.
 */
#ifndef UDS_STATUS_H
#define UDS_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The engine is not part of the interface of the shared library. */
#pragma GCC visibility push(hidden)

/* Result of every engine call that can fail.  Values are fixed: replies carry them. */
typedef enum uds_status
{
	UDS_OK = 0,
	UDS_NOT_FOUND = 1, /* 1..9: normal answers, not errors */
	UDS_STOPPED = 2,   /* the host asked to stop; return at once */
	UDS_PENDING = 3,   /* a page has to be read, or room to be made, before this can go on */
	UDS_OVERFLOW = 4,  /* a size limit was reached; nothing was stored; the object is intact */
	UDS_DUPLICATE = 5, /* the name is already there as an exact entry */

	UDS_ERR_ARGUMENT = 10,  /* 10..19: the caller broke the contract */
	UDS_ERR_BAD_STATE = 11, /* the operation is not possible for this object */

	UDS_ERR_STATE = 20,     /* 20..29: offline, failed, suspended, no room */
	UDS_ERR_READ_ONLY = 21, /* the index answers, but cannot store */
	UDS_ERR_IN_USE = 22,    /* another server holds the files */
	UDS_ERR_MISMATCH = 23,  /* files and settings do not fit each other */

	UDS_ERR_CORRUPT = 30, /* 30..39: stored data cannot be used */

	UDS_ERR_IO = 40,       /* 40..49: the system refused; uds_error.system_errno says why */
	UDS_ERR_NO_SPACE = 41, /* ENOSPC or EDQUOT */

	UDS_ERR_INTERNAL = 50 /* an invariant is broken: the index is marked failed */
} uds_status;

#define UDS_ERROR_TEXT_BYTES 256

/*
 * The rest of the story behind a status: filled by the call that fails first, in the caller's
 * memory, passed up unchanged.  Texts follow PostgreSQL's error style; empty when there is
 * nothing to say.
 */
typedef struct uds_error
{
	uds_status status;
	int32_t system_errno;
	char message[UDS_ERROR_TEXT_BYTES];
	char detail[UDS_ERROR_TEXT_BYTES];
	char hint[UDS_ERROR_TEXT_BYTES];
} uds_error;

#define UDS_MUST_CHECK   __attribute__((warn_unused_result))
#define UDS_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define UDS_LIKELY(x)    __builtin_expect(!!(x), 1)
#define UDS_UNLIKELY(x)  __builtin_expect(!!(x), 0)
#define UDS_CACHE_LINE   64
#define UDS_ALIGN(n, a)  (((n) + ((a) -1)) & ~((size_t) (a) -1))
#define UDS_MIN(a, b)    ((a) < (b) ? (a) : (b))
#define UDS_MAX(a, b)    ((a) > (b) ? (a) : (b))
#define UDS_NO_CHAPTER   UINT64_MAX

#ifdef UDS_ASSERTIONS
void uds_assert_failed(const char *expression, const char *file, int line)
	__attribute__((noreturn));
#define UDS_ASSERT(x) ((x) ? (void) 0 : uds_assert_failed(#x, __FILE__, __LINE__))
#else
#define UDS_ASSERT(x) ((void) sizeof(x))
#endif

/*
 * Fill *error (may be NULL) and return status, so that a failing call can end with
 * "return uds_error_set(error, UDS_ERR_IO, errno, ...)".  Clears detail and hint.
 */
uds_status uds_error_set(uds_error *error, uds_status status, int system_errno, const char *format,
                         ...) UDS_PRINTF(4, 5);
void uds_error_detail(uds_error *error, const char *format, ...) UDS_PRINTF(2, 3);
void uds_error_hint(uds_error *error, const char *format, ...) UDS_PRINTF(2, 3);

/* An error in the sense of the table above: everything from UDS_ERR_ARGUMENT on. */
static inline bool
uds_status_is_error(uds_status status)
{
	return status >= UDS_ERR_ARGUMENT;
}

#pragma GCC visibility pop

#endif
