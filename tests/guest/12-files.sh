# shellcheck shell=bash
# What file systems ask of a block device: the cases of xfstests' quick group that are about that, written anew (docs/testing.md has the list).
# tests/soak/file-systems does more of each.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _TIMES=${MUENBLOCK_FILES_TIMES:-1}    # how much of each, where it is a matter of how much
readonly _FS_MIB=100 _STORMS=3 _SHUTDOWN=0x8004587d    # XFS_IOC_GOINGDOWN, which ext4 has, too

_mount() { mount "$@" "${devices[0]}" /mnt/fs; }
_clean() { "${_fsck[@]}" "${1:-${devices[0]}}" >fsck.out 2>&1 || { cat fsck.out; fail 'the file system is damaged'; }; }
_mount_again() {    # OPTION...: after a look at it
    umount /mnt/fs
    _clean
    _mount "$@"
}
_reads_as_zeros() { cmp -n "$(stat -c %s "$1")" "$1" /dev/zero; }
_meets_storms() { hold_up "$backend"; kill -0 "${storms[@]}" || fail 'no storm was under way at a death'; }

# --- the cases -------------------------------------------------------------------------------------------------
# Programs rename, link, write, map, punch and copy at random, while client and backend die; a twin in memory says what must come of it.
_case_storms_agree_with_a_twin_in_memory_over_deaths_of_both_ends() {
    local i storms=()
    for ((i = 1; i <= _STORMS; i++)); do
        mkdir /mnt/fs/storm$i twin$i
        "$MUENBLOCK_TWINS" storm /mnt/fs/storm$i twin$i $((300 * _TIMES)) $((_seed + i)) &
        storms+=($!)
    done
    for ((i = 0; i < _TIMES; i++)); do
        _meets_storms
        kill -STOP "${storms[@]}"    # on a fast machine they would be over before the next death
        kill_client
        kill -CONT "$backend"
        recover 0 --connect-timeout 60 >/dev/null
        kill -CONT "${storms[@]}"
        _meets_storms
        kill_backend
        start_backend --conn $CONN --device $DISK:1
    done
    for i in "${storms[@]}"; do wait $i; done
    _mount_again
    for ((i = 1; i <= _STORMS; i++)); do "$MUENBLOCK_TWINS" same /mnt/fs/storm$i twin$i; done
    rm -r /mnt/fs/storm* twin*
}

_case_storms_agree_where_freed_blocks_are_discarded_at_once() {
    _mount_again -o discard
    mkdir /mnt/fs/discarding twin
    "$MUENBLOCK_TWINS" storm /mnt/fs/discarding twin $((200 * _TIMES)) $_seed
    _mount_again
    "$MUENBLOCK_TWINS" same /mnt/fs/discarding twin
    rm -r /mnt/fs/discarding twin
}

# The disk below was full of something else.
_case_what_was_never_written_reads_as_zeros() {
    fallocate -l 8M /mnt/fs/allocated
    truncate -s 8M /mnt/fs/sparse
    xfs_io -f -c 'pwrite -q 0 100' -c 'truncate 3m' -c 'fzero 0 100' /mnt/fs/grown
    xfs_io -f -c 'pwrite -q -S 7 0 4m' -c fsync -c 'fpunch 0 4m' /mnt/fs/punched
    local file
    for file in allocated sparse grown punched; do _reads_as_zeros /mnt/fs/$file; done
    _mount_again
    for file in allocated sparse grown punched; do _reads_as_zeros /mnt/fs/$file; done
    rm /mnt/fs/{allocated,sparse,grown,punched}
}

# In one process: an emulated machine starts few of them in a second.
_case_many_small_files_come_and_go() {
    perl -e '
        chdir "/mnt/fs" or die;
        mkdir $_ for "a", "b", "c";
        for my $i (1 .. $ARGV[0]) {
            open my $file, ">", "a/$i" or die "a/$i: $!\n";
            print $file "$i " x $i;
            close $file or die "a/$i: $!\n";
            link "a/$i", "b/$i" or die "b/$i: $!\n" unless $i % 3;
            symlink "../a/$i", "c/$i" or die "c/$i: $!\n" unless $i % 5;
        }
        $_ % 2 or unlink "a/$_" or die "a/$_: $!\n" for 1 .. $ARGV[0];
    ' $((400 * _TIMES))
    _mount_again
    perl -e '
        chdir "/mnt/fs" or die;
        for my $i (1 .. $ARGV[0]) {
            for ("a", "b", "c") {
                my $is = $_ eq "a" ? $i % 2 : $_ eq "b" ? $i % 3 == 0 : $i % 5 == 0 && $i % 2;
                -e "$_/$i" eq !!$is or die "$_/$i is there or not, and should not be\n";
                next unless $is;
                open my $file, "<", "$_/$i" or die "$_/$i: $!\n";
                <$file> eq "$i " x $i or die "$_/$i has another content\n";
            }
        }
    ' $((400 * _TIMES))
    rm -r /mnt/fs/{a,b,c}
}

