# shellcheck shell=bash
# The machine writes to the device because it is short of memory: its server must not wait for any.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _HOG_MIB=200 _LEFT_MIB=120
_swapped_out() { awk '$1 == "pswpout" { print $2 }' /proc/vmstat; }
_available_mib() { awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo; }

# Huge pages that nobody uses take the memory away without being written to, which would take an emulated machine long.
_take_memory() { echo $((($(_available_mib) - _LEFT_MIB) / 2)) >/proc/sys/vm/nr_hugepages; }

_is_protected() {    # PID OOM-SCORE
    local flusher=$((0x00180000)) flags task    # PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE, linux/sched.h
    (($(kib_of "$1" VmLck) > 4096)) || fail "process $1 has locked $(kib_of "$1" VmLck) KiB only"
    equal "$2" "$(cat "/proc/$1/oom_score_adj")" "oom_score_adj of process $1"
    for task in "/proc/$1/task"/*; do
        [[ $(cat "$task/comm") == connection* ]] || continue
        flags=$(cut -d' ' -f10 "$task/stat")    # the name is two words
        (((flags & flusher) == flusher)) || fail "the thread of the connection has the flags $flags"
        return 0
    done
    fail "process $1 has no thread of a connection"
}

swap_on_a_device_holds_what_is_written_with_no_memory_left() {
    local before written pid server
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    server=$(servers)
    _is_protected "$server" -1000
    _is_protected "$backend" -900
    not grep -E ' warn ' "$CLIENT_LOG" "$backend_log"

    mkswap "${devices[0]}" >/dev/null
    swapon "${devices[0]}"
    before=$(_swapped_out)
    _take_memory
    perl -e '
        my $pages = $ARGV[0] * 256;
        my @memory = map { pack("N", $_) x 1024 } 1 .. $pages;
        for (1 .. $pages) { die "page $_ is wrong\n" if $memory[$_ - 1] ne pack("N", $_) x 1024 }
    ' $_HOG_MIB
    written=$(((($(_swapped_out) - before)) / 256))
    for pid in "$server" "$backend"; do equal 0 "$(kib_of "$pid" VmSwap)" "what of process $pid was swapped out, in KiB,"; done
    echo 0 >/proc/sys/vm/nr_hugepages
    echo "$written MiB were swapped out"
    ((written >= _HOG_MIB / 4)) || fail "only $written MiB were swapped out: the test proves nothing"
    swapoff "${devices[0]}"
    not grep -E ' (warn|error|fatal) ' "$CLIENT_LOG" "$backend_log"
}
