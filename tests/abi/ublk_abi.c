/*
 * Prints every layout and constant of ublk that MuenBlock.Ublk.Control relies on, one "name value" a line, under the C# names.
 *   gcc -DPINNED ublk_abi.c          against ublk_cmd.h beside this file, as the test does
 *   gcc -I HEADERS ublk_abi.c        against a kernel's own headers, 7.3 or newer
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#ifdef PINNED
#include "ublk_cmd.h"
#else
#include <linux/ublk_cmd.h>
#endif

#define VALUE(name, value) printf("%s %lld\n", name, (long long)(value))
#define SIZE(name, type) VALUE(name ".size", sizeof(type))
#define FIELD(name, type, field) \
	do { \
		VALUE(name, offsetof(type, field)); \
		VALUE(name ".size", sizeof(((type *)0)->field)); \
	} while (0)

/* Fields with two names. */
_Static_assert(offsetof(struct ublksrv_io_desc, nr_zones) == offsetof(struct ublksrv_io_desc, nr_sectors), "zones");
_Static_assert(offsetof(struct ublksrv_io_cmd, zone_append_lba) == offsetof(struct ublksrv_io_cmd, addr), "zone append");

/* The answer to GET_FEATURES is one number. */
_Static_assert(UBLK_FEATURES_LEN == 8, "features");

