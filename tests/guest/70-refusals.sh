# shellcheck shell=bash
# What is refused on a machine with the driver: one line, the right exit code, and nothing changed or left behind.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_add() { refused "$1" "$2" muenblock-ublk add --region-dir "$REGIONS" --connect-timeout 1 "${@:3}"; }
_nothing() { equal '' "$(traces)" 'what is left of it'; }
_regions() {
    mkdir -p "$REGIONS"
    truncate -s 32K "$REGIONS/request1"
    truncate -s 16K "$REGIONS/response1"
    truncate -s 16M "$REGIONS/buffer1"
}

add_without_a_backend_says_so_after_its_time_out() {
    _add 4 'is missing: start the backend with --create-regions' --conn $CONN
    _nothing
    _regions
    _add 5 'no backend answered in time' --conn $CONN
    _nothing
    _add 5 'no backend answered in time' --conn $CONN --foreground --log-level error
    _nothing
    # One that was there, and is gone.
    start_backend --conn $CONN --device $RAM:1
    stop_backend
    _add 5 'no backend answered in time' --conn $CONN
    _nothing
}

add_waits_for_a_backend_that_comes_later() {
    muenblock-ublk add --region-dir "$REGIONS" --conn $CONN --connect-timeout 20 >printed &
    local adding=$!
    sleep 1
    start_backend --conn $CONN --device $RAM:1
    wait $adding
    equal /dev/ublkb0 "$(cat printed)" 'what add printed'
    verify /dev/ublkb0 later --rw=randrw --bs=4k --size=4M
}

add_with_a_wrong_protocol_says_what_was_expected_and_found() {
    start_backend --conn $CONN:1111:2222 --device $RAM:1
    _add 5 '2222' --conn $CONN
    _add 5 '9851be3282fef0dc' --conn $CONN
    _add 5 '3333' --conn $CONN:1111:3333
    _nothing
    # The right ones still work.
    add --conn $CONN:1111:2222
    verify "${devices[0]}" protocol --rw=randrw --bs=4k --size=4M
}

add_with_a_wrong_request_protocol_is_not_answered() {
    start_backend --conn $CONN:1111:2222 --device $RAM:1
    _add 5 'no backend answered in time' --conn $CONN:3333:2222
    _nothing
    grep 'the request channel is not what was agreed' "$backend_log" | grep -q 3333
}

add_with_regions_that_cannot_be_used_is_refused() {
    _regions
    truncate -s 0 "$REGIONS/request1"; _add 4 'request1 has 0 bytes' --conn $CONN
    _regions
    truncate -s 5000 "$REGIONS/buffer1"; _add 4 'multiple of 4096' --conn $CONN
    rm "$REGIONS/buffer1"; _add 4 'buffer1 is missing' --conn $CONN
    _regions
    rm "$REGIONS/response1"; ln -s nowhere "$REGIONS/response1"; _add 4 'response1 is a symbolic link' --conn $CONN
    rm "$REGIONS/response1"; mkdir "$REGIONS/response1"; _add 4 'response1 is not a plain file' --conn $CONN
    rmdir "$REGIONS/response1"; mkfifo "$REGIONS/response1"; _add 4 'response1 is not a plain file' --conn $CONN
    _nothing
}

what_does_not_fit_into_the_regions_is_refused() {
    start_backend --conn $CONN --device $RAM:1
    _add 2 '--depth 4096 does not fit' --conn $CONN --depth 4096
    _add 2 '--max-io 33554432' --conn $CONN --max-io 32M
    _add 2 'does not fit' --conn $CONN --max-io 16M --depth 2
    _add 4 'log file' --conn $CONN --log-file /proc/nowhere/log
    _nothing
    add --conn $CONN --depth 1 --max-io 4K
    equal 4 "$(queue "${devices[0]}" max_hw_sectors_kb)" 'the largest I/O in KiB'
    equal 1 "$(cat /sys/block/ublkb0/mq/0/nr_tags)" 'the queue depth'
    verify "${devices[0]}" small --rw=randrw --bs=16k --iodepth=8 --size=1M
}

