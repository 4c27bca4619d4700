/*
 * What a NOP costs from its entry to its completion, in batches, through a registered ring with the flags that MuenBlock.IoUring asks for
 * and by raw system calls: beside bench/RingBenchmarks.cs, which does the same through the library. Linux 6.6 or newer.
 * usage: nops [SECONDS]      SECONDS (default 2) for each batch; prints lines such as "batch 16: 117 ns per NOP"
 */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES 64
#define OPERATIONS 1024	/* between two looks at the clock, as in an invocation of the benchmark */

static struct io_uring_sqe *entries;
static const struct io_uring_cqe *completions;
static uint32_t *submission_tail, *submission_flags, *completion_head, *completion_tail;
static uint32_t tail, taken, entry_mask, completion_mask, ring;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void open_ring(void)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_NO_SQARRAY };
	int file = syscall(__NR_io_uring_setup, ENTRIES, &p);
	if (file < 0) fail("io_uring_setup");

	/* Without the array the completions are what lies last in the mapping. */
	size_t bytes = p.cq_off.cqes + p.cq_entries * sizeof(*completions);
	char *rings = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, IORING_OFF_SQ_RING);
	entries = mmap(NULL, p.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, IORING_OFF_SQES);
	if (rings == MAP_FAILED || entries == MAP_FAILED) fail("mmap");
	submission_tail = (uint32_t *)(rings + p.sq_off.tail);
	submission_flags = (uint32_t *)(rings + p.sq_off.flags);
	completion_head = (uint32_t *)(rings + p.cq_off.head);
	completion_tail = (uint32_t *)(rings + p.cq_off.tail);
	completions = (struct io_uring_cqe *)(rings + p.cq_off.cqes);
	entry_mask = p.sq_entries - 1;
	completion_mask = p.cq_entries - 1;

	struct io_uring_rsrc_update update = { .offset = UINT32_MAX, .data = file };
	if (syscall(__NR_io_uring_register, file, IORING_REGISTER_RING_FDS, &update, 1) != 1) fail("io_uring_register");
	ring = update.offset;
}

static void run(uint32_t batch)
{
	for (uint32_t end = taken + OPERATIONS; (int32_t)(taken - end) < 0;) {
		for (uint32_t i = 0; i < batch; i++) {
			struct io_uring_sqe *entry = &entries[tail++ & entry_mask];
			memset(entry, 0, sizeof(*entry));
			entry->opcode = IORING_OP_NOP;
		}
		__atomic_store_n(submission_tail, tail, __ATOMIC_RELEASE);
		if (__atomic_load_n(submission_flags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN)
			__atomic_and_fetch(submission_flags, ~IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
		if (syscall(__NR_io_uring_enter, ring, batch, batch, IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING, NULL, 0) != batch)
			fail("io_uring_enter");
		for (uint32_t ready = __atomic_load_n(completion_tail, __ATOMIC_ACQUIRE); taken != ready; taken++) {
			if (completions[taken & completion_mask].res != 0) fail("a NOP");
		}
		__atomic_store_n(completion_head, taken, __ATOMIC_RELEASE);
	}
}

int main(int argc, char **argv)
{
	static const uint32_t batches[] = { 1, 16, 64 };
	double span = (argc > 1 ? atof(argv[1]) : 2) * 1e9;
	open_ring();
	for (size_t i = 0; i < sizeof(batches) / sizeof(*batches); i++) {
		run(batches[i]);
		uint32_t from = taken;
		double begin = now(), passed;
		do run(batches[i]); while ((passed = now() - begin) < span);
		printf("batch %u: %.0f ns per NOP\n", batches[i], passed / (taken - from));
	}
	return 0;
}
