# shellcheck shell=bash
# What the backend does with the disks themselves: their I/O schedulers, their SMART data, partitions.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_scheduler() { sed -E 's/.*\[(.*)\].*/\1/' "/sys/block/${DISK##*/}/queue/scheduler"; }

the_scheduler_of_an_exported_disk_is_switched_off_and_stays_so_unless_it_is_to_be_kept() {
    local file=/sys/block/${DISK##*/}/queue/scheduler
    modprobe mq-deadline
    echo mq-deadline >$file
    start_backend --conn $CONN --device $DISK:1 --scheduler keep
    equal mq-deadline "$(_scheduler)" 'the scheduler that was to be kept'
    stop_backend
    start_backend --conn $CONN --device $DISK:1
    equal none "$(_scheduler)" 'the scheduler of an exported disk'
    grep -q "$DISK: I/O scheduler mq-deadline switched off" "$backend_log"
    stop_backend
    equal none "$(_scheduler)" 'the scheduler after a clean end'

    # The disk of an exported partition.
    sgdisk --zap-all --new=1:2048:+16M $DISK >/dev/null
    blockdev --rereadpt $DISK
    echo mq-deadline >$file
    start_backend --conn $CONN --device ${DISK}1:1
    equal none "$(_scheduler)" "the scheduler of a partition's disk"
    stop_backend
    sgdisk --zap-all $DISK >/dev/null
}

a_scheduler_that_cannot_be_switched_off_is_a_warning_and_the_disk_is_served() {
    local file
    file=$(realpath "/sys/block/${DISK##*/}/queue/scheduler")
    echo '[mq-deadline] none' >scheduler
    mount --bind scheduler "$file"
    mount -o remount,bind,ro "$file"
    start_backend --conn $CONN --device $DISK:1
    umount "$file"
    grep -q "warn .*$DISK: its I/O scheduler stays as it is" "$backend_log"
    add --conn $CONN
    dd if="${devices[0]}" of=/dev/null bs=1M count=1 iflag=direct status=none
}

an_exported_partition_is_discarded_within_its_bounds() {
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    random_file payload $((20 * 1048576))
    dd if=payload of="${devices[0]}" bs=1M oflag=direct conv=fsync status=none
    leave_nothing
    sgdisk --zap-all --new=1:8192:+8M $DISK >/dev/null
    blockdev --rereadpt $DISK
    start_backend --conn $CONN --device ${DISK}1:1
    add --conn $CONN
    blkdiscard "${devices[0]}"
    is_zero $DISK $((4 * 1048576)) $((8 * 1048576))
    cmp -n $((3 * 1048576)) -i $((1 * 1048576)) payload $DISK
    cmp -n $((8 * 1048576)) -i $((12 * 1048576)) payload $DISK
    leave_nothing
    sgdisk --zap-all $DISK >/dev/null
}

smart_data_is_the_disks_own_and_a_disk_without_says_so() {
    local python answer status page sum=0 i
    python=$(python3 -c 'import sys; print(sys.executable)')
    start_backend --conn $CONN --device $NVME:1,$NVME_FAILING:1,$ATA:1,$PLAIN_DISK:1,${RAM}:1
    PYTHONDONTWRITEBYTECODE=1 "$python" "${BASH_SOURCE[0]%/*}/../peer/client.py" --conn $CONN --region-dir "$REGIONS" smart >answers
    cat answers
    equal 5 "$(wc -l <answers)" 'the number of answers'

    # QEMU's drives: log page 02h begins with the warnings and the temperature in Kelvin, 323.
    read -r _ status page < <(sed -n 1p answers)
    equal '1 004301' "$status ${page:0:6}" 'status and first bytes of a good NVMe drive'
    read -r _ status page < <(sed -n 2p answers)
    equal '2 044301' "$status ${page:0:6}" 'status and first bytes of an NVMe drive that expects to fail'

    # SMART READ DATA: a structure of revision 1, whose 512 bytes add up to 0, with the raw read error rate (1) as its first attribute.
    read -r _ status page < <(sed -n 3p answers)
    equal '1 010001' "$status ${page:0:6}" 'status and first bytes of an ATA disk'
    for ((i = 0; i < 1024; i += 2)); do sum=$((sum + 0x${page:i:2})); done
    equal 0 $((sum % 256)) 'the checksum of its data'
    for i in 4 5; do
        read -r _ status page < <(sed -n ${i}p answers)
        equal "3 $(printf 'a5%.0s' {1..512})" "$status $page" 'status and buffer of a disk without SMART data'
    done
}

_add_and_verify() {
    add --conn $CONN
    verify "${devices[0]}" "$1" --rw=randrw --bssplit=4k/70:64k/30 --iodepth=16 --size=8M --fsync=32 --io_size=6M
    blkdiscard "${devices[0]}"
}

a_disk_with_queues_for_it_is_polled() {
    start_backend --conn $CONN --device $NVME:1 --iopoll
    grep -q 'connection 1: its disks are polled' "$backend_log"
    _add_and_verify polled
}

a_disk_that_cannot_be_polled_is_waited_for_and_named() {
    start_backend --conn $CONN --device $RAM:1 --iopoll
    grep -q "warn .*--iopoll has no effect: $RAM has no queues that can be polled" "$backend_log"
    _add_and_verify waited-for
}

a_kernel_thread_submits_with_and_without_polling() {
    start_backend --conn $CONN --device $NVME:1 --sqpoll 20
    _add_and_verify submitted
    leave_nothing
    start_backend --conn $CONN --device $NVME:1 --sqpoll 20 --iopoll
    _add_and_verify submitted-and-polled
}
