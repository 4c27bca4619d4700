# shellcheck shell=bash
# Our client on a server with the habits of the original's native ones, which the Python peer has (tests/peer/server.py --help).
# tests/peer/guest_client.sh has more of this, and takes longer.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _ADA=$CONN:5155684453516f3d:5155684453516f3d

# --supervise child: what is killed is a child of Python, which starts once a test.
# -replay: a server that executes once more what it finds in the channel is beyond any client's help.
_ada_server() {    # ARG...
    start_python_server --conn $_ADA --ada=all,-replay --discard punch --supervise child "$@"
    python_server_serves
}
_end_ada_server() {
    kill -TERM $server
    wait $server || true
}
_copy_and_sync_half() { cp -a /usr/lib/x86_64-linux-gnu/perl-base/[A-L]* /mnt/fs/ && sync -f /mnt/fs; }

a_file_system_on_a_server_with_the_originals_habits_survives_a_death_of_it() {
    local server copy
    truncate -s 32M image
    : >no-blocks
    _ada_server --device no-blocks:1,image:1
    add --conn $_ADA
    equal /dev/ublkb0 "${devices[*]}" 'the devices, without the one that has no blocks,'
    grep -q '/dev/ublkb0: device 1 of the connection' "$CLIENT_LOG"
    grep -q 'ready; the backend knows None' "$CLIENT_LOG"
    mkfs.ext4 -q "${devices[0]}"
    mkdir -p /mnt/fs
    mount "${devices[0]}" /mnt/fs
    until_enough _copy_and_sync_half &
    copy=$!
    sleep 0.5
    hold_up "$(<child)"
    kill -0 $copy || fail 'the copy failed before the death'
    kill -KILL "$(<child)"
    touch enough
    wait $copy
    random_file /mnt/fs/large 4000000
    wait_for 30 sessions_are 2
    (cd /mnt/fs && find . -type f -print0 | sort -z | xargs -0 md5sum) >before
    (($(wc -l <before) > 20)) || fail "a tree of only $(wc -l <before) files"
    umount /mnt/fs
    not grep -E ' (error|fatal) ' "$CLIENT_LOG"
    del --all
    _end_ada_server
    # The same bytes in the image itself.
    fsck.ext4 -fn image
    mount -o ro,loop image /mnt/fs
    (cd /mnt/fs && find . -type f -print0 | sort -z | xargs -0 md5sum) | cmp before -
    umount /mnt/fs
}

# Writes of 4 KiB that are 4096 sectors apart, from slots of 4 KiB side by side: just the pairs that the original takes for neighbours.
no_pair_is_pending_that_the_original_would_merge_and_all_else_is_verified() {
    local server start
    truncate -s 64M image
    _ada_server --device image:1
    add --conn $_ADA --max-io 4096 --depth 64
    for start in 0 8; do
        verify "${devices[0]}" "stride$start" --rw=write:2044k --bs=4k --offset="${start}k" --size=62M --iodepth=32 --io_size=31M --do_verify=1
    done
    del --all
    add --conn $_ADA
    verify "${devices[0]}" mixed --rw=randrw --bssplit=512/10:4k/40:16k/20:64k/20:128k/10 --iodepth=16 --serialize_overlap=1 --size=16M --io_size=3M --verify_backlog=32
    del --all
    _end_ada_server
}