_case_fio_verifies_files_written_directly_through_the_cache_and_mapped() {
    local common=(--size=2M --bs=4k --rw=randrw --number_ios=$((500 * _TIMES)) --verify_backlog=64)
    verify /mnt/fs/direct direct "${common[@]}" --iodepth=16 --serialize_overlap=1
    verify /mnt/fs/cached cached "${common[@]}" --ioengine=psync --direct=0 --fsync=64
    verify /mnt/fs/mapped mapped "${common[@]}" --ioengine=mmap --direct=0
    rm /mnt/fs/{direct,cached,mapped}
}

_case_synced_files_are_whole_after_the_file_system_was_shut_down() {
    local flags i
    for flags in 0 1 2; do    # all is written back first; the log is; nothing is
        for i in 1 2 3; do
            random_file synced$i $((i * 77777))
            cp synced$i /mnt/fs/
            sync /mnt/fs/synced$i
            head -c 300000 /dev/urandom >/mnt/fs/lost$i
        done
        mv /mnt/fs/synced3 /mnt/fs/renamed
        sync /mnt/fs/renamed /mnt/fs
        perl -e 'open my $fs, "<", $ARGV[0]; my $flags = pack "L", $ARGV[2]; ioctl $fs, hex $ARGV[1], $flags or die "shutdown: $!\n"' /mnt/fs $_SHUTDOWN $flags
        ! touch /mnt/fs/late 2>/dev/null || fail 'a file system that was shut down takes a file'
        umount /mnt/fs
        _mount    # which brings it up to date from its log
        for i in 1 2; do cmp synced$i /mnt/fs/synced$i; done
        cmp synced3 /mnt/fs/renamed
        _mount_again
        rm -f /mnt/fs/{synced,lost}[0-9] /mnt/fs/renamed
    done
}

# What the disk has while the file system is frozen is a whole one.
_case_the_disk_below_a_frozen_file_system_is_clean() {
    random_file before 3000000
    cp before /mnt/fs/before
    fsfreeze --freeze /mnt/fs
    dd if=$DISK of=frozen bs=1M count=$_FS_MIB iflag=direct status=none
    fsfreeze --unfreeze /mnt/fs
    mkdir -p /mnt/copy
    mount -o loop${_twice:+,$_twice} frozen /mnt/copy
    cmp before /mnt/copy/before
    umount /mnt/copy
    _clean frozen
    rm frozen /mnt/fs/before
}

_case_a_full_file_system_says_so_and_keeps_what_it_has() {
    random_file kept 500000
    cp kept /mnt/fs/kept
    sync /mnt/fs/kept
    ! dd if=/dev/zero of=/mnt/fs/filler bs=1M conv=fsync status=none 2>refusal || fail 'there is no end to the space'
    grep -q 'No space left' refusal
    cmp kept /mnt/fs/kept
    _mount_again
    cmp kept /mnt/fs/kept
    rm /mnt/fs/filler
    sync -f /mnt/fs
    dd if=/dev/zero of=/mnt/fs/again bs=1M count=16 conv=fsync status=none
    rm /mnt/fs/again
}

_case_trimming_frees_what_is_free_only() {
    random_file kept 2000000
    cp kept /mnt/fs/kept
    dd if=/dev/urandom of=/mnt/fs/freed bs=1M count=12 conv=fsync status=none
    rm /mnt/fs/freed
    sync -f /mnt/fs
    fstrim -v /mnt/fs | grep -qE '\(([1-9][0-9]{7,}) bytes\)' || fail 'hardly anything was trimmed'
    echo 3 >/proc/sys/vm/drop_caches
    cmp kept /mnt/fs/kept
    _mount_again
    cmp kept /mnt/fs/kept
}

# --- all of them -----------------------------------------------------------------------------------------------
_all_cases() {    # NAME MKFS
    local name names started
    perl -e 'open my $disk, "+<", $ARGV[0] or die; my $other = "\xa5" x 1048576; syswrite $disk, $other or die for 1 .. $ARGV[1]' $DISK $_FS_MIB
    blockdev --flushbufs $DISK
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    $2 >mkfs.out 2>&1 || { cat mkfs.out; return 1; }
    mkdir -p /mnt/fs
    _mount
    _seed=${MUENBLOCK_SEED:-$RANDOM}
    echo "seed $_seed"
    mapfile -t names < <(sed -nE 's/^(_case_[a-z_]+)\(\) \{.*/\1/p' "$here"/12-files.sh)
    for name in "${names[@]}"; do
        started=$SECONDS
        echo "$1: ${name#_case_} ..."
        $name
        progress "$1: ok $((SECONDS - started)) s ${name#_case_}"
    done
    umount /mnt/fs
    _clean
    not grep -E ' (error|fatal) ' "$CLIENT_LOG" backend-*.log
}

ext4_passes_the_cases_of_xfstests_that_are_about_the_disk() {
    local _fsck=(fsck.ext4 -fn) _twice='' _seed
    _all_cases ext4 "mkfs.ext4 -q -b 4096 /dev/ublkb0 ${_FS_MIB}M"
}

xfs_passes_the_cases_of_xfstests_that_are_about_the_disk() {
    local _fsck=(xfs_repair -n) _twice=nouuid _seed
    modprobe xfs
    export TEST_DIR=/mnt/fs TEST_DEV=/dev/ublkb0 QA_CHECK_FS=1    # for a file system as small as this one
    _all_cases xfs "mkfs.xfs -q -f -d size=${_FS_MIB}m /dev/ublkb0"
}
