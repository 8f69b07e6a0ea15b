/*
 * sim_disk.c: see sim_disk.h.
 */
#include "sim_disk.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 128 /* of all directories */

typedef struct contents
{
	uint8_t *data;
	size_t size;
	size_t capacity; /* bytes between size and capacity are zero */
} contents;

/* A change that was not synced; data is NULL for a truncation to offset. */
typedef struct change
{
	uint8_t *data;
	size_t bytes;
	uint64_t offset;
} change;

struct sim_inode
{
	contents seen;
	contents durable;
	change *changes;
	size_t change_count;
	size_t change_capacity;
	sim_inode *next; /* of all inodes of the disk */
};

typedef struct directory_entry
{
	char name[SIM_FILE_NAME_BYTES];
	sim_inode *inode;
} directory_entry;

typedef struct directory
{
	directory_entry entries[ENTRIES_MAX];
	uint32_t count;
} directory;

/* A change of the directory that was not synced: remove from if it is given, then enter inode. */
typedef struct directory_change
{
	char from[SIM_FILE_NAME_BYTES];
	char to[SIM_FILE_NAME_BYTES];
	sim_inode *inode;
} directory_change;

struct sim_disk
{
	uds_random *random;
	directory seen;
	directory durable;
	directory_change *changes;
	size_t change_count;
	size_t change_capacity;
	sim_inode *inodes;
	sim_losses losses;
};

/* ---- contents ---------------------------------------------------------------------------------- */

static void
resize_contents(contents *contents, size_t size)
{
	if (size > contents->capacity)
	{
		size_t capacity = size + size / 2 + 4096;

		contents->data = realloc(contents->data, capacity);
		memset(contents->data + contents->capacity, 0, capacity - contents->capacity);
		contents->capacity = capacity;
	}
	if (size < contents->size)
		memset(contents->data + size, 0, contents->size - size);
	contents->size = size;
}

static void
write_contents(contents *contents, const uint8_t *data, size_t bytes, uint64_t offset)
{
	if (bytes == 0)
		return;
	if (offset + bytes > contents->size)
		resize_contents(contents, offset + bytes);
	memcpy(contents->data + offset, data, bytes);
}

static void
copy_contents(contents *to, const contents *from)
{
	resize_contents(to, from->size);
	if (from->size > 0)
		memcpy(to->data, from->data, from->size);
}

/* Copy a range of what one has to the other, if both have it; nothing there is zero. */
static void
copy_range(contents *to, const contents *from, uint64_t offset, size_t bytes)
{
	for (uint64_t i = offset; i < offset + bytes && i < to->size; i++)
		to->data[i] = i < from->size ? from->data[i] : 0;
}

/* ---- files ------------------------------------------------------------------------------------- */

static change *
add_change(sim_inode *inode)
{
	if (inode->change_count == inode->change_capacity)
	{
		inode->change_capacity = inode->change_capacity * 2 + 16;
		inode->changes = realloc(inode->changes, inode->change_capacity * sizeof(change));
	}
	return &inode->changes[inode->change_count++];
}

static void
forget_changes(sim_inode *inode)
{
	for (size_t i = 0; i < inode->change_count; i++)
		free(inode->changes[i].data);
	inode->change_count = 0;
}

/* Bytes of a change from position on that lie in one sector. */
static size_t
piece_at(const change *change, size_t position)
{
	size_t left = SIM_SECTOR_BYTES - (change->offset + position) % SIM_SECTOR_BYTES;

	return left < change->bytes - position ? left : change->bytes - position;
}

uint64_t
sim_inode_size(const sim_inode *inode)
{
	return inode->seen.size;
}

size_t
sim_inode_read(const sim_inode *inode, void *buffer, size_t bytes, uint64_t offset)
{
	size_t there;

	if (offset >= inode->seen.size)
		return 0;
	there = inode->seen.size - offset;
	if (bytes > there)
		bytes = there;
	memcpy(buffer, inode->seen.data + offset, bytes);
	return bytes;
}

void
sim_inode_write(sim_inode *inode, const void *data, size_t bytes, uint64_t offset)
{
	change *new;

	if (bytes == 0)
		return;
	new = add_change(inode);
	new->data = malloc(bytes);
	memcpy(new->data, data, bytes);
	new->bytes = bytes;
	new->offset = offset;
	write_contents(&inode->seen, data, bytes, offset);
}

void
sim_inode_truncate(sim_inode *inode, uint64_t bytes)
{
	*add_change(inode) = (change){ .offset = bytes };
	resize_contents(&inode->seen, bytes);
}

void
sim_inode_sync(sim_inode *inode)
{
	for (size_t i = 0; i < inode->change_count; i++)
	{
		change *change = &inode->changes[i];

		if (change->data == NULL)
			resize_contents(&inode->durable, change->offset);
		else
			write_contents(&inode->durable, change->data, change->bytes, change->offset);
	}
	forget_changes(inode);
}

