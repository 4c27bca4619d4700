/*
 * The part of Linux's io_uring interface that MuenBlock.IoUring uses, written down by hand, so that a machine with old headers
 * can check it. Names, values and layouts are facts of linux/io_uring.h, linux/futex.h and linux/time_types.h as of Linux 7.3
 * (Debian linux-libc-dev 7.3.4); they never change once released. io_uring_abi.c compiles against either.
 */
#ifndef PINNED_IO_URING_H
#define PINNED_IO_URING_H

#include <stdint.h>

struct io_uring_sqe {
	uint8_t opcode;
	uint8_t flags;
	uint16_t ioprio;
	int32_t fd;
	union {
		uint64_t off;
		uint64_t addr2;
		struct {
			uint32_t cmd_op;
			uint32_t __pad1;
		};
	};
	uint64_t addr;
	uint32_t len;
	union {
		uint32_t rw_flags;
		uint32_t fsync_flags;
		uint32_t poll32_events;
		uint32_t timeout_flags;
		uint32_t cancel_flags;
		uint32_t uring_cmd_flags;
		uint32_t futex_flags;
	};
	uint64_t user_data;
	union {
		uint16_t buf_index;
		uint16_t buf_group;
	};
	uint16_t personality;
	int32_t splice_fd_in;
	union {
		struct {
			uint64_t addr3;
			uint64_t __pad2;
		};
		uint8_t cmd[16]; /* a flexible array in the kernel's: its size is not compared */
	};
};

struct io_uring_cqe {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};

struct io_sqring_offsets {
	uint32_t head;
	uint32_t tail;
	uint32_t ring_mask;
	uint32_t ring_entries;
	uint32_t flags;
	uint32_t dropped;
	uint32_t array;
	uint32_t resv1;
	uint64_t user_addr;
};

struct io_cqring_offsets {
	uint32_t head;
	uint32_t tail;
	uint32_t ring_mask;
	uint32_t ring_entries;
	uint32_t overflow;
	uint32_t cqes;
	uint32_t flags;
	uint32_t resv1;
	uint64_t user_addr;
};

struct io_uring_params {
	uint32_t sq_entries;
	uint32_t cq_entries;
	uint32_t flags;
	uint32_t sq_thread_cpu;
	uint32_t sq_thread_idle;
	uint32_t features;
	uint32_t wq_fd;
	uint32_t resv[3];
	struct io_sqring_offsets sq_off;
	struct io_cqring_offsets cq_off;
};

struct io_uring_getevents_arg {
	uint64_t sigmask;
	uint32_t sigmask_sz;
	uint32_t min_wait_usec;
	uint64_t ts;
};

struct io_uring_rsrc_update {
	uint32_t offset;
	uint32_t resv;
	uint64_t data;
};

struct io_uring_rsrc_update2 {
	uint32_t offset;
	uint32_t resv;
	uint64_t data;
	uint64_t tags;
	uint32_t nr;
	uint32_t resv2;
};

struct io_uring_files_update {
	uint32_t offset;
	uint32_t resv;
	uint64_t fds;
};

struct io_uring_probe_op {
	uint8_t op;
	uint8_t resv;
	uint16_t flags;
	uint32_t resv2;
};

struct io_uring_probe {
	uint8_t last_op;
	uint8_t ops_len;
	uint16_t resv;
	uint32_t resv2[3];
	struct io_uring_probe_op ops[];
};

struct io_uring_buf {
	uint64_t addr;
	uint32_t len;
	uint16_t bid;
	uint16_t resv;
};

struct io_uring_buf_ring {
	union {
		struct {
			uint64_t resv1;
			uint32_t resv2;
			uint16_t resv3;
			uint16_t tail;
		};
		struct io_uring_buf first;
	};
};

struct io_uring_restriction {
	uint16_t opcode;
	union {
		uint8_t register_op;
		uint8_t sqe_op;
		uint8_t sqe_flags;
	};
	uint8_t resv;
	uint32_t resv2[3];
};

enum {
	IORING_RESTRICTION_REGISTER_OP = 0,
	IORING_RESTRICTION_SQE_OP = 1,
	IORING_RESTRICTION_SQE_FLAGS_ALLOWED = 2,
};

struct io_uring_buf_reg {
	uint64_t ring_addr;
	uint32_t ring_entries;
	uint16_t bgid;
	uint16_t flags;
	uint64_t resv[3];
};

struct __kernel_timespec {
	int64_t tv_sec;
	long long tv_nsec;
};

