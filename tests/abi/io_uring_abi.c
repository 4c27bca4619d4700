/*
 * Prints every layout and constant of io_uring that MuenBlock.IoUring relies on, one "name value" a line, under the C# names.
 *   gcc -DPINNED io_uring_abi.c          against io_uring.h beside this file, as the test does
 *   gcc -I HEADERS io_uring_abi.c        against a kernel's own headers, 6.18 or newer
 */
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#ifdef PINNED
#include "io_uring.h"
#else
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#endif

#define VALUE(name, value) printf("%s %llu\n", name, (unsigned long long)(value))
#define SIZE(name, type) VALUE(name ".size", sizeof(type))
#define FIELD(name, type, field) \
	do { \
		VALUE(name, offsetof(type, field)); \
		VALUE(name ".size", sizeof(((type *)0)->field)); \
	} while (0)
#define SQE(name, field) FIELD("SubmissionEntry." name, struct io_uring_sqe, field)
#define CQE(name, field) FIELD("Completion." name, struct io_uring_cqe, field)
#define PARAMS(name, field) FIELD("SetupParameters." name, struct io_uring_params, field)
#define SQOFF(name, field) FIELD("SubmissionOffsets." name, struct io_sqring_offsets, field)
#define CQOFF(name, field) FIELD("CompletionOffsets." name, struct io_cqring_offsets, field)
#define WAIT(name, field) FIELD("WaitArgument." name, struct io_uring_getevents_arg, field)
#define UPDATE(name, field) FIELD("ResourceUpdate." name, struct io_uring_rsrc_update, field)
#define BUFFERS(name, field) FIELD("BufferUpdate." name, struct io_uring_rsrc_update2, field)
#define RESTRICTION(name, field) FIELD("Restriction." name, struct io_uring_restriction, field)
#define BUFREG(name, field) FIELD("BufferRingRegistration." name, struct io_uring_buf_reg, field)
#define BUF(name, field) FIELD("BufferSlot." name, struct io_uring_buf, field)
#define PROBE(name, field) FIELD("ProbeHeader." name, struct io_uring_probe, field)
#define PROBEOP(name, field) FIELD("ProbeOperation." name, struct io_uring_probe_op, field)

/* One C# struct serves for both. */
_Static_assert(sizeof(struct io_uring_files_update) == sizeof(struct io_uring_rsrc_update), "size");
_Static_assert(offsetof(struct io_uring_files_update, offset) == offsetof(struct io_uring_rsrc_update, offset), "offset");
_Static_assert(offsetof(struct io_uring_files_update, fds) == offsetof(struct io_uring_rsrc_update, data), "data");

/* The tail of a ring of buffers lies where the first buffer has nothing. */
_Static_assert(offsetof(struct io_uring_buf_ring, tail) == offsetof(struct io_uring_buf, resv), "tail");

/* Operations that read a field under another name than the C# one. */
_Static_assert(offsetof(struct io_uring_sqe, addr2) == offsetof(struct io_uring_sqe, off), "a futex's value");
_Static_assert(offsetof(struct io_uring_sqe, fsync_flags) == offsetof(struct io_uring_sqe, rw_flags), "fsync");
_Static_assert(offsetof(struct io_uring_sqe, poll32_events) == offsetof(struct io_uring_sqe, rw_flags), "poll");
_Static_assert(offsetof(struct io_uring_sqe, timeout_flags) == offsetof(struct io_uring_sqe, rw_flags), "time-out");
_Static_assert(offsetof(struct io_uring_sqe, cancel_flags) == offsetof(struct io_uring_sqe, rw_flags), "cancel");
_Static_assert(offsetof(struct io_uring_sqe, futex_flags) == offsetof(struct io_uring_sqe, rw_flags), "futex");