void
sim_disk_fail_sync(sim_disk *disk, sim_inode *inode)
{
	bool is_reverted = uds_random_one_in(disk->random, 2);

	for (size_t i = 0; i < inode->change_count; i++)
	{
		change *change = &inode->changes[i];

		if (change->data == NULL)
			resize_contents(&inode->durable, change->offset);
		for (size_t at = 0, bytes; change->data != NULL && at < change->bytes; at += bytes)
		{
			bytes = piece_at(change, at);
			if (uds_random_one_in(disk->random, 2))
				write_contents(&inode->durable, change->data + at, bytes, change->offset + at);
		}
	}
	disk->losses.reverted_syncs += is_reverted;
	for (size_t i = 0; is_reverted && i < inode->change_count; i++)
		copy_range(&inode->seen,
		           &inode->durable,
		           inode->changes[i].offset,
		           inode->changes[i].bytes);
	forget_changes(inode);
}

/* ---- directory ----------------------------------------------------------------------------------- */

static directory_entry *
find_entry(directory *directory, const char *name)
{
	for (uint32_t i = 0; i < directory->count; i++)
	{
		if (strcmp(directory->entries[i].name, name) == 0)
			return &directory->entries[i];
	}
	return NULL;
}

static void
remove_entry(directory *directory, const char *name)
{
	directory_entry *entry = find_entry(directory, name);

	if (entry != NULL)
		*entry = directory->entries[--directory->count];
}

static void
apply_directory_change(directory *directory, const directory_change *change)
{
	directory_entry *entry;

	if (change->from[0] != '\0')
		remove_entry(directory, change->from);
	if (change->inode == NULL)
		return;
	entry = find_entry(directory, change->to);
	if (entry == NULL)
	{
		if (directory->count == ENTRIES_MAX)
			abort();
		entry = &directory->entries[directory->count++];
		strcpy(entry->name, change->to);
	}
	entry->inode = change->inode;
}

static void
change_directory(sim_disk *disk, const char *from, const char *to, sim_inode *inode)
{
	directory_change change = { .inode = inode };

	if (from != NULL)
		strncpy(change.from, from, sizeof(change.from) - 1);
	if (to != NULL)
		strncpy(change.to, to, sizeof(change.to) - 1);
	if (disk->change_count == disk->change_capacity)
	{
		disk->change_capacity = disk->change_capacity * 2 + 16;
		disk->changes = realloc(disk->changes, disk->change_capacity * sizeof(change));
	}
	disk->changes[disk->change_count++] = change;
	apply_directory_change(&disk->seen, &change);
}

sim_inode *
sim_disk_find(sim_disk *disk, const char *name)
{
	directory_entry *entry = find_entry(&disk->seen, name);

	return entry == NULL ? NULL : entry->inode;
}

sim_inode *
sim_disk_create_file(sim_disk *disk, const char *name)
{
	sim_inode *inode = calloc(1, sizeof(*inode));

	inode->next = disk->inodes;
	disk->inodes = inode;
	change_directory(disk, NULL, name, inode);
	return inode;
}

bool
sim_disk_rename(sim_disk *disk, const char *from, const char *to)
{
	sim_inode *inode = sim_disk_find(disk, from);

	if (inode == NULL)
		return false;
	change_directory(disk, from, to, inode);
	return true;
}

bool
sim_disk_remove(sim_disk *disk, const char *name)
{
	if (sim_disk_find(disk, name) == NULL)
		return false;
	change_directory(disk, name, NULL, NULL);
	return true;
}

static bool
is_in(const char *name, const char *directory)
{
	return strncmp(name, directory, strlen(directory)) == 0;
}

void
sim_disk_sync_directory(sim_disk *disk, const char *directory)
{
	size_t left = 0;

	for (size_t i = 0; i < disk->change_count; i++)
	{
		const directory_change *change = &disk->changes[i];

		if (is_in(change->to[0] != '\0' ? change->to : change->from, directory))
			apply_directory_change(&disk->durable, change);
		else
			disk->changes[left++] = *change;
	}
	disk->change_count = left;
}

uint32_t
sim_disk_count_files(const sim_disk *disk, const char *directory, const char *but)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < disk->seen.count; i++)
	{
		const char *name = disk->seen.entries[i].name;

		if (is_in(name, directory) && (but == NULL || strcmp(name + strlen(directory), but) != 0))
			count++;
	}
	return count;
}

/* ---- loss of power ----------------------------------------------------------------------------- */

typedef enum loss
{
	LOSE_ALL,
	LOSE_NOTHING,
	LOSE_TAIL, /* the first writes arrive, in their order */
	LOSE_WRITES,
	LOSE_SECTORS,
	LOSS_COUNT
} loss;