enum {
	IORING_OP_NOP = 0,
	IORING_OP_FSYNC = 3,
	IORING_OP_READ_FIXED = 4,
	IORING_OP_WRITE_FIXED = 5,
	IORING_OP_POLL_ADD = 6,
	IORING_OP_TIMEOUT = 11,
	IORING_OP_ASYNC_CANCEL = 14,
	IORING_OP_FALLOCATE = 17,
	IORING_OP_READ = 22,
	IORING_OP_WRITE = 23,
	IORING_OP_PROVIDE_BUFFERS = 31,
	IORING_OP_URING_CMD = 46,
	IORING_OP_FUTEX_WAIT = 51,
	IORING_OP_FUTEX_WAKE = 52,
};

enum {
	IOSQE_FIXED_FILE = 0x01,
	IOSQE_IO_DRAIN = 0x02,
	IOSQE_IO_LINK = 0x04,
	IOSQE_IO_HARDLINK = 0x08,
	IOSQE_ASYNC = 0x10,
	IOSQE_BUFFER_SELECT = 0x20,
	IOSQE_CQE_SKIP_SUCCESS = 0x40,
};

enum {
	IORING_SETUP_IOPOLL = 0x00001,
	IORING_SETUP_SQPOLL = 0x00002,
	IORING_SETUP_CQSIZE = 0x00008,
	IORING_SETUP_R_DISABLED = 0x00040,
	IORING_SETUP_SUBMIT_ALL = 0x00080,
	IORING_SETUP_COOP_TASKRUN = 0x00100,
	IORING_SETUP_TASKRUN_FLAG = 0x00200,
	IORING_SETUP_SQE128 = 0x00400,
	IORING_SETUP_SINGLE_ISSUER = 0x01000,
	IORING_SETUP_DEFER_TASKRUN = 0x02000,
	IORING_SETUP_NO_SQARRAY = 0x10000,
};

enum {
	IORING_URING_CMD_FIXED = 0x1,
	IORING_URING_CMD_MULTISHOT = 0x2,
	IORING_FSYNC_DATASYNC = 0x1,
	IORING_POLL_ADD_MULTI = 0x1,
	IORING_TIMEOUT_ABS = 0x01,
	IORING_TIMEOUT_BOOTTIME = 0x04,
	IORING_TIMEOUT_REALTIME = 0x08,
	IORING_TIMEOUT_ETIME_SUCCESS = 0x20,
	IORING_TIMEOUT_MULTISHOT = 0x40,
};

enum {
	IORING_CQE_F_BUFFER = 0x1,
	IORING_CQE_F_MORE = 0x2,
	IORING_CQE_BUFFER_SHIFT = 16,
	IORING_SQ_CQ_OVERFLOW = 0x2,
	IORING_SQ_NEED_WAKEUP = 0x1,
	IORING_SQ_TASKRUN = 0x4,
	IORING_ENTER_GETEVENTS = 0x01,
	IORING_ENTER_SQ_WAKEUP = 0x02,
	IORING_ENTER_SQ_WAIT = 0x04,
	IORING_ENTER_EXT_ARG = 0x08,
	IORING_ENTER_REGISTERED_RING = 0x10,
	IORING_FEAT_SINGLE_MMAP = 0x001,
	IORING_FEAT_NODROP = 0x002,
	IORING_FEAT_SUBMIT_STABLE = 0x004,
	IORING_FEAT_EXT_ARG = 0x100,
	IORING_FEAT_RW_ATTR = 0x10000,
	IORING_OFF_SQ_RING = 0x00000000,
	IORING_OFF_SQES = 0x10000000,
};

enum {
	IORING_REGISTER_BUFFERS = 0,
	IORING_UNREGISTER_BUFFERS = 1,
	IORING_REGISTER_FILES = 2,
	IORING_UNREGISTER_FILES = 3,
	IORING_REGISTER_FILES_UPDATE = 6,
	IORING_REGISTER_PROBE = 8,
	IORING_REGISTER_RESTRICTIONS = 11,
	IORING_REGISTER_ENABLE_RINGS = 12,
	IORING_REGISTER_BUFFERS_UPDATE = 16,
	IORING_REGISTER_RING_FDS = 20,
	IORING_UNREGISTER_RING_FDS = 21,
	IORING_REGISTER_PBUF_RING = 22,
	IORING_UNREGISTER_PBUF_RING = 23,
	IO_URING_OP_SUPPORTED = 0x1,
};

#define FUTEX2_SIZE_U32 0x02
#define FUTEX_BITSET_MATCH_ANY 0xffffffffu

#endif