static void structures(void)
{
	SIZE("ControlCommand", struct ublksrv_ctrl_cmd);
	FIELD("ControlCommand.DeviceId", struct ublksrv_ctrl_cmd, dev_id);
	FIELD("ControlCommand.QueueId", struct ublksrv_ctrl_cmd, queue_id);
	FIELD("ControlCommand.Length", struct ublksrv_ctrl_cmd, len);
	FIELD("ControlCommand.Address", struct ublksrv_ctrl_cmd, addr);
	FIELD("ControlCommand.Argument", struct ublksrv_ctrl_cmd, data[0]);
	FIELD("ControlCommand.PathLength", struct ublksrv_ctrl_cmd, dev_path_len);

	SIZE("DeviceInfo", struct ublksrv_ctrl_dev_info);
	FIELD("DeviceInfo.HardwareQueues", struct ublksrv_ctrl_dev_info, nr_hw_queues);
	FIELD("DeviceInfo.QueueDepth", struct ublksrv_ctrl_dev_info, queue_depth);
	FIELD("DeviceInfo.State", struct ublksrv_ctrl_dev_info, state);
	FIELD("DeviceInfo.IoDescriptorSize", struct ublksrv_ctrl_dev_info, io_desc_size);
	FIELD("DeviceInfo.LargestIoBytes", struct ublksrv_ctrl_dev_info, max_io_buf_bytes);
	FIELD("DeviceInfo.DeviceId", struct ublksrv_ctrl_dev_info, dev_id);
	FIELD("DeviceInfo.ServerPid", struct ublksrv_ctrl_dev_info, ublksrv_pid);
	FIELD("DeviceInfo.Flags", struct ublksrv_ctrl_dev_info, flags);
	FIELD("DeviceInfo.ServerFlags", struct ublksrv_ctrl_dev_info, ublksrv_flags);
	FIELD("DeviceInfo.OwnerUser", struct ublksrv_ctrl_dev_info, owner_uid);
	FIELD("DeviceInfo.OwnerGroup", struct ublksrv_ctrl_dev_info, owner_gid);

	SIZE("SharedBufferRegistration", struct ublk_shmem_buf_reg);
	FIELD("SharedBufferRegistration.Address", struct ublk_shmem_buf_reg, addr);
	FIELD("SharedBufferRegistration.Length", struct ublk_shmem_buf_reg, len);
	FIELD("SharedBufferRegistration.Flags", struct ublk_shmem_buf_reg, flags);

	SIZE("IoDescriptor", struct ublksrv_io_desc);
	FIELD("IoDescriptor.OperationFlags", struct ublksrv_io_desc, op_flags);
	FIELD("IoDescriptor.Sectors", struct ublksrv_io_desc, nr_sectors);
	FIELD("IoDescriptor.StartSector", struct ublksrv_io_desc, start_sector);
	FIELD("IoDescriptor.Address", struct ublksrv_io_desc, addr);

	SIZE("IoCommand", struct ublksrv_io_cmd);
	FIELD("IoCommand.QueueId", struct ublksrv_io_cmd, q_id);
	FIELD("IoCommand.Tag", struct ublksrv_io_cmd, tag);
	FIELD("IoCommand.Result", struct ublksrv_io_cmd, result);
	FIELD("IoCommand.Address", struct ublksrv_io_cmd, addr);

	SIZE("ElementHeader", struct ublk_elem_header);
	FIELD("ElementHeader.Tag", struct ublk_elem_header, tag);
	FIELD("ElementHeader.BufferIndex", struct ublk_elem_header, buf_index);
	FIELD("ElementHeader.Result", struct ublk_elem_header, result);

	SIZE("BatchIo", struct ublk_batch_io);
	FIELD("BatchIo.QueueId", struct ublk_batch_io, q_id);
	FIELD("BatchIo.Flags", struct ublk_batch_io, flags);
	FIELD("BatchIo.Elements", struct ublk_batch_io, nr_elem);
	FIELD("BatchIo.ElementBytes", struct ublk_batch_io, elem_bytes);

	SIZE("DeviceParameters", struct ublk_params);
	FIELD("DeviceParameters.Length", struct ublk_params, len);
	FIELD("DeviceParameters.Types", struct ublk_params, types);
	FIELD("DeviceParameters.Basic", struct ublk_params, basic);
	FIELD("DeviceParameters.Discard", struct ublk_params, discard);
	FIELD("DeviceParameters.DeviceNumbers", struct ublk_params, devt);
	FIELD("DeviceParameters.Zoned", struct ublk_params, zoned);
	FIELD("DeviceParameters.Dma", struct ublk_params, dma);
	FIELD("DeviceParameters.Segment", struct ublk_params, seg);
	FIELD("DeviceParameters.Integrity", struct ublk_params, integrity);

	SIZE("BasicParameters", struct ublk_param_basic);
	FIELD("BasicParameters.Attributes", struct ublk_param_basic, attrs);
	FIELD("BasicParameters.LogicalBlockShift", struct ublk_param_basic, logical_bs_shift);
	FIELD("BasicParameters.PhysicalBlockShift", struct ublk_param_basic, physical_bs_shift);
	FIELD("BasicParameters.OptimalIoShift", struct ublk_param_basic, io_opt_shift);
	FIELD("BasicParameters.MinimumIoShift", struct ublk_param_basic, io_min_shift);
	FIELD("BasicParameters.MostSectors", struct ublk_param_basic, max_sectors);
	FIELD("BasicParameters.ChunkSectors", struct ublk_param_basic, chunk_sectors);
	FIELD("BasicParameters.DeviceSectors", struct ublk_param_basic, dev_sectors);
	FIELD("BasicParameters.VirtualBoundaryMask", struct ublk_param_basic, virt_boundary_mask);

	SIZE("DiscardParameters", struct ublk_param_discard);
	FIELD("DiscardParameters.Alignment", struct ublk_param_discard, discard_alignment);
	FIELD("DiscardParameters.Granularity", struct ublk_param_discard, discard_granularity);
	FIELD("DiscardParameters.MostDiscardSectors", struct ublk_param_discard, max_discard_sectors);
	FIELD("DiscardParameters.MostWriteZeroesSectors", struct ublk_param_discard, max_write_zeroes_sectors);
	FIELD("DiscardParameters.MostDiscardSegments", struct ublk_param_discard, max_discard_segments);

	SIZE("DeviceNumberParameters", struct ublk_param_devt);
	FIELD("DeviceNumberParameters.CharacterMajor", struct ublk_param_devt, char_major);
	FIELD("DeviceNumberParameters.CharacterMinor", struct ublk_param_devt, char_minor);
	FIELD("DeviceNumberParameters.DiskMajor", struct ublk_param_devt, disk_major);
	FIELD("DeviceNumberParameters.DiskMinor", struct ublk_param_devt, disk_minor);

	SIZE("ZonedParameters", struct ublk_param_zoned);
	FIELD("ZonedParameters.MostOpenZones", struct ublk_param_zoned, max_open_zones);
	FIELD("ZonedParameters.MostActiveZones", struct ublk_param_zoned, max_active_zones);
	FIELD("ZonedParameters.MostAppendSectors", struct ublk_param_zoned, max_zone_append_sectors);

	SIZE("DmaParameters", struct ublk_param_dma_align);
	FIELD("DmaParameters.Alignment", struct ublk_param_dma_align, alignment);

	SIZE("SegmentParameters", struct ublk_param_segment);
	FIELD("SegmentParameters.BoundaryMask", struct ublk_param_segment, seg_boundary_mask);
	FIELD("SegmentParameters.LargestSegment", struct ublk_param_segment, max_segment_size);
	FIELD("SegmentParameters.MostSegments", struct ublk_param_segment, max_segments);

	SIZE("IntegrityParameters", struct ublk_param_integrity);
	FIELD("IntegrityParameters.Flags", struct ublk_param_integrity, flags);
	FIELD("IntegrityParameters.MostSegments", struct ublk_param_integrity, max_integrity_segments);
	FIELD("IntegrityParameters.IntervalShift", struct ublk_param_integrity, interval_exp);
	FIELD("IntegrityParameters.MetadataSize", struct ublk_param_integrity, metadata_size);
	FIELD("IntegrityParameters.ProtectionOffset", struct ublk_param_integrity, pi_offset);
	FIELD("IntegrityParameters.ChecksumType", struct ublk_param_integrity, csum_type);
	FIELD("IntegrityParameters.TagSize", struct ublk_param_integrity, tag_size);
}

