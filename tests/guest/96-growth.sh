# shellcheck shell=bash
# Disks that grow while they are used, and backends that come back with another disk.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _MIB=1048576

_has() { (($(blockdev --getsize64 "$1") == $2 * _MIB)); }
_grows() { muenblock-ublk features --json | jq -e .features.UPDATE_SIZE >/dev/null; }
_write_while_it_grows() {    # DEVICE
    until_enough verify "$1" growth --rw=randrw --bssplit=4k/70:64k/30 --iodepth=16 --serialize_overlap=1 --size=16M --number_ios=1500 --verify_backlog=32
}

a_device_grows_with_its_image_while_it_is_used_and_does_not_shrink() {
    local load
    truncate -s 32M image
    start_backend --conn $CONN --device image:1,$RAM:1
    add --conn $CONN
    _write_while_it_grows /dev/ublkb0 &
    load=$!
    sleep 0.5
    truncate -s 48M image
    wait_for 20 _has /dev/ublkb0 48
    truncate -s 64M image    # and at once again
    wait_for 20 _has /dev/ublkb0 64
    verify /dev/ublkb0 behind --rw=randrw --bs=64k --iodepth=8 --offset=32M --size=32M
    prints '/dev/ublkb0 has 67108864 bytes, as its disk' muenblock-ublk resize 0
    kill -0 $load || fail 'fio failed while the device grew'

    # Nobody is using what is cut off.
    truncate -s 48M image
    wait_for 20 grep -q 'has shrunk from 67108864 to 50331648 bytes' "$backend_log"
    refused 4 'its disk has only 50331648 bytes, and users of the device were promised 67108864' muenblock-ublk resize 0
    _has /dev/ublkb0 64
    grep -q 'rule SizeDoesNotShrink' "$CLIENT_LOG"
    not dd if=/dev/ublkb0 of=/dev/null bs=1M skip=63 count=1 iflag=direct status=none 2>/dev/null
    truncate -s 64M image
    wait_for 20 dd if=/dev/ublkb0 of=/dev/null bs=1M skip=63 count=1 iflag=direct status=none
    touch enough
    wait $load
    _has /dev/ublkb1 $RAM_MIB
}

a_file_system_uses_what_its_device_has_grown_by() {
    truncate -s 32M image
    start_backend --conn $CONN --device image:1
    add --conn $CONN
    mkfs.ext4 -q /dev/ublkb0
    mkdir -p /mnt/grown
    mount /dev/ublkb0 /mnt/grown
    random_file /mnt/grown/first $((8 * _MIB))
    sha256sum /mnt/grown/first >sums
    truncate -s 128M image
    wait_for 20 _has /dev/ublkb0 128
    resize2fs /dev/ublkb0 2>/dev/null
    random_file /mnt/grown/second $((64 * _MIB))
    sha256sum /mnt/grown/second >>sums
    umount /mnt/grown
    e2fsck -fn /dev/ublkb0 >checked 2>&1 || { cat checked; return 1; }
    mount /dev/ublkb0 /mnt/grown
    sha256sum --quiet -c sums
    umount /mnt/grown
}

# By a new table under the backend, and under a successor of it.
a_device_grows_with_a_mapped_disk_and_with_a_successor_of_its_backend() {
    local load
    dmsetup create growing --table "0 65536 linear $RAM 0"
    start_backend --conn $CONN --device /dev/mapper/growing:1
    add --conn $CONN
    _write_while_it_grows /dev/ublkb0 &
    load=$!
    sleep 0.5
    dmsetup load growing --table "0 131072 linear $RAM 0"
    dmsetup suspend growing
    dmsetup resume growing
    wait_for 20 _has /dev/ublkb0 64
    kill_backend
    wait_for 20 dmsetup load growing --table "0 196608 linear $RAM 0"
    dmsetup suspend growing
    dmsetup resume growing
    start_backend --conn $CONN --device /dev/mapper/growing:1
    wait_for 20 _has /dev/ublkb0 96
    verify /dev/ublkb0 behind --rw=randrw --bs=64k --iodepth=8 --offset=64M --size=32M
    touch enough
    wait $load

    # A client that takes over finds it larger.
    kill_client
    kill_backend
    dmsetup load growing --table "0 262144 linear $RAM 0"
    dmsetup suspend growing
    dmsetup resume growing
    start_backend --conn $CONN --device /dev/mapper/growing:1
    recover 0 >/dev/null
    wait_for 20 _has /dev/ublkb0 128
    refused 7 'there is no /dev/ublkb7' muenblock-ublk resize 7
    leave_nothing
    dmsetup remove growing
}

