# shellcheck shell=bash
# What is put on top of a disk: file systems, encryption, logical volumes, partitions, and some of them on each other. Each is made,
# filled, checked, found the same when it was closed and opened again; and what it frees is freed on the backend's side.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

# Little, as the processor may be emulated.
readonly _LARGE_MIB=12
readonly _KEY=$WORK/key
readonly _MAPPED=layer    # the name of the encrypted device

# Images, sparse and in memory, as devices of one connection; sets devices.
_export() {    # MIB...
    local size arguments=() number=0
    for size; do
        truncate -s "${size}M" "image-$number"
        arguments+=(--device "image-$number:1")
        number=$((number + 1))
    done
    start_backend --conn $CONN "${arguments[@]}"
    add --conn $CONN
}

_used_kib() { du -k --total image-* | tail -n 1 | cut -f 1; }

# _frees KIB COMMAND...: the command makes the images so much smaller, at least.
_frees() {
    local before
    before=$(_used_kib)
    "${@:2}"
    (($(_used_kib) <= before - $1)) || fail "${*:2}: the images went from $before to $(_used_kib) KiB"
}

# A file system that was made on DEVICE: filled, checked by COMMAND, found the same, trimmed.
_file_system() {    # DEVICE COMMAND...
    mkdir -p /mnt/layer
    mount "$1" /mnt/layer
    random_file /mnt/layer/large $((_LARGE_MIB * 1048576))
    cp -a /usr/lib/x86_64-linux-gnu/perl-base/[A-F]* /mnt/layer/
    (cd /mnt/layer && find . -type f -print0 | sort -z | xargs -0 md5sum) >before
    (($(wc -l <before) >= 20)) || fail "a tree of only $(wc -l <before) files"
    umount /mnt/layer
    "${@:2}" || fail "${*:2}: ended with $?"
    mount "$1" /mnt/layer
    (cd /mnt/layer && find . -type f -print0 | sort -z | xargs -0 md5sum) | cmp before -
    rm /mnt/layer/large
    sync -f /mnt/layer
    _frees $((_LARGE_MIB * 1024 * 3 / 4)) fstrim /mnt/layer
    umount /mnt/layer
    "${@:2}" || fail "${*:2} after fstrim: ended with $?"
}

_ext() {    # VERSION
    _export 48
    "mkfs.ext$1" -q "${devices[0]}"
    _file_system "${devices[0]}" fsck.ext4 -fn "${devices[0]}"
}

ext2_is_made_filled_checked_remounted_and_trimmed() { _ext 2; }
ext3_is_made_filled_checked_remounted_and_trimmed() { _ext 3; }
ext4_is_made_filled_checked_remounted_and_trimmed() { _ext 4; }

xfs_is_made_filled_checked_remounted_and_trimmed() {
    _export 320    # the least that mkfs.xfs takes is 300
    mkfs.xfs -q "${devices[0]}"
    _file_system "${devices[0]}" xfs_repair -n "${devices[0]}"
}

btrfs_is_made_filled_checked_remounted_and_trimmed() {
    _export 160    # the least that mkfs.btrfs takes is 109
    mkfs.btrfs -q "${devices[0]}"
    _file_system "${devices[0]}" btrfs check "${devices[0]}"
    # Its own checksums, of data as well.
    mount "${devices[0]}" /mnt/layer
    btrfs scrub start -B /mnt/layer | grep -q 'no errors found'
    umount /mnt/layer
}

_encrypt() {    # DEVICE
    head -c 64 /dev/urandom >$_KEY
    cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file $_KEY "$1"
    _open "$1"
}
_open() { cryptsetup open --allow-discards --key-file $_KEY "$1" $_MAPPED; }

luks2_keeps_what_is_written_secret_from_the_backend_and_passes_discards_on() {
    _export 48
    _encrypt "${devices[0]}"
    perl -e 'print substr("a line that nobody may read\n" x 160_000, 0, 4 << 20)' >plain
    dd if=plain of=/dev/mapper/$_MAPPED bs=256k oflag=direct conv=fsync status=none
    cryptsetup close $_MAPPED
    LC_ALL=C grep -qaF 'nobody may read' plain
    if LC_ALL=C grep -qaF 'nobody may read' image-0; then fail 'the backend can read what was encrypted'; fi
    equal LUKS "$(head -c 4 image-0)" 'the first bytes of the image'
    _open "${devices[0]}"
    cmp -n $((4 * 1048576)) plain /dev/mapper/$_MAPPED
    _frees $((3 * 1024)) blkdiscard -l $((4 * 1048576)) /dev/mapper/$_MAPPED
    cryptsetup close $_MAPPED
}

_lvm() { lvm "$1" --quiet --quiet --yes --config 'activation { udev_sync = 0 udev_rules = 0 } devices { issue_discards = 1 }' "${@:2}"; }

a_logical_volume_over_two_devices_is_the_same_after_its_group_was_closed_and_gives_space_back() {
    _export 32 32
    _lvm pvcreate "${devices[@]}"
    _lvm vgcreate group "${devices[@]}"
    _lvm lvcreate --name volume --size 48M group
    random_file payload $((48 * 1048576))
    dd if=payload of=/dev/mapper/group-volume bs=1M oflag=direct conv=fsync status=none
    _lvm vgchange --activate n group
    _lvm vgchange --activate y group
    cmp payload /dev/mapper/group-volume
    # Both devices hold a part of it.
    (($(du -k image-0 | cut -f 1) > 8192 && $(du -k image-1 | cut -f 1) > 8192)) || fail 'the volume is on one device only'
    _frees $((40 * 1024)) _lvm lvremove group/volume
    _lvm vgremove group
}

ext4_on_a_logical_volume_on_luks2_is_made_filled_checked_remounted_and_trimmed() {
    _export 64
    _encrypt "${devices[0]}"
    _lvm pvcreate /dev/mapper/$_MAPPED
    _lvm vgcreate group /dev/mapper/$_MAPPED
    _lvm lvcreate --name volume --extents 100%FREE group
    mkfs.ext4 -q /dev/mapper/group-volume
    _file_system /dev/mapper/group-volume fsck.ext4 -fn /dev/mapper/group-volume

    # All of it closed from the top to the device itself, and opened again.
    _lvm vgchange --activate n group
    cryptsetup close $_MAPPED
    del 0
    add --conn $CONN
    _open "${devices[0]}"
    _lvm vgchange --activate y group
    fsck.ext4 -fn /dev/mapper/group-volume
    mount -o ro /dev/mapper/group-volume /mnt/layer
    (cd /mnt/layer && grep -v ' \./large$' "$WORK/before" | md5sum --quiet -c -)
    umount /mnt/layer
    _lvm vgchange --activate n group
    cryptsetup close $_MAPPED
}

file_systems_on_the_partitions_of_a_gpt_are_made_filled_checked_remounted_and_trimmed() {
    _export 96
    sgdisk --new=1:2048:+40M --new=2:0:+40M "${devices[0]}" >/dev/null
    blockdev --rereadpt "${devices[0]}"
    mkfs.ext4 -q "${devices[0]}p1"
    mkfs.ext2 -q "${devices[0]}p2"
    _file_system "${devices[0]}p1" fsck.ext4 -fn "${devices[0]}p1"
    _file_system "${devices[0]}p2" fsck.ext4 -fn "${devices[0]}p2"
    sgdisk --verify "${devices[0]}" | grep -q 'No problems found'
    del 0
    add --conn $CONN
    fsck.ext4 -fn "${devices[0]}p1"
    fsck.ext4 -fn "${devices[0]}p2"
}