/* Let a part of a sector reach the medium: its first or its last bytes. */
static void
tear_sector(sim_disk *disk, sim_inode *inode, const uint8_t *data, size_t bytes, uint64_t offset)
{
	size_t kept = uds_random_below(disk->random, bytes);

	disk->losses.torn_sectors++;
	if (uds_random_one_in(disk->random, 2))
		write_contents(&inode->durable, data, kept, offset);
	else
		write_contents(&inode->durable, data + bytes - kept, kept, offset + bytes - kept);
}

/* Let sectors of a write reach the medium, keep of 8. */
static void
flush_sectors(sim_disk *disk, sim_inode *inode, const change *change, uint64_t keep)
{
	uint64_t kept = 0;
	uint64_t count = 0;

	for (size_t at = 0, bytes; at < change->bytes; at += bytes)
	{
		bytes = piece_at(change, at);
		count++;
		if (uds_random_below(disk->random, 8) >= keep)
			continue;
		kept++;
		if (uds_random_one_in(disk->random, 16))
			tear_sector(disk, inode, change->data + at, bytes, change->offset + at);
		else
			write_contents(&inode->durable, change->data + at, bytes, change->offset + at);
	}
	disk->losses.lost_writes += kept == 0;
	disk->losses.torn_writes += kept > 0 && kept < count;
}

/* Let a write reach the medium, or parts of it, or nothing. */
static void
flush_write(sim_disk *disk, sim_inode *inode, const change *change, loss loss)
{
	if (loss == LOSE_SECTORS)
		flush_sectors(disk, inode, change, uds_random_range(disk->random, 1, 8));
	else if (loss == LOSE_WRITES && uds_random_one_in(disk->random, 2))
		disk->losses.lost_writes++;
	else
		write_contents(&inode->durable, change->data, change->bytes, change->offset);
}

/* Let writes first .. end - 1 reach the medium, none of them a truncation, in any order. */
static void
flush_writes(sim_disk *disk, sim_inode *inode, size_t first, size_t end, loss loss)
{
	if (loss == LOSE_WRITES || loss == LOSE_SECTORS)
	{
		uds_random_shuffle(disk->random, inode->changes + first, end - first, sizeof(change));
		disk->losses.reordered += end - first > 1;
	}
	for (size_t i = first; i < end; i++)
		flush_write(disk, inode, &inode->changes[i], loss);
}

static void
lose_changes(sim_disk *disk, sim_inode *inode)
{
	loss loss = (enum loss) uds_random_below(disk->random, LOSS_COUNT);
	size_t durable_size = inode->durable.size;
	size_t count = inode->change_count;
	size_t first = 0;

	if (loss == LOSE_ALL)
		count = 0;
	else if (loss == LOSE_TAIL)
		count = uds_random_below(disk->random, count + 1);
	disk->losses.lost_writes += inode->change_count - count;
	if (count == 0)
		return;
	/* Writes between two truncations come in any order. */
	for (size_t i = 0; i <= count; i++)
	{
		if (i < count && inode->changes[i].data != NULL)
			continue;
		flush_writes(disk, inode, first, i, loss);
		if (i < count && (loss <= LOSE_TAIL || uds_random_one_in(disk->random, 2)))
		{
			resize_contents(&inode->durable, inode->changes[i].offset);
			durable_size = inode->durable.size;
		}
		first = i + 1;
	}
	/* The data has arrived, the new size has not. */
	if (loss != LOSE_NOTHING && inode->durable.size > durable_size &&
	    uds_random_one_in(disk->random, 4))
		resize_contents(&inode->durable, durable_size);
}

static void
lose_directory_changes(sim_disk *disk)
{
	bool is_ordered = uds_random_one_in(disk->random, 2);
	bool has_lost = false;

	for (size_t i = 0; i < disk->change_count; i++)
	{
		if (!(is_ordered && has_lost) && uds_random_one_in(disk->random, 2))
			apply_directory_change(&disk->durable, &disk->changes[i]);
		else
		{
			has_lost = true;
			disk->losses.lost_renames++;
		}
	}
	disk->change_count = 0;
	disk->seen = disk->durable;
}

void
sim_disk_lose_power(sim_disk *disk)
{
	lose_directory_changes(disk);
	for (sim_inode *inode = disk->inodes; inode != NULL; inode = inode->next)
	{
		lose_changes(disk, inode);
		forget_changes(inode);
		copy_contents(&inode->seen, &inode->durable);
	}
}

const sim_losses *
sim_disk_losses(const sim_disk *disk)
{
	return &disk->losses;
}

/* ---- life ---------------------------------------------------------------------------------------- */

sim_disk *
sim_disk_create(uds_random *random)
{
	sim_disk *disk = calloc(1, sizeof(*disk));

	disk->random = random;
	return disk;
}

void
sim_disk_destroy(sim_disk *disk)
{
	sim_inode *next;

	for (sim_inode *inode = disk->inodes; inode != NULL; inode = next)
	{
		next = inode->next;
		forget_changes(inode);
		free(inode->changes);
		free(inode->seen.data);
		free(inode->durable.data);
		free(inode);
	}
	free(disk->changes);
	free(disk);
}
