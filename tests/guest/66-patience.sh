# shellcheck shell=bash
# Backends that do not answer: how long they are waited for, and what is said meanwhile.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _TIMEOUT=3
_fails() { ! "$@" 2>refusal && grep -q 'Input/output error' refusal; }
_read_block() { dd if="${devices[0]}" of=/dev/null bs=4k count=1 iflag=direct status=none; }
_write_block() { dd if="$1" of="${devices[0]}" bs=4k count=1 seek="$2" oflag=direct status=none; }

# I/O that waits for a backend fails after the time-out; what comes later fails at once.
_loses_its_backend() {    # HOW-MANY-TIMES-BY-NOW
    local started=$SECONDS
    _fails _write_block payload 0
    ((SECONDS - started >= _TIMEOUT - 1)) || fail "a write failed after $((SECONDS - started)) s already"
    ((SECONDS - started <= 3 * _TIMEOUT)) || fail "a write failed after $((SECONDS - started)) s only"
    started=$SECONDS
    for ((i = 0; i < 3; i++)); do _fails _read_block; done
    ((SECONDS - started < 2 * _TIMEOUT)) || fail 'every I/O waits for itself'
    equal "$1" "$(grep -c 'no answer for .* 1 I/Os failed (--io-timeout)' "$CLIENT_LOG")" 'what the client logged'
}

io_fails_after_the_time_out_when_the_backend_is_stopped_or_killed_and_succeeds_again_with_it_or_its_successor() {
    local i
    random_file payload 4096
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN --io-timeout $_TIMEOUT
    kill -STOP "$backend"
    _loses_its_backend 1
    kill -CONT "$backend"
    wait_for 20 sessions_are 2
    verify "${devices[0]}" stopped --rw=randrw --bs=4k --size=2M --iodepth=64

    kill_backend
    _loses_its_backend 2
    start_backend --conn $CONN --device $RAM:1
    wait_for 20 sessions_are 3
    verify "${devices[0]}" killed --rw=randrw --bs=4k --size=2M --iodepth=64
}

# The disk still has the first write, and takes what is in its slot when it goes on: that must be the first write's data.
a_write_that_was_given_up_lands_with_its_own_data_and_before_any_other() {
    random_file first 4096
    random_file second 4096
    suspended_disk
    add --conn $CONN --io-timeout $_TIMEOUT --depth 1
    _write_block second 0
    dmsetup suspend --nolockfs held
    _fails _write_block first 0
    _fails _write_block second 1
    dmsetup resume held
    wait_for 20 sessions_are 2
    cmp -n 4096 first "${devices[0]}"
    _write_block second 0
    cmp -n 4096 second $RAM
    leave_nothing
    dmsetup remove held
}

io_that_takes_long_is_logged_by_both_ends_and_again_when_it_has_ended() {
    local writer log begun='Write of device 0 takes long: sector 24, 4096 bytes, tag [0-9]+, [0-9.]+ s so far; .*epoch [0-9a-f]+, requests written [0-9]+'
    random_file payload 4096
    suspended_disk
    add --conn $CONN --stall-warning 2
    dmsetup suspend --nolockfs held
    _write_block payload 3 &
    writer=$!
    for log in "$backend_log" "$CLIENT_LOG"; do wait_for 10 grep -qE "$begun" "$log"; done
    sleep 2
    kill -0 $writer
    dmsetup resume held
    wait $writer
    for log in "$backend_log" "$CLIENT_LOG"; do
        wait_for 5 grep -qE 'Write of device 0, tag [0-9]+, has ended after [0-9.]+ s with error 0' "$log"
        equal 2 "$(grep -cE 'Write of device 0' "$log")" "the number of lines in $log"
    done
    grep 'Write of device' "$backend_log" "$CLIENT_LOG"
    leave_nothing
    dmsetup remove held
}
