# shellcheck shell=bash
# A successor does nothing while I/O of its killed predecessor is still on its way; and who lives is not disturbed.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

# The kernel holds back what a control group reads and writes, and nobody else's I/O on the same disk: so a predecessor's waits and its
# successor's does not. What it holds back goes on to the disk also when its process is gone.
readonly _GROUPS=/run/cgroup _BYTES=16384
_number() { lsblk --noheadings --nodeps --output MAJ:MIN "$1" | tr -d ' '; }
_hold() {    # PID rbps|wbps DISK...
    local group=$_GROUPS/$1 disk
    mountpoint -q $_GROUPS || { mkdir -p $_GROUPS; mount -t cgroup2 none $_GROUPS; }
    echo +io >$_GROUPS/cgroup.subtree_control
    mkdir "$group"
    for disk in "${@:3}"; do echo "$(_number "$disk") $2=1" >"$group/io.max"; done
    echo "$1" >"$group/cgroup.procs"
}
_let_go() { local group; for group in $_GROUPS/*/; do echo "$(_number "$1") rbps=max wbps=max" >"$group/io.max"; done; }    # DISK
_remove_groups() {
    local group
    for group in $_GROUPS/*/; do wait_for 10 rmdir "$group"; done
    umount $_GROUPS
}
_block_of() { dd if="$1" bs=$_BYTES count=1 iflag=direct status=none; }
_write() { dd if="$1" of="$2" bs=$_BYTES count=1 oflag=direct conv=notrunc status=none; }
_has_logged() { grep -q "$1" "$backend_log"; }

# The predecessor's I/O has reached the disk, and dies with it.
_dies_with() { wait_for 30 _has_logged "$1 of device 0 takes long"; kill -KILL "$backend"; backends=("${backends[@]/#$backend/}"); }

# succeed PATTERN COMMAND ARG...: starts the successor with those ARGs, and runs COMMAND, which takes one argument, when its log has the pattern:
# until then it serves nobody, for as long as it takes.
_succeed() {
    local pattern=$1 let_go=$2 log=$WORK/backend-${#backends[@]}.log
    {
        wait_for 60 grep -q "$pattern" "$log"
        sleep 1
        ! grep 'serving .* device' "$log" || fail 'the successor serves while its predecessor has I/O under way'
        $let_go
    } &
    local watcher=$!
    start_backend "${@:3}"
    wait $watcher
}

a_killed_backends_writes_do_not_land_after_its_successors() {
    local i writers=() image=/mnt/images/image
    random_file older $_BYTES
    random_file newer $_BYTES
    mkfs.ext4 -q $RAM2
    mkdir -p /mnt/images
    mount $RAM2 /mnt/images
    dd if=/dev/zero of=$image bs=1M count=8 conv=fsync status=none
    start_backend --conn $CONN --device $RAM:1,$image:1 --stall-warning 1
    add --conn $CONN
    _hold "$backend" wbps $RAM $RAM2
    for i in 0 1; do
        _write older "${devices[i]}" &
        writers+=($!)
    done
    wait_for 30 _has_logged 'Write of device 1 takes long'
    _dies_with Write

    # Other regions: the disks alone are what the two have in common.
    _both_go() { _let_go $RAM; _let_go $RAM2; }
    _succeed "$RAM: waiting for the last I/O of a backend that died, which may still write to it" _both_go --conn $CONN2 --device $RAM:2,$image:2
    add --conn $CONN2
    _write newer "${devices[0]}"
    _write newer "${devices[1]}"
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
    _remove_groups
}

# A read that comes late would be written into the buffer, over what the successor's client has there by then.
a_killed_backends_reads_do_not_reach_the_buffer_after_its_successors() {
    local reader
    random_file older $_BYTES
    random_file newer $_BYTES
    _write older $RAM
    start_backend --conn $CONN --device $RAM:1 --stall-warning 1
    add --conn $CONN --depth 1
    _hold "$backend" rbps $RAM
    _block_of "${devices[0]}" >/dev/null &
    reader=$!
    _dies_with Read

    # Another disk: the buffer alone is what the two have in common. The only slot then holds the newer data.
    _succeed 'connection 1: waiting for the last I/O of a backend that died' "_let_go $RAM" --conn $CONN --device $RAM2:1
    wait $reader
    _write newer "${devices[0]}"
    _block_of $RAM2 | cmp newer -
    leave_nothing
    _remove_groups
}

# Its process stays for as long as its worker's flush does, and must not be taken for one that lives.
a_backend_killed_in_a_flush_is_waited_for() {
    local flusher
    dmsetup create held --table "0 65536 linear $DISK 0"
    random_file payload 4096
    start_backend --conn $CONN --device /dev/mapper/held:1 --stall-warning 1
    add --conn $CONN
    dd if=payload of="${devices[0]}" bs=4k oflag=direct status=none
    dmsetup suspend --nolockfs held
    dd if=/dev/null of="${devices[0]}" bs=4k conv=notrunc,fsync status=none &
    flusher=$!
    _dies_with Sync
    _succeed 'connection 1: waiting for the last I/O of a backend that died' 'dmsetup resume held' --conn $CONN --device /dev/mapper/held:1
    wait $flusher
    cmp -n 4096 payload $DISK
    leave_nothing
    dmsetup remove held
}

sigterm_ends_the_wait_for_a_dead_backends_io() {
    local writer log=waits.log status=0
    random_file payload 4096
    dmsetup create held --table "0 65536 linear $RAM 0"
    start_backend --conn $CONN --device /dev/mapper/held:1 --stall-warning 1
    add --conn $CONN
    dmsetup suspend --nolockfs held
    _write payload "${devices[0]}" &
    writer=$!
    _dies_with Write
    muenblock-backend serve "${server_arguments[@]}" --conn $CONN --device /dev/mapper/held:1 2>$log &
    backend=$!
    wait_for 20 grep -q 'waiting for the last I/O of a backend that died' $log
    kill -TERM $backend
    wait_for 20 gone $backend
    wait $backend || status=$?
    equal 6 $status 'the exit code'
    grep -q 'asked to end while the last I/O of another backend' $log
    dmsetup resume held
    start_backend --conn $CONN --device /dev/mapper/held:1
    wait $writer
    cmp -n 4096 payload $RAM
    leave_nothing
    dmsetup remove held
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
