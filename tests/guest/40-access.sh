# shellcheck shell=bash
# Read-only exports, discards, sizes.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_is_read_only() {
    equal 1 "$(cat "/sys/block/${devices[0]##*/}/ro")" 'ro in /sys'
    cmp -n 65536 payload "${devices[0]}"
    not dd if=/dev/zero of="${devices[0]}" bs=4k count=1 oflag=direct status=none 2>refusal
    grep -qE 'Operation not permitted|Read-only' refusal || { cat refusal; return 1; }
    not blkdiscard -f "${devices[0]}" 2>>refusal
    cmp -n 65536 payload "$1"
}

a_read_only_export_is_a_read_only_device() {
    random_file payload 65536
    dd if=payload of=$RAM bs=64k oflag=direct status=none
    start_backend --conn $CONN --device $RAM:1 --read-only
    add --conn $CONN
    _is_read_only $RAM
    grep -q 'read-only' "$backend_log"
}

add_read_only_makes_a_read_only_device_of_a_writable_export() {
    random_file payload 65536
    cp payload image
    start_backend --conn $CONN --device image:1
    add --conn $CONN --read-only
    _is_read_only image
}

a_read_only_file_system_mounts_from_a_read_only_export_of_a_mounted_image() {
    truncate -s 32M image
    mkfs.ext4 -q image
    mkdir -p /mnt/ro /mnt/backends
    mount -o loop image /mnt/backends
    echo content >/mnt/backends/file
    mount -o remount,ro /mnt/backends
    start_backend --conn $CONN --device image:1 --read-only
    add --conn $CONN
    mount -o ro,noload "${devices[0]}" /mnt/ro
    equal content "$(cat /mnt/ro/file)" 'the content of the file'
    umount /mnt/ro /mnt/backends
}

# The regions and the disks need no more rights than these.
a_disk_that_is_read_only_is_refused_unless_the_export_is_read_only() {
    blockdev --setro $RAM2
    refused 4 'is read-only: export it with --read-only' muenblock-backend serve --region-dir "$REGIONS" --create-regions --conn $CONN --device $RAM2:1
    start_backend --conn $CONN --device $RAM2:1 --read-only
    add --conn $CONN
    equal 1 "$(cat /sys/block/ublkb0/ro)" 'ro in /sys'
    leave_nothing
    blockdev --setrw $RAM2
}

a_discard_punches_a_hole_into_an_image_file() {
    random_file image $((32 * 1048576))
    random_file rest 4096
    start_backend --conn $CONN --device image:1
    add --conn $CONN
    (($(queue "${devices[0]}" discard_max_bytes) > 0)) || fail 'the device cannot discard'
    local before after
    before=$(du -k image | cut -f1)
    blkdiscard -v -o $((4 * 1048576)) -l $((16 * 1048576)) "${devices[0]}"
    after=$(du -k image | cut -f1)
    equal $((16 * 1024)) $((before - after)) 'what the image shrank by, in KiB,'
    is_zero "${devices[0]}" $((4 * 1048576)) $((16 * 1048576))
    cmp -n $((4 * 1048576)) image "${devices[0]}"
    not is_zero "${devices[0]}" $((20 * 1048576)) 4096 2>/dev/null
    blkdiscard -v "${devices[0]}"
    is_zero "${devices[0]}" 0 $((32 * 1048576))
    (($(du -k image | cut -f1) < 1024)) || fail "the image still has $(du -k image | cut -f1) KiB"
}

a_discard_reaches_a_virtio_disk() {
    random_file payload 1048576
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    dd if=payload of="${devices[0]}" bs=1M oflag=direct conv=fsync status=none
    local before
    before=$(awk '{ print $12 }' /sys/block/vda/stat)
    blkdiscard -v -l 1048576 "${devices[0]}"
    (($(awk '{ print $12 }' /sys/block/vda/stat) > before)) || fail 'the disk got no discard'
    is_zero "${devices[0]}" 0 1048576
    is_zero $DISK 0 1048576
}

fstrim_of_a_mounted_ext4_gives_space_back() {
    truncate -s 128M image
    start_backend --conn $CONN --device image:1
    add --conn $CONN
    mkfs.ext4 -q "${devices[0]}"
    mkdir -p /mnt/trim
    mount "${devices[0]}" /mnt/trim
    random_file /mnt/trim/large $((48 * 1048576))
    sync -f /mnt/trim
    local before after
    before=$(du -m image | cut -f1)
    rm /mnt/trim/large
    sync -f /mnt/trim
    fstrim -v /mnt/trim
    after=$(du -m image | cut -f1)
    ((before - after >= 40)) || fail "the image went from $before MiB to $after MiB"
    umount /mnt/trim
    fsck.ext4 -fn "${devices[0]}"
}

a_disk_without_discard_is_a_device_without_and_mkfs_works() {
    equal 0 "$(queue $PLAIN_DISK discard_max_bytes)" 'what the disk can discard'
    start_backend --conn $CONN --device $PLAIN_DISK:1
    add --conn $CONN
    equal 0 "$(queue "${devices[0]}" discard_max_bytes)" 'what the device can discard'
    mkfs.ext4 -q "${devices[0]}"
    not blkdiscard -f "${devices[0]}"
    fsck.ext4 -fn "${devices[0]}"
}
