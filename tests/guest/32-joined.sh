# shellcheck shell=bash
# Several connections that are one block device, with a hardware queue for each.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _BOTH=$CONN,$CONN2

# Which queue an I/O takes depends on the CPU that it comes from: queue 0 has CPU 0.
_on() { taskset -c "$1" "${@:2}"; }

# Two jobs, each kept on a CPU of its own, so that both queues are used at the same time.
_verify_both() {    # DEVICE
    fio --filename="$1" --direct=1 --ioengine=io_uring --verify=crc32c --verify_fatal=1 --verify_backlog=32 --rw=randrw --bssplit=4k/80:128k/20 --iodepth=16 \
        --serialize_overlap=1 --size=8M --number_ios=600 --minimal --output="$WORK/fio-${1##*/}.out" \
        --name=one --cpus_allowed=0 --offset=0 --name=other --cpus_allowed=1 --offset=16M || { cat "$WORK/fio-${1##*/}.out"; return 1; }
}

# requests CONNECTION: how many the backend had, once it has ended.
_requests() { sed -n "s/.*connection $1: stopped after \([0-9]*\) requests.*/\1/p" "$backend_log"; }

fio_verifies_a_joined_device_and_both_of_its_queues_carry_io() {
    local log
    start_backend --conn $_BOTH --device $RAM:1+2
    add --conn $CONN --conn $CONN2 --join --cpus auto --max-io 128K
    equal /dev/ublkb0 "${devices[*]}" 'what add printed'
    equal 2 "$(ls -d /sys/block/ublkb0/mq/* | wc -l)" 'the number of hardware queues'
    equal "2 $CONN $CONN2" "$(muenblock-ublk list --json | jq -r '.devices[0] | "\(.queues) \(.connections | join(" "))"')" 'what list shows'
    equal "its thread runs on CPU 0 its thread runs on CPU 1" "$(grep -o 'its thread runs.*' "$CLIENT_LOG" | sort | paste -sd' ')" 'where the threads are'
    _verify_both /dev/ublkb0
    del 0
    equal '' "$(traces)" 'what is left'
    log=$backend_log
    stop_backend
    for connection in 1 2; do (($(backend_log=$log _requests $connection) > 100)) || fail "connection $connection has carried next to nothing: $(_requests $connection)"; done
}

connections_that_do_not_export_the_same_are_not_joined() {
    truncate -s ${RAM_MIB}M image
    start_backend --conn $_BOTH --device $RAM:1 --device image:2
    refused 5 'JoinedConnectionsLeadToTheSameDisks: device 0 is not the same disk' muenblock-ublk add "${client_arguments[@]}" --conn $_BOTH --join
    stop_backend
    start_backend --conn $_BOTH --device $RAM:1+2,$RAM2:2
    refused 5 'the connections cannot be joined: connection 2 has 2 device(s), and connection 1 has 1' muenblock-ublk add "${client_arguments[@]}" --conn $_BOTH --join
    stop_backend
    start_backend --conn $_BOTH,3:request3:response3:buffer3 --device $RAM:1+2+3
    refused 2 '3 connections are too many to join here: ublk gives a device no more queues than the machine has CPUs, 2' \
        muenblock-ublk add "${client_arguments[@]}" --conn $_BOTH,3:request3:response3:buffer3 --join
    equal '' "$(traces)" 'what is left'
}

# A write that was acknowledged on one queue, and a flush on the other: the disk has both before fsync returns.
fsync_on_one_queue_makes_durable_what_was_written_on_the_other() {
    local before writer flusher
    start_backend --conn $_BOTH --device $DISK:1+2
    add --conn $_BOTH --join
    for writer in 0 1; do
        flusher=$((1 - writer))
        random_file payload 65536
        before=$(flushes $DISK)
        _on $writer dd if=payload of=/dev/ublkb0 bs=64k seek=$((writer + 1)) oflag=direct status=none
        equal "$before" "$(flushes $DISK)" 'the number of flushes before the fsync'
        _on $flusher dd if=/dev/null of=/dev/ublkb0 bs=4k conv=notrunc,fsync status=none
        (($(flushes $DISK) > before)) || fail 'no flush has reached the disk'
        kill_backend
        cmp -n 65536 payload <(dd if=$DISK bs=64k skip=$((writer + 1)) count=1 iflag=direct status=none)
        start_backend --conn $_BOTH --device $DISK:1+2
    done
}

_still() { sleep 0.5; kill -0 "$1" || fail "fio failed after $2"; }

io_of_a_joined_device_goes_on_over_deaths_of_both_ends_and_an_upgrade() {
    local load
    start_backend --conn $_BOTH --device $RAM:1+2,$RAM2:1+2
    add --conn $_BOTH --join --spin 30
    until_enough _verify_both /dev/ublkb0 &
    load=$!
    sleep 0.5
    kill_backend
    start_backend --conn $_BOTH --device $RAM:1+2,$RAM2:1+2
    _still $load 'the death of the backend'
    kill_client
    prints $'/dev/ublkb0\n/dev/ublkb1' recover 0
    _still $load 'the death of the client'
    equal '"--spin 30"' "$(jq .options /run/muenblock/ublkb0.json)" 'what the server was asked for at first'
    timeout 90 muenblock-ublk upgrade 0 --log-file "$CLIENT_LOG" | grep -q 'I/O waited'
    _still $load 'the upgrade'

    # Without its record it has to be told all of its connections; and none of them is used for another device meanwhile.
    kill_client
    rm /run/muenblock/*.json
    wait_for 20 state_is recoverable
    refused 2 'it has 2 queues: name as many connections, one after another' muenblock-ublk recover 0 --conn $CONN --region-dir "$REGIONS"
    refused 6 'waits for a server: take it over' muenblock-ublk add "${client_arguments[@]}" --conn $CONN2
    prints $'/dev/ublkb0\n/dev/ublkb1' recover 0 --conn $CONN2,$CONN --region-dir "$REGIONS" --log-file "$CLIENT_LOG"
    _still $load 'the loss of the record'
    touch enough
    wait $load
    _verify_both /dev/ublkb1
    not grep -E ' (error|fatal) ' "$CLIENT_LOG"
}

# Reads from an opening that the test has made, on a CPU: to open the device could mean to wait for the kernel's look at its partitions.
_read_on() { _on "$1" dd bs=4k count="${2-1}" iflag=direct of=/dev/null status=none <&9; }

del_force_removes_a_joined_device_whose_backend_hangs() {
    local cpu
    start_backend --conn $_BOTH --device $RAM:1+2
    add --conn $_BOTH --join
    exec 9</dev/ublkb0
    kill -STOP "$backend"
    for cpu in 0 1; do _read_on $cpu 2>/dev/null & done
    wait_for 20 has_in_flight 2
    refused 6 'nothing was stopped' muenblock-ublk del 0
    timeout 60 muenblock-ublk del --force 0
    exec 9<&-
    kill -CONT "$backend"
    wait_for 20 eval '[[ -z $(traces) ]]'
}
