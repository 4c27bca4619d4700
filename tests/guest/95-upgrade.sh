# shellcheck shell=bash
# The program that serves devices is replaced while they are in use.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

io_goes_on_without_an_error_over_3_upgrades_of_the_client() {
    local load i server
    start_backend --conn $CONN --device $RAM:1,$RAM2:1
    add --conn $CONN
    exec 9</dev/ublkb1
    until_enough verify /dev/ublkb0 upgrades --rw=randrw --bssplit=4k/60:64k/30:512/10 --iodepth=32 --serialize_overlap=1 --size=32M --number_ios=1500 --verify_backlog=32 &
    load=$!
    for i in 1 2 3; do
        wait_for 60 has_in_flight 1
        server=$(servers)
        timeout 90 muenblock-ublk upgrade 0 >printed
        cat printed
        equal '/dev/ublkb0 /dev/ublkb1' "$(head -n 2 printed | paste -sd' ')" 'what was printed'
        tail -n 1 printed | grep -qE '^I/O waited for [0-9]+ ms$'
        [[ $(servers) != "$server" ]] || fail 'the serving process is the same'
        sleep 0.5
        kill -0 $load || fail "fio failed after upgrade number $i"
    done
    touch enough
    wait $load
    exec 9<&-
    not grep -E ' (error|fatal) ' "$CLIENT_LOG"
    refused 7 'there is no /dev/ublkb7' muenblock-ublk upgrade 7
}

# The driver tells it of the tags that are idle when the device is taken from it, and of no other.
a_server_with_io_under_way_answers_that_and_ends_by_itself() {
    local load
    needs_linux 6.16    # without QUIESCE_DEV the server is killed
    modprobe dm-delay
    dmsetup create slow --table "0 65536 delay $DISK 0 300"
    start_backend --conn $CONN --device /dev/mapper/slow:1
    add --conn $CONN
    fio --name=load --filename=/dev/ublkb0 --direct=1 --ioengine=io_uring --rw=randrw --bs=4k --iodepth=8 --size=16M --number_ios=2000 --output=fio.out &
    load=$!

    # As many as fio keeps, and not one of somebody who looks at the new device.
    wait_for 20 awk '{ exit $1 + $2 < 8 }' /sys/block/ublkb0/inflight
    timeout 60 muenblock-ublk upgrade 0
    kill -0 $load || fail 'fio had ended before'

    # The rest need not take its time.
    dmsetup load slow --table "0 65536 linear $DISK 0"
    dmsetup suspend slow
    dmsetup resume slow

    # One that is killed does not get to say this.
    grep 'connection 1: ended after' "$CLIENT_LOG"
    wait $load
    not grep -E ' (error|fatal) ' "$CLIENT_LOG"
    leave_nothing
    dmsetup remove slow
}

# A backend that does not answer keeps the server from ending by itself.
an_upgrade_replaces_a_server_whose_io_does_not_end() {
    local server
    random_file payload 4096
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    server=$(servers)
    kill -STOP "$backend"
    dd if=payload of=/dev/ublkb0 bs=4k oflag=direct status=none &
    local writer=$!
    wait_for 30 has_in_flight 1
    muenblock-ublk upgrade 0 --connect-timeout 60 >printed &
    local upgrade=$!
    wait_for 30 gone "$server"
    kill -CONT "$backend"
    wait $upgrade
    wait $writer
    [[ -n $(servers) && $(servers) != "$server" ]] || fail 'the device has no other server'
    cmp -n 4096 payload $RAM
}
