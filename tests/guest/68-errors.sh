# shellcheck shell=bash
# Disks that fail, in part or for a while: the application sees the disk's error, and nothing else is affected.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

# _ends_with MESSAGE COMMAND...: the command fails, and says so.
_ends_with() { ! "${@:2}" 2>refusal && grep -q "$1" refusal || { cat refusal; return 1; }; }
_read_at() { dd if="$1" of=/dev/null bs=4k count="${3:-1}" skip="$2" iflag=direct status=none; }
_write_at() { dd if=/dev/zero of="$1" bs=4k count="${3:-1}" seek="$2" oflag=direct status=none; }

# A second device of the connection is written and checked all the time; it must not notice anything.
_with_a_neighbour() {    # DISK
    start_backend --conn $CONN --device "$1:1,$RAM2:1"
    add --conn $CONN
    until_enough verify "${devices[1]}" neighbour --rw=randrw --bs=4k --iodepth=8 --size=4M &
    neighbour=$!
}
_neighbour_is_well() {
    touch enough
    wait $neighbour
}

a_bad_part_of_a_disk_fails_and_the_rest_does_not() {
    local neighbour
    dmsetup create partly <<END
0 8192 linear $RAM 0
8192 8192 error
16384 16384 linear $RAM 16384
END
    _with_a_neighbour /dev/mapper/partly
    _ends_with 'Input/output error' _read_at "${devices[0]}" 1024
    _ends_with 'Input/output error' _write_at "${devices[0]}" 2047
    _ends_with 'Input/output error' dd if=/dev/zero of="${devices[0]}" bs=64k count=1 oflag=direct,seek_bytes \
        seek=$((8192 * 512 - 32768)) status=none
    _read_at "${devices[0]}" 1023
    _write_at "${devices[0]}" 2048
    verify "${devices[0]}" whole --rw=randrw --bs=4k --iodepth=16 --size=4M

    # The disk is repaired, and so is the device, without anybody doing anything.
    dmsetup load partly --table "0 32768 linear $RAM 0"
    dmsetup suspend partly
    dmsetup resume partly
    verify "${devices[0]}" repaired --rw=randrw --bs=4k --iodepth=16 --offset=4M --size=4M
    _neighbour_is_well
    not grep -E ' (warn|error|fatal) ' "$CLIENT_LOG"
    leave_nothing
    dmsetup remove partly
}

a_disk_that_fails_now_and_then_fails_only_then() {
    local i failed=0 succeeded=0 neighbour
    modprobe dm-flakey
    dmsetup create flaky --table "0 32768 flakey $RAM 0 1 1"
    _with_a_neighbour /dev/mapper/flaky
    for ((i = 0; i < 400 && (failed < 2 || succeeded < 2); i++)); do
        head -c 4096 /dev/urandom >payload
        if dd if=payload of="${devices[0]}" bs=4k seek=$i oflag=direct status=none 2>refusal; then
            succeeded=$((succeeded + 1))
            cmp payload <(dd if=$RAM bs=4k skip=$i count=1 iflag=direct status=none)
        else
            grep -q 'Input/output error' refusal
            failed=$((failed + 1))
        fi
        sleep 0.2
    done
    echo "$succeeded writes succeeded, $failed failed"
    ((failed >= 2 && succeeded >= 2))
    _neighbour_is_well
    leave_nothing
    dmsetup remove flaky
}

a_full_file_system_below_an_image_is_no_space_left_until_there_is_some() {
    mkfs.ext4 -q $RAM2 24M
    mkdir -p /mnt/small
    mount $RAM2 /mnt/small
    truncate -s 64M /mnt/small/image
    fallocate -l 12M /mnt/small/filler
    start_backend --conn $CONN --device /mnt/small/image:1,$RAM:1
    add --conn $CONN
    _ends_with 'No space left on device' dd if=/dev/zero of="${devices[0]}" bs=1M count=24 oflag=direct status=none
    verify "${devices[1]}" other --rw=randrw --bs=4k --size=1M
    rm /mnt/small/filler
    sync -f /mnt/small
    verify "${devices[0]}" space --rw=randrw --bs=4k --offset=32M --size=4M
    leave_nothing
    umount /mnt/small
}

_scsi_disk() {
    modprobe sd_mod
    modprobe scsi_debug dev_size_mb=16 "$@"
    wait_for 10 compgen -G '/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*' >/dev/null
    disk=$(compgen -G '/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*')
    disk=/dev/${disk##*/}
    wait_for 10 test -b "$disk"
}

# A medium error has an errno of its own, ENODATA; the sector is scsi_debug's.
a_medium_error_reaches_the_application_as_one() {
    local disk
    _scsi_disk opts=2
    start_backend --conn $CONN --device "$disk:1"
    add --conn $CONN
    _ends_with 'No data available' _read_at "${devices[0]}" $((0x1234 / 8))
    _read_at "${devices[0]}" 1
    leave_nothing
    rmmod scsi_debug
}

a_disk_that_vanishes_fails_and_its_successor_is_found_by_the_next_backend() {
    local disk neighbour
    _scsi_disk vpd_use_hostno=0    # so that it is called the same when it comes back
    _with_a_neighbour "$disk"
    _write_at "${devices[0]}" 5
    echo 1 >"/sys/block/${disk##*/}/device/delete"
    _ends_with 'Input/output error' _write_at "${devices[0]}" 5
    _ends_with 'Input/output error' _read_at "${devices[0]}" 5
    _neighbour_is_well
    stop_backend
    modprobe -r scsi_debug
    _scsi_disk vpd_use_hostno=0
    start_backend --conn $CONN --device "$disk:1,$RAM2:1"
    verify "${devices[0]}" again --rw=randrw --bs=4k --size=4M
    leave_nothing
    rmmod scsi_debug
}