static void structures(void)
{
	SIZE("SubmissionEntry", struct io_uring_sqe);
	SQE("Operation", opcode);
	SQE("Flags", flags);
	SQE("Priority", ioprio);
	SQE("File", fd);
	SQE("Offset", off);
	SQE("CommandOperation", cmd_op);
	SQE("Address", addr);
	SQE("Length", len);
	SQE("OperationFlags", rw_flags);
	SQE("CommandFlags", uring_cmd_flags);
	SQE("UserData", user_data);
	SQE("BufferIndex", buf_index);
	SQE("BufferGroup", buf_group);
	SQE("Address3", addr3);

	SIZE("Completion", struct io_uring_cqe);
	CQE("_userData", user_data);
	CQE("_result", res);
	CQE("_flags", flags);

	SIZE("SetupParameters", struct io_uring_params);
	PARAMS("SubmissionEntries", sq_entries);
	PARAMS("CompletionEntries", cq_entries);
	PARAMS("Flags", flags);
	PARAMS("PollThreadCpu", sq_thread_cpu);
	PARAMS("PollThreadIdle", sq_thread_idle);
	PARAMS("Features", features);
	PARAMS("WorkQueueFile", wq_fd);
	PARAMS("Reserved0", resv[0]);
	PARAMS("Reserved1", resv[1]);
	PARAMS("Reserved2", resv[2]);
	PARAMS("Submission", sq_off);
	PARAMS("Completion", cq_off);

	SIZE("SubmissionOffsets", struct io_sqring_offsets);
	SQOFF("Head", head);
	SQOFF("Tail", tail);
	SQOFF("Mask", ring_mask);
	SQOFF("Entries", ring_entries);
	SQOFF("Flags", flags);
	SQOFF("Dropped", dropped);
	SQOFF("IndexTable", array);
	SQOFF("Reserved", resv1);
	SQOFF("UserAddress", user_addr);

	SIZE("CompletionOffsets", struct io_cqring_offsets);
	CQOFF("Head", head);
	CQOFF("Tail", tail);
	CQOFF("Mask", ring_mask);
	CQOFF("Entries", ring_entries);
	CQOFF("Overflow", overflow);
	CQOFF("Completions", cqes);
	CQOFF("Flags", flags);
	CQOFF("Reserved", resv1);
	CQOFF("UserAddress", user_addr);

	SIZE("WaitArgument", struct io_uring_getevents_arg);
	WAIT("SignalMask", sigmask);
	WAIT("SignalMaskSize", sigmask_sz);
	WAIT("MinimumWaitMicroseconds", min_wait_usec);
	WAIT("Timeout", ts);

	SIZE("ResourceUpdate", struct io_uring_rsrc_update);
	UPDATE("Offset", offset);
	UPDATE("Reserved", resv);
	UPDATE("Data", data);

	SIZE("BufferUpdate", struct io_uring_rsrc_update2);
	BUFFERS("Offset", offset);
	BUFFERS("Reserved0", resv);
	BUFFERS("Buffers", data);
	BUFFERS("Tags", tags);
	BUFFERS("Count", nr);
	BUFFERS("Reserved1", resv2);
	SIZE("Restriction", struct io_uring_restriction);
	RESTRICTION("Kind", opcode);
	RESTRICTION("Allowed", sqe_op);
	RESTRICTION("Reserved0", resv);
	RESTRICTION("Reserved1", resv2[0]);
	RESTRICTION("Reserved2", resv2[1]);
	RESTRICTION("Reserved3", resv2[2]);

	SIZE("BufferRingRegistration", struct io_uring_buf_reg);
	BUFREG("Address", ring_addr);
	BUFREG("Entries", ring_entries);
	BUFREG("Group", bgid);
	BUFREG("Flags", flags);
	BUFREG("Reserved0", resv[0]);
	BUFREG("Reserved1", resv[1]);
	BUFREG("Reserved2", resv[2]);

	SIZE("BufferSlot", struct io_uring_buf);
	BUF("Address", addr);
	BUF("Length", len);
	BUF("Id", bid);
	BUF("Tail", resv);

	SIZE("ProbeHeader", struct io_uring_probe);
	PROBE("LastOperation", last_op);
	PROBE("OperationCount", ops_len);
	PROBE("Reserved0", resv);
	PROBE("Reserved1", resv2[0]);
	PROBE("Reserved2", resv2[1]);
	PROBE("Reserved3", resv2[2]);

	SIZE("ProbeOperation", struct io_uring_probe_op);
	PROBEOP("Operation", op);
	PROBEOP("Reserved0", resv);
	PROBEOP("Flags", flags);
	PROBEOP("Reserved1", resv2);

	SIZE("IoVector", struct iovec);
	FIELD("IoVector.Base", struct iovec, iov_base);
	FIELD("IoVector.Length", struct iovec, iov_len);

	SIZE("KernelTimespec", struct __kernel_timespec);
	FIELD("KernelTimespec.Seconds", struct __kernel_timespec, tv_sec);
	FIELD("KernelTimespec.Nanoseconds", struct __kernel_timespec, tv_nsec);
}

