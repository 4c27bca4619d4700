# shellcheck shell=bash
# Applications that share a connection's buffer: their I/O from and to it is not copied.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_shared() { muenblock-ublk list --json | jq -r '.devices[0].appMemory | "\(.file) \(.offset) \(.length)"'; }
_shared_io() { "$MUENBLOCK_SHARED_IO" "${devices[0]}" "$@"; }
# What was not copied, as the serving process says at its end.
_uncopied() { sed -nE 's/.* ([0-9]+) from or to applications. memory;.*/\1/p' "$CLIENT_LOG" | tail -n 1; }

what_an_application_moves_in_shared_memory_is_right_and_not_copied() {
    local file offset length
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN --app-memory 4M
    grep -q "O_DIRECT I/O from and to buffer buffer1 is not copied, from its byte 8388608 to 16777216" "$CLIENT_LOG"
    read -r file offset length < <(_shared)
    equal "$REGIONS/buffer1 8388608 8388608" "$file $offset $length" 'what list says of the memory'
    _shared_io $file $offset $length 200

    # Slots are the driver's: nobody else reads or writes there.
    _refused_io "$file" 0 1048576
    # What is copied goes on beside it.
    verify "${devices[0]}" beside --rw=randrw --bs=4k --iodepth=16 --size=8M --io_size=4M
    leave_nothing
    (($(_uncopied) >= 400)) || fail "$(_uncopied) I/Os were not copied"
}
_refused_io() {
    local said
    ! said=$(_shared_io "$@" 1 2>&1) || fail 'I/O from a slot succeeded'
    [[ $said == *'pwrite from shared memory: '* ]] || fail "$said"
}

shared_memory_outlives_the_death_of_the_client_and_of_the_backend() {
    local file offset length application
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN --app-memory 8M
    read -r file offset length < <(_shared)
    _shared_io $file $offset $length 600 &
    application=$!
    sleep 0.5
    kill_client
    recover 0 >/dev/null
    equal "$file $offset $length" "$(_shared)" 'the memory after a recovery'
    sleep 0.5
    kill_backend
    start_backend --conn $CONN --device $RAM:1
    sleep 0.5
    kill_client
    recover 0 >/dev/null
    wait $application
    _shared_io $file $offset $length 50 7
    refused 2 '--io-timeout and --app-memory exclude each other' muenblock-ublk add "${client_arguments[@]}" --conn $CONN2 --app-memory 4M --io-timeout 5
    leave_nothing
    (($(_uncopied) >= 100)) || fail "$(_uncopied) I/Os were not copied by the last server"
}

# The driver tells of pages of the file that it was given: in another one of that name they would be other memory.
memory_of_a_file_that_was_replaced_or_is_not_known_is_not_touched() {
    local file offset length
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN --app-memory 8M
    read -r file offset length < <(_shared)
    kill_client
    cp "$file" other
    mv "$file" "$REGIONS/first"
    cp other "$file"
    refused 4 'another file than the one whose memory the device shares with applications' muenblock-ublk recover 0
    mv "$REGIONS/first" "$file"
    recover 0 >/dev/null
    _shared_io $file $offset $length 50
    kill_client
    rm /run/muenblock/ublkb0.json
    recover 0 --conn $CONN --region-dir "$REGIONS" --log-file "$CLIENT_LOG" >/dev/null
    _refused_io $file $offset $length
    equal 'null null null' "$(_shared)" 'what list says of the memory'
    verify "${devices[0]}" beside --rw=randrw --bs=4k --iodepth=16 --size=8M --io_size=4M
}

an_application_that_shares_memory_is_told_whether_this_kernel_copies_it_and_its_io_works() {
    local file offset length
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN --app-memory 4M
    if linux_from 7.1; then
        grep -q 'O_DIRECT I/O from and to buffer buffer1 is not copied' "$CLIENT_LOG"
        equal "$REGIONS/buffer1 8388608 8388608" "$(_shared)" 'what list says of the memory'
    else
        grep -q 'warn .*--app-memory has no effect but to reserve the memory' "$CLIENT_LOG"
        equal 'null null null' "$(_shared)" 'what list says of the memory'
    fi
    _shared_io "$REGIONS/buffer1" 8388608 8388608 20
}
