/*
 * command.h: control commands, run by the chapter writer one at a time.
 */
#ifndef UDSPG_COMMAND_H
#define UDSPG_COMMAND_H

#include "postgres.h"

#include "../engine/index.h"

typedef enum udspg_command_kind
{
	UDSPG_COMMAND_CHECKPOINT = 1,
	UDSPG_COMMAND_RESET = 2,
	UDSPG_COMMAND_SUSPEND = 3, /* and save */
	UDSPG_COMMAND_HOLD = 4,    /* suspend, without a save */
	UDSPG_COMMAND_RESUME = 5,
	UDSPG_COMMAND_REBUILD = 6,
	UDSPG_COMMAND_CONVERT = 7,
	UDSPG_COMMAND_REDUCE = 8,
	UDSPG_COMMAND_MOVE = 9 /* argument: the directory */
} udspg_command_kind;

/*
 * Have the chapter writer run a command and wait for its end.  Throws the command's error, or
 * object_not_in_prerequisite_state when there is no writer.  When the wait is cancelled, a
 * conversion or a move is interrupted; any other command goes on.
 */
extern void udspg_command_run(udspg_command_kind kind);

/* The same for a command with an argument of less than MAXPGPATH bytes. */
extern void udspg_command_run_with(udspg_command_kind kind, const char *argument);

/* ---- chapter writer ---- */

/* Is a command waiting?  Its kind and number. */
extern bool udspg_command_peek(udspg_command_kind *kind, uint64 *number);

/* Argument of the command that waits; empty if it has none. */
extern void udspg_command_argument(char argument[MAXPGPATH]);

/* Does a command wait for which a recovery is interrupted?  Cheap. */
extern bool udspg_command_interrupts(void);

/* Has the caller of command number gone, and wants it interrupted?  Cheap. */
extern bool udspg_command_is_cancelled(uint64 number);

/* Publish the result of command number and wake those who wait for it. */
extern void udspg_command_finish(uint64 number, uds_status status, const uds_error *error);

#endif
