# shellcheck shell=bash
# The machine writes to the device because it is short of memory: its server must not wait for any.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _HOG_MIB=120 _LIMIT_MIB=60 _GROUP=/sys/fs/cgroup/short
readonly _FAULTS_MAX=8    # a thread's own, such as for a page of its stack; a region that is met page by page has hundreds

_swapped_out() { awk '$1 == "pswpout" { print $2 }' /proc/vmstat; }

# Page faults of the thread that serves a connection: each may ask for memory.
_faults() { awk '/\(connection/ { sub(/.*\) /, ""); print $8 + $10 }' "/proc/$1/task"/*/stat; }

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

swap_on_a_device_holds_what_is_written_and_its_servers_ask_for_no_memory() {
    local before written pid server met faults=()
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    server=$(servers)
    _is_protected "$server" -1000
    _is_protected "$backend" -900
    not grep -E ' warn ' "$CLIENT_LOG" "$backend_log"

    mkswap "${devices[0]}" >/dev/null
    swapon "${devices[0]}"
    before=$(_swapped_out)
    for pid in "$server" "$backend"; do faults[pid]=$(_faults "$pid"); done

    # What a group has too much is swapped out, and nobody is killed for it, however slow the machine.
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control
    mkdir $_GROUP
    echo $((_LIMIT_MIB << 20)) >$_GROUP/memory.high
    perl -e '
        my ($pages, $group) = ($ARGV[0] * 256, $ARGV[1]);
        open my $procs, ">", "$group/cgroup.procs" or die "$group: $!\n";
        print $procs $$;
        close $procs or die "$group: $!\n";
        my @memory = map { pack("N", $_) x 1024 } 1 .. $pages;
        for (1 .. $pages) { die "page $_ is wrong\n" if $memory[$_ - 1] ne pack("N", $_) x 1024 }
    ' $_HOG_MIB $_GROUP
    rmdir $_GROUP

    written=$(((($(_swapped_out) - before)) / 256))
    for pid in "$server" "$backend"; do
        equal 0 "$(kib_of "$pid" VmSwap)" "what of process $pid was swapped out, in KiB,"
        met=$(($(_faults "$pid") - faults[pid]))
        echo "process $pid had $met page faults"
        ((met <= _FAULTS_MAX)) || fail "the thread of process $pid that serves I/O had $met page faults: it asks for memory when there may be none"
    done
    echo "$written MiB were swapped out"
    ((written >= _HOG_MIB / 4)) || fail "only $written MiB were swapped out: the test proves nothing"
    swapoff "${devices[0]}"
    not grep -E ' (warn|error|fatal) ' "$CLIENT_LOG" "$backend_log"
}
