/*
 * name.c: the name of a digest.
 *
 * SipHash-2-4 with 128 bits of output, under the key of this index, over
 *
 *   database oid u32 | length of the digest u8 | digest
 *
 * so that names are uniform whatever the digests are, nobody can choose them, and databases and
 * digests of different lengths are apart.
 */
#include "postgres.h"

#include <sodium.h>

#include "miscadmin.h"

#include "arguments.h"
#include "session.h"
#include "shared.h"

#define UDSPG_KEY_BYTES 16

_Static_assert(crypto_shorthash_siphashx24_BYTES == UDS_NAME_BYTES, "a hash is a name");
_Static_assert(crypto_shorthash_siphashx24_KEYBYTES == UDSPG_KEY_BYTES, "the key of the index");

void
udspg_name_from_digest(const char *digest, int length, uds_name *name)
{
	uint8_t key[UDSPG_KEY_BYTES];
	unsigned char message[sizeof(uint32) + 1 + UDSPG_DIGEST_MAX];
	uint32 database = MyDatabaseId;

	if (length < UDSPG_DIGEST_MIN || length > UDSPG_DIGEST_MAX)
		ereport(ERROR,
		        errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("digest must be %d to %d bytes long", UDSPG_DIGEST_MIN, UDSPG_DIGEST_MAX),
		        errdetail("It is %d bytes long.", length),
		        errhint("Use for example sha256(data)."));

	udspg_require_loaded();
	/* The key is not there before the index was loaded for the first time. */
	while (udspg_index() == NULL || uds_index_name_key(udspg_index(), key) != UDS_OK)
		udspg_session_wait_until_ready();

	memcpy(message, &database, sizeof(database));
	message[sizeof(database)] = (unsigned char) length;
	memcpy(message + sizeof(database) + 1, digest, length);
	if (crypto_shorthash_siphashx24(name->bytes, message, sizeof(database) + 1 + length, key) != 0)
		elog(ERROR, "could not hash a digest");
}
