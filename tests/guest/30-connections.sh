# shellcheck shell=bash
# Several devices and several connections at once.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

# Both are written at the same time, each with its own content, and neither has a byte of the other's.
_used_at_once() {
    local pids=() pid i
    for i in 0 1; do
        random_file "payload$i" $((4 * 1048576))
    done
    for i in 0 1; do
        dd if="payload$i" of="${devices[i]}" bs=256k oflag=direct conv=fsync status=none &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    for i in 0 1; do cmp -n $((4 * 1048576)) "payload$i" "${devices[i]}"; done
    verify "${devices[0]}" both --rw=randrw --bs=4k --size=8M --iodepth=16 --name=other --filename="${devices[1]}" \
        --rw=randrw --bs=12k --size=8M --iodepth=16
}

two_devices_of_a_connection_are_used_at_once() {
    truncate -s 64M image
    start_backend --conn $CONN --device $RAM:1,image:1
    add --conn $CONN
    equal "/dev/ublkb0 /dev/ublkb1" "${devices[*]}" 'what add printed'
    equal $((RAM_MIB * 1048576)) "$(blockdev --getsize64 /dev/ublkb0)" 'the size of the first device'
    equal $((64 * 1048576)) "$(blockdev --getsize64 /dev/ublkb1)" 'the size of the second device'
    _used_at_once
    cmp -n $((1 * 1048576)) payload0 payload1 && fail 'both payloads are the same'
    del --all
}

# One backend with two connections, and a server for each.
two_connections_of_a_backend_serve_two_adds() {
    start_backend --conn $CONN --conn $CONN2 --device $RAM:1 --device $RAM2:2
    add --conn $CONN
    local first=${devices[0]}
    add --conn $CONN2
    devices=("$first" "${devices[0]}")
    equal 2 "$(servers | wc -l)" 'the number of serving processes'
    _used_at_once

    # The end of one does not touch the other.
    del "${devices[0]}"
    equal 1 "$(servers | wc -l)" 'the number of serving processes'
    verify "${devices[1]}" remaining --rw=randrw --bs=4k --size=4M --iodepth=16
}

two_connections_are_served_by_one_add() {
    start_backend --conn $CONN,$CONN2 --device $RAM:1,$RAM2:2
    add --conn $CONN --conn $CONN2
    local both=("${devices[@]}")
    equal 1 "$(servers | wc -l)" 'the number of serving processes'
    _used_at_once
    del 0
    verify "${both[1]}" remaining --rw=randrw --bs=4k --size=4M --iodepth=16
    equal 1 "$(servers | wc -l)" 'the number of serving processes'

    # The connection is free, though its server goes on with the other one.
    add --conn $CONN
    equal 2 "$(servers | wc -l)" 'the number of serving processes'
    verify "${devices[0]}" again --rw=randrw --bs=4k --size=4M --iodepth=16
    verify "${both[1]}" remaining --rw=randrw --bs=4k --size=4M --iodepth=16
}

two_backends_are_served_by_one_add() {
    start_backend --conn $CONN --device $RAM:1
    start_backend --conn $CONN2 --device $RAM2:2
    add --conn $CONN2,$CONN
    equal 2 "${#devices[@]}" 'the number of devices'
    _used_at_once
}