a_connection_has_one_client_and_an_id_one_device() {
    start_backend --conn $CONN --conn $CONN2 --device $RAM:1 --device $RAM2:2
    add --conn $CONN --id 5
    equal /dev/ublkb5 "${devices[0]}" 'what add printed'
    _add 6 'connection 1 is used by another client' --conn $CONN
    _add 6 '/dev/ublkb5' --conn $CONN2 --id 5
    equal "/dev/ublkb5 /dev/ublkc5" "$(echo /dev/ublk[bc]*)" 'the devices'
    verify "${devices[0]}" same --rw=randrw --bs=4k --size=4M
    add --conn $CONN2 --id 1048575
    equal /dev/ublkb1048575 "${devices[0]}" 'what add printed'
}

a_device_that_is_not_there_cannot_be_deleted() {
    refused 7 'there is no /dev/ublkb0' muenblock-ublk del 0
    refused 7 'there is no /dev/ublkb1048575' muenblock-ublk del /dev/ublkb1048575
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    refused 7 'there is no /dev/ublkb1' muenblock-ublk del 1
    [[ -b /dev/ublkb0 ]]
}

one_file_is_not_two_regions() {
    start_backend --conn $CONN,$CONN2 --device $RAM:1,$RAM2:2
    mkdir "$WORK/names"
    ln "$REGIONS"/{request,response,buffer}1 "$REGIONS"/{request,response}2 "$WORK/names"
    ln "$REGIONS/buffer1" "$WORK/names/buffer2"
    refused 4 'are the same file' muenblock-ublk add --region-dir "$WORK/names" --connect-timeout 5 --conn $CONN --conn $CONN2 --log-level error --foreground
    refused 4 'are the same file' muenblock-ublk add --region-dir "$WORK/names" --connect-timeout 5 --conn 1:request1:response1:buffer2 --conn 2:request2:response2:buffer1
    _nothing
    rm -r "$WORK/names"
}

a_disk_is_exported_for_writing_once_whatever_its_names() {
    local loop
    truncate -s 64M image
    sgdisk --clear --new=1:2048:+16M --new=2:0:+16M image >/dev/null
    loop=$(losetup --find --show --partscan image)
    mknod second-name b $((0x$(stat -c %t $RAM))) $((0x$(stat -c %T $RAM)))
    local pair
    for pair in "$RAM:1,second-name:1" "image:1,$loop:1" "$loop:1,image:1" "image:1,${loop}p2:1" "${loop}p1:1,$loop:1" "${loop}p1:1,${loop}p2:1,${loop}p1:1"; do
        refused 2 'exported for writing twice' muenblock-backend serve --region-dir "$REGIONS" --create-regions --conn $CONN --device "$pair"
    done
    start_backend --conn $CONN --device "${loop}p1:1,${loop}p2:1"
    add --conn $CONN
    # What a partition's disk can do its client is told, too.
    (($(queue "${devices[1]}" discard_max_bytes) > 0)) || fail 'a partition of a disk that discards does not'
    del --all
    stop_backend
    losetup -d "$loop"
    rm second-name
}

a_disk_in_use_is_not_exported_for_writing() {
    mkfs.ext4 -q $RAM2
    mkdir -p /mnt/used
    mount $RAM2 /mnt/used
    refused 6 'is in use' muenblock-backend serve --region-dir "$REGIONS" --create-regions --conn $CONN --device $RAM2:1
    umount /mnt/used
    start_backend --conn $CONN --device $RAM2:1
    ! mount $RAM2 /mnt/used 2>/dev/null || fail 'a disk was mounted beside its backend'
    refused 6 'exported for writing by another backend' muenblock-backend serve --region-dir "$WORK/others" --create-regions --log-level error --conn $CONN --device $RAM2:1
    rm -r "$WORK/others"
}