static void constants(void)
{
	VALUE("UblkCommands.GetQueueAffinity", UBLK_U_CMD_GET_QUEUE_AFFINITY);
	VALUE("UblkCommands.GetDeviceInfo", UBLK_U_CMD_GET_DEV_INFO);
	VALUE("UblkCommands.AddDevice", UBLK_U_CMD_ADD_DEV);
	VALUE("UblkCommands.DeleteDevice", UBLK_U_CMD_DEL_DEV);
	VALUE("UblkCommands.StartDevice", UBLK_U_CMD_START_DEV);
	VALUE("UblkCommands.StopDevice", UBLK_U_CMD_STOP_DEV);
	VALUE("UblkCommands.SetParameters", UBLK_U_CMD_SET_PARAMS);
	VALUE("UblkCommands.GetParameters", UBLK_U_CMD_GET_PARAMS);
	VALUE("UblkCommands.StartUserRecovery", UBLK_U_CMD_START_USER_RECOVERY);
	VALUE("UblkCommands.EndUserRecovery", UBLK_U_CMD_END_USER_RECOVERY);
	VALUE("UblkCommands.GetDeviceInfo2", UBLK_U_CMD_GET_DEV_INFO2);
	VALUE("UblkCommands.GetFeatures", UBLK_U_CMD_GET_FEATURES);
	VALUE("UblkCommands.DeleteDeviceAsync", UBLK_U_CMD_DEL_DEV_ASYNC);
	VALUE("UblkCommands.UpdateSize", UBLK_U_CMD_UPDATE_SIZE);
	VALUE("UblkCommands.QuiesceDevice", UBLK_U_CMD_QUIESCE_DEV);
	VALUE("UblkCommands.TryStopDevice", UBLK_U_CMD_TRY_STOP_DEV);
	VALUE("UblkCommands.RegisterBuffer", UBLK_U_CMD_REG_BUF);
	VALUE("UblkCommands.FetchRequest", UBLK_U_IO_FETCH_REQ);
	VALUE("UblkCommands.CommitAndFetchRequest", UBLK_U_IO_COMMIT_AND_FETCH_REQ);
	VALUE("UblkCommands.PrepareBatch", UBLK_U_IO_PREP_IO_CMDS);
	VALUE("UblkCommands.CommitBatch", UBLK_U_IO_COMMIT_IO_CMDS);
	VALUE("UblkCommands.FetchBatch", UBLK_U_IO_FETCH_IO_CMDS);

	VALUE("UblkFeatures.SupportZeroCopy", UBLK_F_SUPPORT_ZERO_COPY);
	VALUE("UblkFeatures.CommandsCompleteInTask", UBLK_F_URING_CMD_COMP_IN_TASK);
	VALUE("UblkFeatures.NeedGetData", UBLK_F_NEED_GET_DATA);
	VALUE("UblkFeatures.UserRecovery", UBLK_F_USER_RECOVERY);
	VALUE("UblkFeatures.UserRecoveryReissue", UBLK_F_USER_RECOVERY_REISSUE);
	VALUE("UblkFeatures.UnprivilegedDevice", UBLK_F_UNPRIVILEGED_DEV);
	VALUE("UblkFeatures.EncodedCommands", UBLK_F_CMD_IOCTL_ENCODE);
	VALUE("UblkFeatures.UserCopy", UBLK_F_USER_COPY);
	VALUE("UblkFeatures.Zoned", UBLK_F_ZONED);
	VALUE("UblkFeatures.UserRecoveryFailIo", UBLK_F_USER_RECOVERY_FAIL_IO);
	VALUE("UblkFeatures.UpdateSize", UBLK_F_UPDATE_SIZE);
	VALUE("UblkFeatures.AutoBufferRegistration", UBLK_F_AUTO_BUF_REG);
	VALUE("UblkFeatures.Quiesce", UBLK_F_QUIESCE);
	VALUE("UblkFeatures.PerIoDaemon", UBLK_F_PER_IO_DAEMON);
	VALUE("UblkFeatures.BufferRegistrationOffDaemon", UBLK_F_BUF_REG_OFF_DAEMON);
	VALUE("UblkFeatures.BatchIo", UBLK_F_BATCH_IO);
	VALUE("UblkFeatures.Integrity", UBLK_F_INTEGRITY);
	VALUE("UblkFeatures.SafeStopDevice", UBLK_F_SAFE_STOP_DEV);
	VALUE("UblkFeatures.NoAutoPartitionScan", UBLK_F_NO_AUTO_PART_SCAN);
	VALUE("UblkFeatures.SharedMemoryZeroCopy", UBLK_F_SHMEM_ZC);
	VALUE("UblkFeatures.IoDescriptorSize", UBLK_F_IO_DESC_SIZE);

	VALUE("DeviceState.Dead", UBLK_S_DEV_DEAD);
	VALUE("DeviceState.Live", UBLK_S_DEV_LIVE);
	VALUE("DeviceState.Quiesced", UBLK_S_DEV_QUIESCED);
	VALUE("DeviceState.FailIo", UBLK_S_DEV_FAIL_IO);

	VALUE("SharedBufferFlags.ReadOnly", UBLK_SHMEM_BUF_READ_ONLY);

	VALUE("BlockOperation.Read", UBLK_IO_OP_READ);
	VALUE("BlockOperation.Write", UBLK_IO_OP_WRITE);
	VALUE("BlockOperation.Flush", UBLK_IO_OP_FLUSH);
	VALUE("BlockOperation.Discard", UBLK_IO_OP_DISCARD);
	VALUE("BlockOperation.WriteSame", UBLK_IO_OP_WRITE_SAME);
	VALUE("BlockOperation.WriteZeroes", UBLK_IO_OP_WRITE_ZEROES);
	VALUE("BlockOperation.ZoneOpen", UBLK_IO_OP_ZONE_OPEN);
	VALUE("BlockOperation.ZoneClose", UBLK_IO_OP_ZONE_CLOSE);
	VALUE("BlockOperation.ZoneFinish", UBLK_IO_OP_ZONE_FINISH);
	VALUE("BlockOperation.ZoneAppend", UBLK_IO_OP_ZONE_APPEND);
	VALUE("BlockOperation.ZoneResetAll", UBLK_IO_OP_ZONE_RESET_ALL);
	VALUE("BlockOperation.ZoneReset", UBLK_IO_OP_ZONE_RESET);
	VALUE("BlockOperation.ReportZones", UBLK_IO_OP_REPORT_ZONES);

	VALUE("IoFlags.FailFastDevice", UBLK_IO_F_FAILFAST_DEV);
	VALUE("IoFlags.FailFastTransport", UBLK_IO_F_FAILFAST_TRANSPORT);
	VALUE("IoFlags.FailFastDriver", UBLK_IO_F_FAILFAST_DRIVER);
	VALUE("IoFlags.Metadata", UBLK_IO_F_META);
	VALUE("IoFlags.ForcedUnitAccess", UBLK_IO_F_FUA);
	VALUE("IoFlags.NoUnmap", UBLK_IO_F_NOUNMAP);
	VALUE("IoFlags.Swap", UBLK_IO_F_SWAP);
	VALUE("IoFlags.NeedRegisterBuffer", UBLK_IO_F_NEED_REG_BUF);
	VALUE("IoFlags.Integrity", UBLK_IO_F_INTEGRITY);
	VALUE("IoFlags.SharedMemory", UBLK_IO_F_SHMEM_ZC);

	VALUE("BatchFlags.ZoneLba", UBLK_BATCH_F_HAS_ZONE_LBA);
	VALUE("BatchFlags.BufferAddress", UBLK_BATCH_F_HAS_BUF_ADDR);
	VALUE("BatchFlags.AutoBufferFallback", UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK);

	VALUE("DeviceAttributes.ReadOnly", UBLK_ATTR_READ_ONLY);
	VALUE("DeviceAttributes.Rotational", UBLK_ATTR_ROTATIONAL);
	VALUE("DeviceAttributes.VolatileCache", UBLK_ATTR_VOLATILE_CACHE);
	VALUE("DeviceAttributes.ForcedUnitAccess", UBLK_ATTR_FUA);

	VALUE("ParameterTypes.Basic", UBLK_PARAM_TYPE_BASIC);
	VALUE("ParameterTypes.Discard", UBLK_PARAM_TYPE_DISCARD);
	VALUE("ParameterTypes.DeviceNumbers", UBLK_PARAM_TYPE_DEVT);
	VALUE("ParameterTypes.Zoned", UBLK_PARAM_TYPE_ZONED);
	VALUE("ParameterTypes.Dma", UBLK_PARAM_TYPE_DMA_ALIGN);
	VALUE("ParameterTypes.Segment", UBLK_PARAM_TYPE_SEGMENT);
	VALUE("ParameterTypes.Integrity", UBLK_PARAM_TYPE_INTEGRITY);

	VALUE("UblkLimits.DeepestQueue", UBLK_MAX_QUEUE_DEPTH);
	VALUE("UblkLimits.MostQueues", UBLK_MAX_NR_QUEUES);
	VALUE("UblkLimits.DescriptorsOffset", UBLKSRV_CMD_BUF_OFFSET);
	VALUE("UblkLimits.DescriptorsStride", (UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc) + 4095) / 4096 * 4096);
	VALUE("UblkLimits.ResultReady", UBLK_IO_RES_OK);
	VALUE("UblkLimits.ResultAborted", UBLK_IO_RES_ABORT);
}

int main(void)
{
	structures();
	constants();
	return 0;
}
