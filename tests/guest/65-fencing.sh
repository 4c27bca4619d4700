# shellcheck shell=bash
# A successor does nothing while I/O of its killed predecessor is still on its way; and who lives is not disturbed.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

# The kernel holds back what a control group reads and writes, and nobody else's I/O on the same disk: so a predecessor is slow and its
# successor is not. What it holds back goes on to the disk also when its process is gone.
readonly _GROUPS=/run/cgroup _SLOW_BYTES=16384 _SLOW_SECONDS=5
_number() { lsblk --noheadings --nodeps --output MAJ:MIN "$1" | tr -d ' '; }
_slow_down() {    # PID rbps|wbps DISK...
    local group=$_GROUPS/$1 disk
    mountpoint -q $_GROUPS || { mkdir -p $_GROUPS; mount -t cgroup2 none $_GROUPS; }
    echo +io >$_GROUPS/cgroup.subtree_control
    mkdir "$group"
    for disk in "${@:3}"; do echo "$(_number "$disk") $2=$((_SLOW_BYTES / _SLOW_SECONDS))" >"$group/io.max"; done
    echo "$1" >"$group/cgroup.procs"
}
_speed_up() {
    local group
    for group in $_GROUPS/*/; do wait_for 10 rmdir "$group"; done
    umount $_GROUPS
}
_block_of() { dd if="$1" bs=$_SLOW_BYTES count=1 iflag=direct status=none; }
_write() { dd if="$1" of="$2" bs=$_SLOW_BYTES count=1 oflag=direct conv=notrunc status=none; }
_has_logged() { grep -q "$1" "$backend_log"; }

a_killed_backends_writes_do_not_land_after_its_successors() {
    local i writers=() image=/mnt/images/image
    random_file older $_SLOW_BYTES
    random_file newer $_SLOW_BYTES
    mkfs.ext4 -q $RAM2
    mkdir -p /mnt/images
    mount $RAM2 /mnt/images
    dd if=/dev/zero of=$image bs=1M count=8 conv=fsync status=none
    start_backend --conn $CONN --device $RAM:1,$image:1
    add --conn $CONN
    _slow_down "$backend" wbps $RAM $RAM2
    for i in 0 1; do
        _write older "${devices[i]}" &
        writers+=($!)
    done
    sleep 1
    kill_backend

    # Other regions: the disks alone are what the two have in common.
    start_backend --conn $CONN2 --device $RAM:2,$image:2
    _has_logged "$RAM: waiting for the last I/O of a backend that died, which may still write to it"
    add --conn $CONN2
    _write newer "${devices[0]}"
    _write newer "${devices[1]}"
    sleep $_SLOW_SECONDS
    _block_of $RAM | cmp newer -
    _block_of $image | cmp newer -

    # What the first client wrote is still to be written, wherever its next server has it.
    stop_backend
    start_backend --conn $CONN --device $RAM:1,$image:1
    wait "${writers[0]}"
    wait "${writers[1]}"
    _block_of $RAM | cmp older -
    _block_of $image | cmp older -
    leave_nothing
    umount /mnt/images
    _speed_up
}

# A read that comes late would be written into the buffer, over what the successor's client has there by then.
a_killed_backends_reads_do_not_reach_the_buffer_after_its_successors() {
    local reader
    random_file older $_SLOW_BYTES
    random_file newer $_SLOW_BYTES
    _write older $RAM
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN --depth 1
    _slow_down "$backend" rbps $RAM
    _block_of "${devices[0]}" >/dev/null &
    reader=$!
    sleep 1
    kill_backend

    # Another disk: the buffer alone is what the two have in common. The only slot holds the newer data while it is slowly written.
    start_backend --conn $CONN --device $RAM2:1
    wait $reader
    _slow_down "$backend" wbps $RAM2
    _write newer "${devices[0]}"
    _block_of $RAM2 | cmp newer -
    _has_logged 'connection 1: waiting for the last I/O of a backend that died'
    leave_nothing
    _speed_up
}

# Its process stays for as long as its worker's flush does, and must not be taken for one that lives.
a_backend_killed_in_a_flush_is_waited_for() {
    local writer
    modprobe dm-delay
    dmsetup create slow --table "0 65536 delay $DISK 0 0 $DISK 0 0 $DISK 0 4000"
    random_file payload 4096
    start_backend --conn $CONN --device /dev/mapper/slow:1
    add --conn $CONN
    dd if=payload of="${devices[0]}" bs=4k oflag=direct conv=fsync status=none &
    writer=$!
    sleep 1
    kill -KILL "$backend"
    backends=("${backends[@]/#$backend/}")
    start_backend --conn $CONN --device /dev/mapper/slow:1
    _has_logged 'connection 1: waiting for the last I/O of a backend that died'
    wait $writer
    cmp -n 4096 payload $DISK
    leave_nothing
    dmsetup remove slow
}

a_disk_and_a_connection_have_one_backend_at_a_time() {
    truncate -s 1M image image2
    start_backend --conn $CONN --device $RAM:1,image:1
    local second=(muenblock-backend serve --log-level warn --create-regions --region-dir)
    refused 6 "$RAM is exported for writing by another backend (process $backend)" "${second[@]}" "$WORK/others" --conn $CONN --device $RAM:1
    refused 6 "image is exported for writing by another backend (process $backend)" "${second[@]}" "$WORK/others" --conn $CONN --device image:1
    refused 6 "connection 1 is served by another backend (process $backend)" "${second[@]}" "$REGIONS" --conn $CONN --device image2:1
    add --conn $CONN
    verify "${devices[0]}" undisturbed --rw=randrw --bs=4k --size=1M
    rm -r "$WORK/others"
}
