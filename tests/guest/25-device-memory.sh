# shellcheck shell=bash
# Regions whose pages cannot be pinned: the memory of PCI devices, which the kernel maps as Muen's regions are mapped.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _BUFFER_BYTES=16777216
readonly _BOUNCED="cannot be pinned: data is copied through a bounce buffer of $_BUFFER_BYTES bytes"

# Both ends say which way the data goes. Drivers from 7.0 on reach the memory all the same.
_data_is_bounced() {
    grep -q "buffer1 $_BOUNCED" "$backend_log"
    case $(uname -r) in
        6.*) grep -q "buffer1 $_BOUNCED" "$CLIENT_LOG" ;;
        *) grep -q "buffer1 cannot be pinned, but this kernel's driver need not" "$CLIENT_LOG" ;;
    esac
}

# From a sector to more than a megabyte at once, on a disk that copies and on one that transfers; and each has its own data.
fio_verifies_two_disks_through_a_buffer_that_cannot_be_pinned() {
    in_device_memory buffer1 $_BUFFER_BYTES
    start_backend --conn $CONN --device $RAM:1,$DISK:1
    add --conn $CONN
    _data_is_bounced
    verify "${devices[0]}" bounced --rw=randrw --rwmixread=30 --bssplit=512/15:4k/35:20k/20:128k/20:1m/10 --iodepth=16 \
        --serialize_overlap=1 --verify_backlog=64 --size=64M --io_size=8M --name=other --filename="${devices[1]}"
    random_file payload 4194304
    dd if=payload of="${devices[1]}" bs=1M oflag=direct conv=fsync status=none
    cmp payload <(dd if=$DISK bs=1M count=4 iflag=direct status=none)
    cmp -n 4194304 payload "${devices[1]}"
}

_copy_and_sync() { cp -aT /usr/lib/x86_64-linux-gnu/perl-base /mnt/fs/tree && sync -f /mnt/fs; }

a_file_system_keeps_its_checksums_in_a_buffer_that_cannot_be_pinned_over_a_death_of_the_backend() {
    in_device_memory buffer1 $_BUFFER_BYTES
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    _data_is_bounced
    mkfs.ext4 -q "${devices[0]}"
    mkdir -p /mnt/fs
    mount "${devices[0]}" /mnt/fs
    until_enough _copy_and_sync &
    local copy=$!
    sleep 0.5
    hold_up "$backend"
    kill -0 $copy || fail 'the copy failed before the death'
    kill_backend
    sleep 0.3
    start_backend --conn $CONN --device $RAM:1
    touch enough
    wait $copy
    echo 3 >/proc/sys/vm/drop_caches
    diff -r /usr/lib/x86_64-linux-gnu/perl-base /mnt/fs/tree
    umount /mnt/fs
    fsck.ext4 -fn "${devices[0]}"
    not grep -E ' (error|fatal) ' "$CLIENT_LOG"
}
