/*
 * An application that shares a connection's buffer: writes to a block device from it and reads back into it, and into memory of its
 * own, with O_DIRECT, and compares.
 * usage: shared-io DEVICE FILE OFFSET LENGTH ROUNDS [SEED]      exits with 0, or says what was wrong
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 512
#define LARGEST (128 * 1024)
#define DISK_BYTES (32ull << 20)

static uint64_t state;

static uint64_t next(void)
{
	/* xorshift64: any numbers do, as long as a seed gives the same ones */
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void fail(const char *what)
{
	fprintf(stderr, "shared-io: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void compare(const char *where, const uint8_t *expected, const uint8_t *actual, size_t length, off_t place)
{
	if (!memcmp(expected, actual, length)) return;
	fprintf(stderr, "shared-io: %zu bytes at %lld are not what was written, read into %s\n", length, (long long)place, where);
	exit(1);
}

int main(int count, char **arguments)
{
	if (count < 6) return 2;
	off_t offset = strtoull(arguments[3], NULL, 10);
	size_t length = strtoull(arguments[4], NULL, 10);
	long rounds = strtol(arguments[5], NULL, 10);
	state = count > 6 ? strtoull(arguments[6], NULL, 10) : 88172645463325252ull;
	int device = open(arguments[1], O_RDWR | O_DIRECT);
	int file = open(arguments[2], O_RDWR);
	if (device < 0 || file < 0) fail("open");
	uint8_t *shared = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, offset);
	uint8_t *own = aligned_alloc(4096, LARGEST), *expected = malloc(LARGEST);
	if (shared == MAP_FAILED || !own || !expected) fail("memory");

	for (long round = 0; round < rounds; round++) {
		size_t bytes = (next() % (LARGEST / BLOCK) + 1) * BLOCK;
		size_t from = next() % ((length / 2 - bytes) / BLOCK) * BLOCK;
		size_t to = length / 2 + next() % ((length / 2 - bytes) / BLOCK) * BLOCK;
		off_t place = next() % ((DISK_BYTES - bytes) / BLOCK) * BLOCK;
		for (size_t i = 0; i < bytes; i++) expected[i] = (uint8_t)next();
		memcpy(shared + from, expected, bytes);
		if (pwrite(device, shared + from, bytes, place) != (ssize_t)bytes) fail("pwrite from shared memory");
		if (pread(device, shared + to, bytes, place) != (ssize_t)bytes) fail("pread into shared memory");
		compare("shared memory", expected, shared + to, bytes, place);
		if (pread(device, own, bytes, place) != (ssize_t)bytes) fail("pread into own memory");
		compare("own memory", expected, own, bytes, place);
	}
	return 0;
}
