# shellcheck shell=bash
# SIGKILL at random moments, under writes, reads, discards and flushes; what was acknowledged is compared after each (tests/soak/checker.c).
# tests/soak/run does the same for longer: it sets the numbers of kills, and the seed.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

# Of a cycle, on a busy machine that is emulated: what takes longer hangs.
readonly _CYCLE_SECONDS_MAX=120
readonly _KILLS=${MUENBLOCK_KILLS:-'client 5 backend 5 both 3'}

_sleep_below() { local ms=$((RANDOM % $1)); sleep $((ms / 1000)).$(printf %03d $((ms % 1000))); }
_one_in() { ((RANDOM % $1 == 0)); }

# What is known of a hang.
_explain_hang() {
    local pid task
    echo "in flight: $(cat /sys/block/ublkb0/inflight)"
    timeout 20 muenblock-ublk list || true
    for pid in $(pgrep "$PROGRAMS") $_checker; do
        for task in "/proc/$pid/task"/*; do
            echo "$(cat "$task/comm"), $task: $(tr '\n' ' ' <"$task/stack")"
        done
    done
} 2>&1

# --- the checker -----------------------------------------------------------------------------------------------
_start_checker() {    # DEVICE DISK LOG SEED
    trap : PIPE    # it ends when it finds something
    coproc CHECKER { exec "$MUENBLOCK_CHECKER" run "$@" 2>checker.err; }
    _checker=$CHECKER_PID
    exec {_checker_in}>&"${CHECKER[1]}" {_checker_out}<&"${CHECKER[0]}"
}

# _agree COMMAND WHEN: all I/O ends, and the device and the disk hold what they must.
_agree() {
    local status=0
    echo "$1" >&"$_checker_in" || true
    read -r -t $_CYCLE_SECONDS_MAX -u "$_checker_out" _counts || status=$?
    ((status == 0)) && return
    if ((status > 128)); then _explain_hang; fail "hang: I/O had not ended $_CYCLE_SECONDS_MAX s after $2"; return; fi
    fail "$(cat checker.err): after $2"
}

# The disk holds up what it has got by now, and what follows: what the dead had begun is still on its way, from and to the buffer, when their
# successors come.
_hold_the_disk() {
    dmsetup suspend --nolockfs late
    { _sleep_below 3000; dmsetup resume late; } &
    _held=$!
}

# --- the victims -----------------------------------------------------------------------------------------------
_serve() { start_backend --conn $CONN --device /dev/mapper/late:1; }
_recover() { recover 0 --connect-timeout 60 --log-file "$CLIENT_LOG" >/dev/null; }

_client_dies() {
    if _one_in 2; then kill_client; else kill_client at-once; fi
    _sleep_below 300
    _recover
}

_backend_dies() {
    kill_backend
    _sleep_below 300
    _serve
}

# Each may die during the other's recovery, and during its own.
_both_die() {
    local recovery
    if _one_in 2; then
        kill_client at-once
        _sleep_below 200
        kill_backend
    else
        kill_backend
        _sleep_below 200
        kill_client at-once
    fi
    case $((RANDOM % 4)) in
        0)
            _serve
            _recover
            ;;
        1)
            _recover &
            recovery=$!
            _sleep_below 500
            _serve
            wait $recovery
            ;;
        2)
            _serve
            muenblock-ublk recover 0 --foreground >/dev/null 2>&1 &
            recovery=$!
            _sleep_below 1000
            kill -KILL $recovery
            wait $recovery 2>/dev/null || true
            _recover
            ;;
        3)
            _serve
            _recover &
            recovery=$!
            _sleep_below 800
            kill_backend
            _serve
            wait $recovery
            ;;
    esac
}

_phase() {    # client|backend|both COUNT
    local i met=0
    for ((i = 1; i <= $2; i++)); do
        _sleep_below 1000
        _held=''
        ! _one_in 2 || _hold_the_disk
        ! has_in_flight 1 || met=$((met + 1))
        case $1 in
            client) _client_dies ;;
            backend) _backend_dies ;;
            both) _both_die ;;
        esac
        [[ -z $_held ]] || wait "$_held"
        _agree check "kill $i of $2 ($1)"
        ((i % 10 != 0)) || progress "$1: $i kills, $_counts"
    done
    progress "$1: $2 kills, $met of them with I/O in flight, 0 errors, 0 mismatches, 0 hangs; $_counts so far"
    ((met * 2 >= $2)) || fail 'hardly any kill met I/O in flight: the test proves nothing'
}

nothing_that_was_acknowledged_is_lost_over_kills_at_random_moments_of_the_client_the_backend_and_both() {
    local seed=${MUENBLOCK_SEED:-$RANDOM} said
    progress "seed $seed"
    RANDOM=$seed
    dmsetup create late --table "0 $(blockdev --getsz $DISK) linear $DISK 0"
    _serve
    add --conn $CONN
    _start_checker "${devices[0]}" $DISK $DISK4K "$seed"
    _agree check 'the begin'
    set -- $_KILLS
    while (($#)); do
        _phase "$1" "$2"
        shift 2
    done
    _agree end 'the end'
    wait $_checker
    not grep -E ' (error|fatal) ' "$CLIENT_LOG" backend-*.log
    leave_nothing
    dmsetup remove late
    said=$("$MUENBLOCK_CHECKER" replay $DISK4K $DISK)    # of its own, so that it can fail
    progress "$said"
}
