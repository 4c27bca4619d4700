# shellcheck shell=bash
# Backends that die or end, and come back.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

io_goes_on_without_an_error_over_5_deaths_of_the_backend() { deaths_under_fio 5 KILL $RAM; }
io_on_a_virtio_disk_goes_on_without_an_error_over_5_deaths_of_the_backend() { deaths_under_fio 5 KILL $DISK; }
io_goes_on_without_an_error_over_3_restarts_of_the_backend() { deaths_under_fio 3 TERM $RAM; }

# While there is no backend I/O waits: it neither fails nor completes.
io_waits_while_there_is_no_backend() {
    random_file payload 4096
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    kill_backend
    dd if=payload of="${devices[0]}" bs=4k oflag=direct status=none &
    local writer=$!
    sleep 2
    kill -0 $writer || fail 'a write completed although nobody could carry it out'
    start_backend --conn $CONN --device $RAM:1
    wait $writer
    cmp -n 4096 payload $RAM
}

# del does not wait for a backend that is gone.
a_device_whose_backend_is_gone_can_be_deleted() {
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    stop_backend
    del 0
    equal '' "$(servers)" 'the serving processes'
}

# The disk holds a write back: the backend ends when that has ended, and not before.
sigterm_lets_the_backend_finish_what_is_under_way() {
    local writer
    random_file payload 4096
    suspended_disk
    add --conn $CONN
    dmsetup suspend --nolockfs held
    dd if=payload of="${devices[0]}" bs=4k oflag=direct status=none &
    writer=$!
    wait_for 20 grep -q 'Write of device 0 takes long' "$backend_log"
    kill -TERM "$backend"
    wait_for 10 grep -q 'asked to end' "$backend_log"
    sleep 1
    kill -0 "$backend" || fail 'the backend has ended with a write under way'
    dmsetup resume held
    backend_ends
    grep -q 'Write of device 0, .* has ended after .* with error 0' "$backend_log"
    grep -q 'stopped after' "$backend_log"
    cmp -n 4096 payload $RAM

    # Whether the client has read the last answer before the channel's end is a matter of luck; if not, it asks again.
    start_backend --conn $CONN --device /dev/mapper/held:1
    wait $writer
    leave_nothing
    not grep -E ' (error|fatal) ' "$CLIENT_LOG"
    dmsetup remove held
}
