# shellcheck shell=bash
# The power fails at a flush: what the disk has by then is a clean file system with every file whole that fsync had returned for,
# also where backend or client died while it waited.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _FILES=4
readonly _CUTS_MAX=${MUENBLOCK_POWER_CUTS:-5}    # of all flushes, evenly spread; each costs seconds

_serve_logged() { start_backend --conn $CONN --device /dev/mapper/logged:1; }

_in_fsync() { [[ $(<"/proc/$1/syscall") == '74 '* ]]; }    # its number on x86_64

# _sync_over_a_death FILE backend|client: the sync begins before the death, and ends after it, as the disk is held up meanwhile.
_sync_over_a_death() {
    dmsetup suspend --nolockfs logged
    sync "$1" &
    local waiting=$!
    wait_for 20 _in_fsync $waiting
    wait_for 20 has_in_flight 1
    if [[ $2 == backend ]]; then kill_backend at-once; else kill_client; fi    # a backend is gone when the disk has done what it had begun
    _in_fsync $waiting || fail "the sync had ended before the death of the $2"
    dmsetup resume logged
    if [[ $2 == backend ]]; then
        killed_backend_ends
        _serve_logged
    else
        recover 0 --connect-timeout 60 >/dev/null
    fi
    wait $waiting
}

# _write_files DIR: each is synced by itself, among others that are not, and the log of the disk is marked when fsync has returned.
_write_files() {
    local i
    for ((i = 1; i <= _FILES; i++)); do
        head -c $((i * 70000)) /dev/urandom >"$1/unsynced$i"
        random_file "kept$i" $((i * 33333))
        cp "kept$i" "$1/kept$i"
        case $i in
            2) _sync_over_a_death "$1/kept$i" backend ;;
            3) _sync_over_a_death "$1/kept$i" client ;;
            *) sync "$1/kept$i" ;;
        esac
        dmsetup message logged 0 mark "kept$i"
        rm -f "$1/unsynced$((i - 2))"
    done
}

# _is_whole FILE KEPT CHECK...: a file system after a power cut, with so many files that must be in it.
_is_whole() {
    local i
    mount -o loop "$1" /mnt/cut
    for ((i = 1; i <= $2; i++)); do cmp "kept$i" "/mnt/cut/kept$i"; done
    umount /mnt/cut
    "${@:3}" "$1"
}

_power_cuts() {    # MKFS CHECK...
    local sectors=$((64 * 2048)) flushes marks cut from=1 i kept cuts=0
    modprobe dm-log-writes
    dmsetup create logged --table "0 $sectors log-writes $RAM $RAM2"
    _serve_logged
    add --conn $CONN
    $1 "${devices[0]}" >mkfs.out 2>&1 || { cat mkfs.out; return 1; }
    sync
    dmsetup message logged 0 mark made
    mkdir -p /mnt/fs /mnt/cut
    mount "${devices[0]}" /mnt/fs
    _write_files /mnt/fs
    umount /mnt/fs
    leave_nothing
    dmsetup remove logged

    "$here/log-writes.pl" $RAM2 >entries
    # The line of every flush after the file system was made, and how many files were kept by then.
    awk '$1 == "mark" { marks++ } $1 == "flush" && marks { print NR, marks - 1 }' entries >flushes
    flushes=$(wc -l <flushes)
    echo "$flushes flushes"
    ((flushes >= 2 * _FILES)) || fail 'too few flushes for as many fsyncs'
    truncate -s $((sectors * 512)) disk
    for ((i = 1; i <= flushes; i++)); do
        # The last one always, and so many others that there are as many as wanted.
        ((i == flushes || i * _CUTS_MAX / flushes > (i - 1) * _CUTS_MAX / flushes)) || continue
        read -r cut kept < <(sed -n "${i}p" flushes)
        sed -n "${from},${cut}p" entries | "$here/replay.pl" $RAM2 disk
        from=$((cut + 1))
        cp --sparse=always disk after-cut
        _is_whole after-cut "$kept" "${@:2}" >checked 2>&1 || { cat checked; fail "after flush $i of $flushes, with $kept files kept"; }
        cuts=$((cuts + 1))
    done
    equal $_FILES "$kept" 'the number of files kept in the end'
    echo "$cuts power cuts"
}

ext4_is_clean_and_synced_files_are_whole_after_a_power_cut_at_a_flush() { _power_cuts 'mkfs.ext4 -q' fsck.ext4 -fn; }

# mkfs.xfs makes a file system as small as this one for tests only, which it takes these variables for.
xfs_is_clean_and_synced_files_are_whole_after_a_power_cut_at_a_flush() {
    modprobe xfs
    export TEST_DIR=/mnt/fs TEST_DEV=/dev/ublkb0 QA_CHECK_FS=1
    _power_cuts 'mkfs.xfs -q -f' xfs_repair -n
}
