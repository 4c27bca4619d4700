# shellcheck shell=bash
# What fsync promises, and what a killed backend may not lose.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

# dm-log-writes stands where the disk is, and writes down what reaches it, in order, with the data.
fsync_reaches_the_disk_as_a_write_then_a_flush() {
    local sectors=$((64 * 2048)) offset=$((8 * 1048576)) length=65536 state=waiting
    modprobe dm-log-writes
    dd if=/dev/zero of=$RAM2 bs=1M count=1 oflag=direct status=none
    dmsetup create logged --table "0 $sectors log-writes $RAM $RAM2"
    start_backend --conn $CONN --device /dev/mapper/logged:1
    add --conn $CONN
    random_file payload $length
    dd if=payload of="${devices[0]}" bs=$length seek=$((offset / length)) oflag=direct conv=fsync status=none
    dmsetup message logged 0 mark fsync-returned
    leave_nothing
    dmsetup remove logged

    "$here/log-writes.pl" $RAM2 >entries
    cat entries
    # Before the mark: every sector of the payload, and then a flush.
    local at=$((offset / 512)) kind sector count log_offset
    while read -r kind sector count log_offset; do
        case $state:$kind in
            waiting:write)
                ((sector == at)) || continue
                cmp <(tail -c +$((sector * 512 - offset + 1)) payload | head -c $((count * 512))) \
                    <(dd if=$RAM2 iflag=direct,skip_bytes,fullblock bs=512 skip="$log_offset" count="$count" status=none)
                at=$((sector + count))
                ((at < (offset + length) / 512)) || state=written
                ;;
            written:flush) state=flushed ;;
            flushed:mark) state=proven ;;
            *:mark) break ;;
        esac
    done <entries
    equal proven $state 'the order of write, flush and the return of fsync'
}

fsync_raises_the_flush_counter_of_the_disk() {
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    equal 'write back' "$(queue "${devices[0]}" write_cache)" 'the kind of write cache'
    local before after
    before=$(flushes $DISK)
    dd if=/dev/urandom of="${devices[0]}" bs=4k count=1 oflag=direct status=none
    equal "$before" "$(flushes $DISK)" 'the number of flushes after a write without fsync'
    dd if=/dev/urandom of="${devices[0]}" bs=4k count=1 oflag=direct conv=fsync status=none
    after=$(flushes $DISK)
    ((after > before)) || fail "the disk has completed $after flushes, as before the fsync"
}

fsync_of_a_file_on_ext4_reaches_the_disk_as_a_flush() {
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    mkfs.ext4 -q "${devices[0]}"
    mkdir -p /mnt/sync
    mount "${devices[0]}" /mnt/sync
    local before
    before=$(flushes $DISK)
    dd if=/dev/urandom of=/mnt/sync/file bs=4k count=1 conv=fsync status=none
    (($(flushes $DISK) > before)) || fail 'no flush reached the disk'
    umount /mnt/sync
}

_sigkill_after_fsync() {    # DISK
    local i
    start_backend --conn $CONN --device "$1:1"
    add --conn $CONN
    for ((i = 0; i < 3; i++)); do
        random_file payload 1048576
        dd if=payload of="${devices[0]}" bs=64k seek=$((i * 16)) conv=fsync status=none
        kill_backend
        cmp payload <(dd if="$1" bs=64k skip=$((i * 16)) count=16 iflag=direct status=none)
        start_backend --conn $CONN --device "$1:1"
    done
}

sigkill_of_the_backend_after_fsync_loses_nothing_on_a_disk() { _sigkill_after_fsync $DISK; }

sigkill_of_the_backend_after_fsync_loses_nothing_in_an_image() {
    truncate -s 16M image
    _sigkill_after_fsync image
}
