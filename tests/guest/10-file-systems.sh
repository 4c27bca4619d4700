# shellcheck shell=bash
# A file system on the device, and the same bytes on the backend's own disk.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_checksums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 md5sum; find . ! -type f -printf '%y %p %l\n' | sort); }

# A real tree of this machine: programs, configuration, links, empty files.
_copy_tree() {
    mkdir "$1/tree"
    cp -a /etc /usr/lib/x86_64-linux-gnu/perl-base /usr/bin/a* "$1/tree/"
}

ext4_keeps_a_tree_over_unmount_fsck_and_remount_and_the_disk_holds_it_after_del() {
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    mkfs.ext4 -q "${devices[0]}"
    mkdir -p /mnt/fs
    mount "${devices[0]}" /mnt/fs
    _copy_tree /mnt/fs
    _checksums /mnt/fs/tree >before
    (($(wc -l <before) > 300)) || fail "a tree of only $(wc -l <before) files"
    umount /mnt/fs

    fsck.ext4 -fn "${devices[0]}"
    mount "${devices[0]}" /mnt/fs
    _checksums /mnt/fs/tree | cmp before -
    umount /mnt/fs
    del 0
    stop_backend

    fsck.ext4 -fn $RAM
    mount -o ro $RAM /mnt/fs
    _checksums /mnt/fs/tree | cmp before -
    umount /mnt/fs
}

ext4_works_on_blocks_of_4096_bytes() {
    start_backend --conn $CONN --device $DISK4K:1
    add --conn $CONN
    equal 4096 "$(queue "${devices[0]}" logical_block_size)" 'the logical block size'
    equal "$(blockdev --getsize64 $DISK4K)" "$(blockdev --getsize64 "${devices[0]}")" 'the size'
    mkfs.ext4 -q "${devices[0]}"
    mkdir -p /mnt/fs
    mount "${devices[0]}" /mnt/fs
    random_file /mnt/fs/file 8000000
    md5sum </mnt/fs/file >before
    umount /mnt/fs
    fsck.ext4 -fn "${devices[0]}"
    mount "${devices[0]}" /mnt/fs
    md5sum </mnt/fs/file | cmp before -
    umount /mnt/fs
}

partitions_of_a_gpt_appear_and_are_where_the_disk_has_them() {
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    sgdisk --zap-all --new=1:2048:+16M --new=2:0:+32M "${devices[0]}" >/dev/null
    blockdev --rereadpt "${devices[0]}"
    equal $((16 * 1048576)) "$(blockdev --getsize64 "${devices[0]}p1")" 'the size of the first partition'
    equal $((32 * 1048576)) "$(blockdev --getsize64 "${devices[0]}p2")" 'the size of the second partition'
    random_file payload 1048576
    dd if=payload of="${devices[0]}p2" bs=64k oflag=direct conv=fsync status=none
    local start
    start=$(($(cat "/sys/block/ublkb0/ublkb0p2/start") * 512))
    cmp payload <(dd if=$DISK bs=64k iflag=direct,skip_bytes skip=$start count=16 status=none)
    del 0

    # They are found when a device is added, too, and are devices of their own for a backend.
    add --conn $CONN
    [[ -b ${devices[0]}p1 && -b ${devices[0]}p2 ]] || fail "no partitions after add: $(ls /dev/ublkb*)"
    del 0
    stop_backend
    blockdev --rereadpt $DISK
    start_backend --conn $CONN --device ${DISK}2:1
    add --conn $CONN
    equal $((32 * 1048576)) "$(blockdev --getsize64 "${devices[0]}")" 'the size of the exported partition'
    cmp -n 1048576 payload "${devices[0]}"
    leave_nothing
    sgdisk --zap-all $DISK >/dev/null
}