a_joined_device_grows_on_all_its_connections_and_in_the_middle_of_a_recovery() {
    local load recovery
    truncate -s 32M image
    start_backend --conn $CONN,$CONN2 --device image:1+2
    add --conn $CONN,$CONN2 --join
    _write_while_it_grows /dev/ublkb0 &
    load=$!
    sleep 0.5
    truncate -s 48M image
    wait_for 20 _has /dev/ublkb0 48
    kill_client
    recover 0 >/dev/null &
    recovery=$!
    truncate -s 64M image
    wait $recovery
    wait_for 20 _has /dev/ublkb0 64
    verify /dev/ublkb0 behind --rw=randrw --bs=64k --iodepth=8 --offset=32M --size=32M
    prints '/dev/ublkb0 has 67108864 bytes, as its disk' muenblock-ublk resize 0
    touch enough
    wait $load
    not grep -E ' (error|fatal) ' "$CLIENT_LOG"
}

resize_without_an_answer_and_where_the_kernel_cannot_says_so_and_the_next_add_has_the_size() {
    truncate -s 32M image
    start_backend --conn $CONN --device image:1
    add --conn $CONN
    kill_backend
    refused 5 'its backend did not say how large the disk is' timeout 60 muenblock-ublk resize 0
    start_backend --conn $CONN --device image:1
    truncate -s 64M image
    wait_for 20 grep -q 'has grown from 33554432 to 67108864 bytes' "$backend_log"
    if _grows; then wait_for 20 _has /dev/ublkb0 64; else
        wait_for 20 grep -q 'cannot change the size of a device' "$CLIENT_LOG"
        refused 3 "this kernel's driver cannot change the size of a device" muenblock-ublk resize 0
        _has /dev/ublkb0 32
        verify /dev/ublkb0 smaller --rw=randrw --bs=64k --iodepth=8 --size=32M
        # A server that takes over promises no more than the kernel has.
        kill_client
        recover 0 >/dev/null
        stop_backend
        truncate -s 40M image
        start_backend --conn $CONN --device image:1
        verify /dev/ublkb0 successor --rw=randrw --bs=64k --iodepth=8 --size=32M
        stop_backend
        truncate -s 64M image
        start_backend --conn $CONN --device image:1
    fi
    del 0
    add --conn $CONN
    _has /dev/ublkb0 64
}

# DISK OTHER: the second has as many blocks, and must stay as it is.
_waits_for_its_disk() {
    local writer
    start_backend --conn $CONN --device "$1:1"
    add --conn $CONN
    kill_backend
    start_backend --conn $CONN --device "$2:1"
    dd if=payload of=/dev/ublkb0 bs=64k oflag=direct status=none &
    writer=$!
    wait_for 20 grep -q 'DisksStayTheSame' "$CLIENT_LOG"
    sleep 1
    kill -0 $writer || fail 'a write ended while the backend had another disk'
    is_zero "$2" 0 65536

    # So it is for a client that takes over, unless it is told that the other one will do.
    kill_client
    refused 5 'is not taken over: device 0 of the backend is disk' timeout 60 muenblock-ublk recover 0
    is_zero "$2" 0 65536
    stop_backend
    start_backend --conn $CONN --device "$1:1"
    recover 0 >/dev/null
    wait $writer
    cmp -n 65536 payload "$1"
    stop_backend
    start_backend --conn $CONN --device "$2:1"
    timeout 90 muenblock-ublk upgrade 0 --other-disk >/dev/null
    dd if=payload of=/dev/ublkb0 bs=64k oflag=direct status=none
    cmp -n 65536 payload "$2"
    del 0
    stop_backend
    : >"$CLIENT_LOG"
}

# A copy that took the image's name has the same contents: whether it is as good only its owner knows.
_waits_for_a_copy_to_be_accepted() {    # IMAGE
    local writer
    start_backend --conn $CONN --device "$1:1"
    add --conn $CONN
    kill_backend
    cp "$1" copy
    mv copy "$1"
    start_backend --conn $CONN --device "$1:1"
    dd if=payload of=/dev/ublkb0 bs=64k seek=1 oflag=direct status=none &
    writer=$!
    wait_for 20 grep -q 'DisksStayTheSame' "$CLIENT_LOG"
    is_zero "$1" 65536 65536
    timeout 90 muenblock-ublk upgrade 0 --other-disk >/dev/null
    wait $writer
    cmp -n 65536 -i 0:65536 payload "$1"

    # From then on that one is the right one.
    kill_client
    recover 0 >/dev/null
    cmp -n 65536 -i 0:65536 payload /dev/ublkb0
    del 0
    stop_backend
    : >"$CLIENT_LOG"
}

a_backend_that_comes_back_with_another_disk_of_the_same_size_is_waited_out() {
    random_file payload 65536
    truncate -s 16M image
    _waits_for_a_copy_to_be_accepted image
    truncate -s 0 image
    truncate -s 16M image other
    _waits_for_its_disk image other
    blkdiscard -z $NVME
    blkdiscard -z $NVME_FAILING
    _waits_for_its_disk $NVME $NVME_FAILING
}