static void constants(void)
{
	VALUE("Operation.Nop", IORING_OP_NOP);
	VALUE("Operation.Sync", IORING_OP_FSYNC);
	VALUE("Operation.ReadFixed", IORING_OP_READ_FIXED);
	VALUE("Operation.WriteFixed", IORING_OP_WRITE_FIXED);
	VALUE("Operation.PollAdd", IORING_OP_POLL_ADD);
	VALUE("Operation.Timeout", IORING_OP_TIMEOUT);
	VALUE("Operation.Cancel", IORING_OP_ASYNC_CANCEL);
	VALUE("Operation.Allocate", IORING_OP_FALLOCATE);
	VALUE("Operation.Read", IORING_OP_READ);
	VALUE("Operation.Write", IORING_OP_WRITE);
	VALUE("Operation.Command", IORING_OP_URING_CMD);
	VALUE("Operation.FutexWait", IORING_OP_FUTEX_WAIT);
	VALUE("Operation.FutexWake", IORING_OP_FUTEX_WAKE);

	VALUE("EntryFlags.FixedFile", IOSQE_FIXED_FILE);
	VALUE("EntryFlags.Drain", IOSQE_IO_DRAIN);
	VALUE("EntryFlags.Link", IOSQE_IO_LINK);
	VALUE("EntryFlags.HardLink", IOSQE_IO_HARDLINK);
	VALUE("EntryFlags.Async", IOSQE_ASYNC);
	VALUE("EntryFlags.BufferSelect", IOSQE_BUFFER_SELECT);
	VALUE("EntryFlags.SkipSuccess", IOSQE_CQE_SKIP_SUCCESS);

	VALUE("CommandFlags.FixedBuffer", IORING_URING_CMD_FIXED);
	VALUE("CommandFlags.Multishot", IORING_URING_CMD_MULTISHOT);

	VALUE("TimeoutFlags.Absolute", IORING_TIMEOUT_ABS);
	VALUE("TimeoutFlags.BootClock", IORING_TIMEOUT_BOOTTIME);
	VALUE("TimeoutFlags.RealClock", IORING_TIMEOUT_REALTIME);
	VALUE("TimeoutFlags.ExpiryIsSuccess", IORING_TIMEOUT_ETIME_SUCCESS);
	VALUE("TimeoutFlags.Multishot", IORING_TIMEOUT_MULTISHOT);

	VALUE("RingSetup.PollDevices", IORING_SETUP_IOPOLL);
	VALUE("RingSetup.SubmissionThread", IORING_SETUP_SQPOLL);
	VALUE("RingSetup.CompletionQueueSize", IORING_SETUP_CQSIZE);
	VALUE("RingSetup.StartsDisabled", IORING_SETUP_R_DISABLED);
	VALUE("RingSetup.SubmitAll", IORING_SETUP_SUBMIT_ALL);
	VALUE("RingSetup.CooperativeTaskRun", IORING_SETUP_COOP_TASKRUN);
	VALUE("RingSetup.TaskRunFlag", IORING_SETUP_TASKRUN_FLAG);
	VALUE("RingSetup.LargeEntries", IORING_SETUP_SQE128);
	VALUE("RingSetup.SingleIssuer", IORING_SETUP_SINGLE_ISSUER);
	VALUE("RingSetup.DeferTaskRun", IORING_SETUP_DEFER_TASKRUN);
	VALUE("RingSetup.NoIndexTable", IORING_SETUP_NO_SQARRAY);

	VALUE("CompletionFlags.Buffer", IORING_CQE_F_BUFFER);
	VALUE("CompletionFlags.More", IORING_CQE_F_MORE);

	VALUE("EnterFlags.GetEvents", IORING_ENTER_GETEVENTS);
	VALUE("EnterFlags.WakeSubmissionThread", IORING_ENTER_SQ_WAKEUP);
	VALUE("EnterFlags.WaitForRoom", IORING_ENTER_SQ_WAIT);
	VALUE("EnterFlags.ExtendedArgument", IORING_ENTER_EXT_ARG);
	VALUE("EnterFlags.RegisteredRing", IORING_ENTER_REGISTERED_RING);

	VALUE("RingFeatures.SingleMapping", IORING_FEAT_SINGLE_MMAP);
	VALUE("RingFeatures.NoDrop", IORING_FEAT_NODROP);
	VALUE("RingFeatures.StableSubmission", IORING_FEAT_SUBMIT_STABLE);
	VALUE("RingFeatures.ExtendedArgument", IORING_FEAT_EXT_ARG);
	VALUE("RingFeatures.IoAttributes", IORING_FEAT_RW_ATTR);

	VALUE("SubmissionQueueFlags.ThreadSleeps", IORING_SQ_NEED_WAKEUP);
	VALUE("SubmissionQueueFlags.CompletionOverflow", IORING_SQ_CQ_OVERFLOW);
	VALUE("SubmissionQueueFlags.TaskRun", IORING_SQ_TASKRUN);

	VALUE("RegisterOperation.Buffers", IORING_REGISTER_BUFFERS);
	VALUE("RegisterOperation.UnregisterBuffers", IORING_UNREGISTER_BUFFERS);
	VALUE("RegisterOperation.Files", IORING_REGISTER_FILES);
	VALUE("RegisterOperation.UnregisterFiles", IORING_UNREGISTER_FILES);
	VALUE("RegisterOperation.UpdateFiles", IORING_REGISTER_FILES_UPDATE);
	VALUE("RegisterOperation.Probe", IORING_REGISTER_PROBE);
	VALUE("RegisterOperation.Restrictions", IORING_REGISTER_RESTRICTIONS);
	VALUE("RegisterOperation.Enable", IORING_REGISTER_ENABLE_RINGS);
	VALUE("RegisterOperation.UpdateBuffers", IORING_REGISTER_BUFFERS_UPDATE);
	VALUE("RegisterOperation.RingDescriptors", IORING_REGISTER_RING_FDS);
	VALUE("RegisterOperation.UnregisterRingDescriptors", IORING_UNREGISTER_RING_FDS);
	VALUE("RegisterOperation.BufferRing", IORING_REGISTER_PBUF_RING);
	VALUE("RegisterOperation.UnregisterBufferRing", IORING_UNREGISTER_PBUF_RING);

	VALUE("RestrictionKind.Registration", IORING_RESTRICTION_REGISTER_OP);
	VALUE("RestrictionKind.Operation", IORING_RESTRICTION_SQE_OP);
	VALUE("RestrictionKind.Flags", IORING_RESTRICTION_SQE_FLAGS_ALLOWED);

	VALUE("ProbeFlags.Supported", IO_URING_OP_SUPPORTED);

	VALUE("Kernel.SetupCall", SYS_io_uring_setup);
	VALUE("Kernel.EnterCall", SYS_io_uring_enter);
	VALUE("Kernel.RegisterCall", SYS_io_uring_register);
	VALUE("Kernel.RingsOffset", IORING_OFF_SQ_RING);
	VALUE("Kernel.EntriesOffset", IORING_OFF_SQES);
	VALUE("Kernel.CommandOffset", offsetof(struct io_uring_sqe, cmd));
	VALUE("Kernel.LargeCommandSize", 2 * sizeof(struct io_uring_sqe) - offsetof(struct io_uring_sqe, cmd));
	VALUE("Kernel.BufferShift", IORING_CQE_BUFFER_SHIFT);
	VALUE("Kernel.SyncDataOnly", IORING_FSYNC_DATASYNC);
	VALUE("Kernel.PollMultishot", IORING_POLL_ADD_MULTI);
	VALUE("Kernel.FutexSize32", FUTEX2_SIZE_U32);
	VALUE("Kernel.FutexMatchAny", FUTEX_BITSET_MATCH_ANY);
}

int main(void)
{
	structures();
	constants();
	return 0;
}
