/*
 * Sequential 128k O_DIRECT reads by several threads, each with a part of the device of its own: into memory that the device's connection
 * shares, where nothing is copied (muenblock-ublk add --app-memory), or into memory of its own.
 * usage: shared-reads DEVICE SECONDS THREADS [FILE OFFSET LENGTH]      prints {"iops":...,"mib_s":...}
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BYTES (128 * 1024)
#define MOST_THREADS 16

struct reader {
	pthread_t thread;
	uint8_t *memory;
	off_t start, end;
	uint64_t reads;
};

static int device;
static double deadline;

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void *run(void *argument)
{
	struct reader *reader = argument;
	off_t place = reader->start;
	while (now() < deadline) {
		if (pread(device, reader->memory, BYTES, place) != BYTES) fail("pread");
		place += BYTES;
		if (place + BYTES > reader->end) place = reader->start;
		reader->reads++;
	}
	return NULL;
}

int main(int count, char **arguments)
{
	if (count != 4 && count != 7) return 2;
	double seconds = atof(arguments[2]), started;
	int threads = atoi(arguments[3]);
	if (threads < 1 || threads > MOST_THREADS) return 2;
	device = open(arguments[1], O_RDONLY | O_DIRECT);
	if (device < 0) fail(arguments[1]);
	off_t part = lseek(device, 0, SEEK_END) / threads / BYTES * BYTES;

	uint8_t *memory;
	if (count == 7) {
		int file = open(arguments[4], O_RDWR);
		size_t length = strtoull(arguments[6], NULL, 10);
		if (file < 0 || length < (size_t)threads * BYTES) fail(arguments[4]);
		memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, strtoull(arguments[5], NULL, 10));
	} else {
		memory = mmap(NULL, (size_t)threads * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	}
	if (memory == MAP_FAILED) fail("mmap");

	static struct reader readers[MOST_THREADS];
	uint64_t reads = 0;
	started = now();
	deadline = started + seconds;
	for (int i = 0; i < threads; i++) {
		readers[i] = (struct reader){ .memory = memory + (size_t)i * BYTES, .start = i * part, .end = (i + 1) * part };
		if (pthread_create(&readers[i].thread, NULL, run, &readers[i])) fail("pthread_create");
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(readers[i].thread, NULL);
		reads += readers[i].reads;
	}
	seconds = now() - started;
	printf("{\"iops\":%.1f,\"mib_s\":%.1f}\n", reads / seconds, reads * (BYTES / 1048576.0) / seconds);
	return 0;
}
