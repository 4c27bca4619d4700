# shellcheck shell=bash
# Clients that die, and are replaced: the devices stay, their users wait and see no error.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_busy() { has_in_flight 8 "$@"; }    # [NAME]

# Writes and verifies until the file enough is there; a wrong byte or an error ends it at once.
_load() {    # DEVICE
    until_enough verify "$1" "load-${1##*/}" --rw=randrw --bssplit=4k/60:64k/30:512/10 --iodepth=32 --serialize_overlap=1 --size=32M \
        --number_ios=1500 --verify_backlog=32
}
_loaded() {    # how long the load has to go on after what was done to it
    sleep 0.5
    kill -0 $1 || fail "fio failed $2"
}
_enough() { touch enough; wait "$@"; }

# The log is one for all servers of a device.
_no_errors() { ! grep -E ' (error|fatal) ' "$CLIENT_LOG"; }

io_goes_on_without_an_error_over_4_deaths_of_the_client() {
    local i load
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN --spin 30
    _load /dev/ublkb0 &
    load=$!
    for i in 1 2 3 4; do
        wait_for 60 _busy
        # Twice at the very moment of the death, when the kernel has not let go of the device yet.
        if ((i % 2)); then kill_client; else kill_client at-once; fi
        ((i != 1)) || wait_for 20 state_is recoverable
        prints /dev/ublkb0 recover 0
        _loaded $load "after death number $i"
    done
    _enough $load
    _no_errors
    equal "live 1" "$(muenblock-ublk list --json | jq -r '.devices[] | "\(.state) \(.device + 1)"')" 'the device'
    equal '"--spin 30"' "$(jq .options /run/muenblock/ublkb0.json)" 'what the server was asked for at first'
    (($(grep -c ' taken over' "$CLIENT_LOG") == 4))
    del 0
    equal '' "$(traces)" 'what is left'
}

# Each dies while the other one's successor is on its way.
io_goes_on_without_an_error_over_deaths_of_both() {
    local load recovery
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    _load /dev/ublkb0 &
    load=$!
    wait_for 60 _busy
    kill_client
    kill_backend
    refused 5 'no backend answered in time' timeout 60 muenblock-ublk recover 0 --connect-timeout 0.5
    state_is recoverable || fail 'a recovery that failed took the device along'
    recover 0 >/dev/null &
    recovery=$!
    sleep 0.5
    start_backend --conn $CONN --device $RAM:1
    wait $recovery
    _loaded $load 'after the death of both'

    # The recovery dies half-way: nothing is lost by that.
    local i delay
    for delay in 0.1 0.3 0.5 0.8; do
        kill_client
        muenblock-ublk recover 0 --foreground >/dev/null 2>&1 &
        recovery=$!
        sleep $delay
        kill -KILL $recovery
        wait $recovery 2>/dev/null || true
        recover 0 --log-file "$CLIENT_LOG" >/dev/null
        _loaded $load "after a recovery that died after $delay s"
    done

    # The backend dies during the client's recovery.
    kill_client
    recover 0 >/dev/null &
    recovery=$!
    sleep 0.2
    kill_backend
    start_backend --conn $CONN --device $RAM:1
    wait $recovery
    _loaded $load 'after the death of the backend during a recovery'
    _enough $load
}

a_lost_or_damaged_record_costs_naming_the_connection_again() {
    random_file payload 1048576
    start_backend --conn $CONN --conn $CONN2 --device $RAM:1,$RAM2:1,$DISK:2
    add --conn $CONN
    local wrong
    dd if=payload of=/dev/ublkb1 bs=1M oflag=direct status=none
    for wrong in missing damaged; do
        kill_client
        if [[ $wrong == missing ]]; then rm /run/muenblock/*.json; else
            head -c 40 /run/muenblock/ublkb0.json >half
            cp half /run/muenblock/ublkb0.json
            tr a-z n-za-m </run/muenblock/ublkb1.json >half
            cp half /run/muenblock/ublkb1.json
        fi
        wait_for 20 state_is recoverable
        muenblock-ublk list | grep -q 'its record is lost'
        refused 4 "name its connection again, 'muenblock-ublk recover 1 --conn" muenblock-ublk recover 1
        refused 2 'was added with another connection' muenblock-ublk recover 1 --conn $CONN2 --region-dir "$REGIONS"
        refused 2 'was added with another connection' muenblock-ublk recover 1 --conn $CONN
        prints $'/dev/ublkb0\n/dev/ublkb1' recover 1 --conn $CONN --region-dir "$REGIONS" --log-file "$CLIENT_LOG"
        cmp -n 1048576 payload /dev/ublkb1
        dd if=payload of=/dev/ublkb0 bs=1M oflag=direct status=none
        cmp -n 1048576 payload $RAM
    done
}

# Also with one record: the other device is found by the kernel's own knowledge.
both_devices_of_a_connection_are_taken_over_by_one_process() {
    local loads=() device
    start_backend --conn $CONN --device $RAM:1,$RAM2:1
    add --conn $CONN
    for device in "${devices[@]}"; do
        _load "$device" &
        loads+=($!)
    done
    wait_for 60 _busy ublkb0
    wait_for 60 _busy ublkb1
    kill_client
    rm /run/muenblock/ublkb1.json
    refused 6 'waits for a server: take it over' muenblock-ublk add --conn $CONN --region-dir "$REGIONS"
    prints $'/dev/ublkb0\n/dev/ublkb1' recover --all
    equal 1 "$(servers | wc -l)" 'the number of serving processes'
    sleep 1
    _enough "${loads[@]}"
    _no_errors
    prints '' recover --all    # nothing waits
}

a_device_that_is_served_is_not_taken_over() {
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    refused 6 "/dev/ublkb0 is served by process $(servers): there is nothing to recover" muenblock-ublk recover 0
    refused 7 'there is no /dev/ublkb7' muenblock-ublk recover 7
    verify /dev/ublkb0 served --rw=randrw --bs=4k --size=1M
}

a_smaller_disk_is_not_taken_over() {
    truncate -s 32M image
    random_file payload 4096
    start_backend --conn $CONN --device image:1
    add --conn $CONN
    dd if=payload of=/dev/ublkb0 bs=4k oflag=direct status=none
    kill_client
    stop_backend
    cp image whole
    truncate -s 16M image
    start_backend --conn $CONN --device image:1
    refused 5 'is not taken over: device 0 of the backend has 16777216 bytes instead of 33554432' muenblock-ublk recover 0
    state_is recoverable
    stop_backend
    cp whole image
    start_backend --conn $CONN --device image:1
    recover 0 >/dev/null
    cmp -n 4096 payload /dev/ublkb0
}

# An ordinary file in place of an event, which nobody waits for: that both servers write to it is seen in their log.
the_folder_of_events_is_kept_for_a_successor() {
    mkdir events
    touch events/request1
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN --event-dir events
    kill_client
    recover 0 >/dev/null
    equal "$WORK/events" "$(jq -r .eventDirectory /run/muenblock/ublkb0.json)" 'the folder in the record'
    equal 2 "$(grep -c "wakes its peer by the event $WORK/events/request1" "$CLIENT_LOG")" 'how many servers use the event there'

    # One that is gone does not keep a device from being served.
    kill_client
    rm -r events
    recover 0 >/dev/null
    dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct status=none
}

# Whatever an add has made before it was killed is listed as ours, and either goes on with another server or can be removed. Not on stable: Linux 6.12
# reads the partition table in START_DEV, under the device's lock. Without a server that read never ends, and no server gets the lock.
what_an_add_leaves_that_is_killed_at_any_moment_is_listed_and_adopted_or_removed() {
    local moment started took id adopted=0 removed=0
    start_backend --conn $CONN --device $RAM:1,$RAM2:1

    # The first one tells how long it takes here. Then when there is a character device, a block device, and at sevenths of that time.
    for moment in printed ublkc0 ublkb0 2 4 5 6; do
        started=${EPOCHREALTIME/[.,]/}
        muenblock-ublk add --conn $CONN --region-dir "$REGIONS" --foreground >printed 2>&1 &
        case $moment in
            printed)
                wait_for 60 grep -q /dev/ublkb1 printed
                took=$((${EPOCHREALTIME/[.,]/} - started))
                ;;
            ublk*) wait_for 60 test -e /dev/$moment ;;
            *) sleep "$((took * moment / 7 / 1000))e-3" ;;
        esac
        kill -KILL $!
        wait $! 2>/dev/null || true
        muenblock-ublk list --json >listed
        equal '' "$(jq -r '.devices[] | select(.ours | not) | .path' listed)" 'devices that are not known as ours'
        equal '' "$(jq -r '.devices[] | select(.state == "recoverable" and .connection == null) | .path' listed)" 'devices that were started without a record'
        for id in $(muenblock-ublk list --json | jq '.devices[].id'); do
            if recover "$id" --conn $CONN --region-dir "$REGIONS" >/dev/null 2>&1; then
                adopted=$((adopted + 1))
                break    # and the other device of the connection, if there is one that can be
            fi
        done
        for id in $(muenblock-ublk list --json | jq '.devices[] | select(.state != "live") | .id'); do
            timeout 60 muenblock-ublk del "$id" >/dev/null
            removed=$((removed + 1))
        done
        del --all
        equal '' "$(traces)" "what is left of an add that was killed at $moment"
    done
    echo "$adopted were adopted, $removed removed"
    ((adopted > 0)) || fail 'no device could be adopted: the test proves nothing'
}

a_second_sigterm_leaves_the_device_and_recover_takes_it_over() {
    local load server
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    server=$(servers)
    exec 9</dev/ublkb0    # between two runs of fio nobody else has it open
    _load /dev/ublkb0 &
    load=$!
    wait_for 60 _busy
    kill -TERM "$server"
    wait_for 20 grep -q 'ask within 10 s to leave them to another server' "$CLIENT_LOG"
    kill -TERM "$server"
    wait_for 20 gone "$server"
    wait_for 20 state_is recoverable
    [[ -e /run/muenblock/ublkb0.json ]] || fail 'the record of a device that waits is gone'
    recover 0 9<&- >/dev/null
    _loaded $load 'after it was left'
    _enough $load
    exec 9<&-
    _no_errors
}

# Nobody has the device open any more, and the disk keeps what was begun: the server does not wait for that for ever.
sigterm_leaves_a_device_whose_io_does_not_end() {
    local user server
    suspended_disk
    add --conn $CONN
    server=$(servers)
    dmsetup suspend --nolockfs held
    fio --name=begun --thread --filename=/dev/ublkb0 --direct=1 --ioengine=io_uring --rw=write --bs=4k --size=1M --output=fio-begun.out &
    user=$!
    wait_for 30 has_in_flight 1
    kill -KILL $user
    wait $user 2>/dev/null || true
    kill -TERM "$server"
    wait_for 30 gone "$server"
    grep -q 'asked to end, but I/O that is under way does not end' "$CLIENT_LOG"
    wait_for 20 state_is recoverable
    dmsetup resume held
    recover 0 >/dev/null
    verify /dev/ublkb0 left --rw=randrw --bs=4k --size=1M
    leave_nothing
    dmsetup remove held
}

# The command line that a service manager starts again and again.
add_recover_adds_or_takes_over() {
    local server i
    random_file payload 4096
    start_backend --conn $CONN --device $RAM:1
    for i in 1 2; do
        muenblock-ublk add --recover --conn $CONN --region-dir "$REGIONS" --foreground >printed 2>foreground.log &
        server=$!
        wait_for 30 grep -q /dev/ublkb0 printed
        ((i == 1)) || break
        dd if=payload of=/dev/ublkb0 bs=4k oflag=direct status=none
        kill -KILL $server
        wait $server 2>/dev/null || true
    done
    cmp -n 4096 payload /dev/ublkb0
    equal 1 "$(muenblock-ublk list --json | jq '.devices | length')" 'the number of devices'
    kill -TERM $server
    wait_for 20 gone $server
    wait $server
}

# --- del --force -----------------------------------------------------------------------------------------------
del_force_removes_what_waits_or_is_stuck() {
    local user server
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    # It waits for a server, and somebody waits for it.
    kill_client
    wait_for 20 state_is recoverable
    dd if=/dev/zero of=/dev/ublkb0 bs=4k count=1 oflag=direct status=none 2>dd.err &
    user=$!
    wait_for 20 pgrep -x dd
    sleep 0.5
    refused 6 "'del --force' gives it up" timeout 60 muenblock-ublk del 0
    prints /dev/ublkb0 timeout 90 muenblock-ublk del --force 0
    ! wait $user || fail 'the I/O of a device that was given up succeeded'
    equal '' "$(traces)" 'what is left'

    # Its backend is gone and its I/O does not end.
    add --conn $CONN
    server=$(servers)
    kill_backend
    dd if=/dev/zero of=/dev/ublkb0 bs=4k count=1 oflag=direct status=none 2>dd.err &
    user=$!
    wait_for 20 pgrep -x dd
    sleep 0.5
    refused 6 'open in dd' timeout 60 muenblock-ublk del 0
    equal "$server" "$(servers)" 'the serving process'
    prints /dev/ublkb0 timeout 90 muenblock-ublk del --force 0
    ! wait $user || fail 'the I/O of a device that was removed by force succeeded'
    equal '' "$(traces)" 'what is left'

    # Its server is stopped like one that hangs.
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    server=$(servers)
    kill -STOP "$server"
    dd if=/dev/zero of=/dev/ublkb0 bs=4k count=1 oflag=direct status=none 2>dd.err &
    user=$!
    wait_for 20 pgrep -x dd
    sleep 0.5
    prints /dev/ublkb0 timeout 90 muenblock-ublk del --force --all
    ! wait $user || fail 'the I/O of a device that was removed by force succeeded'
    wait_for 20 gone "$server"
    equal '' "$(traces)" 'what is left'
}

# What was not written yet is lost, and so is the file system, but not the machine's mount.
del_force_of_a_mounted_device_leaves_a_mount_of_nothing() {
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/ublkb0
    mkdir -p /mnt/forced
    mount /dev/ublkb0 /mnt/forced
    echo kept >/mnt/forced/file
    sync -f /mnt/forced
    refused 6 '/dev/ublkb0 is mounted on /mnt/forced' muenblock-ublk del 0
    prints /dev/ublkb0 timeout 90 muenblock-ublk del --force 0
    [[ ! -e /dev/ublkb0 ]]
    mountpoint -q /mnt/forced || fail 'the file system was unmounted'
    not dd if=/dev/zero of=/mnt/forced/late bs=4k count=1 conv=fsync status=none 2>/dev/null
    umount /mnt/forced
    wait_for 20 eval '[[ -z $(traces) ]]'

    # The disk has what was synced.
    stop_backend
    mount -o ro $RAM /mnt/forced
    equal kept "$(cat /mnt/forced/file)" 'the content of the file'
    umount /mnt/forced
}

del_force_that_kills_a_server_says_which_devices_wait_for_another() {
    local server user
    start_backend --conn $CONN --device $RAM:1,$RAM2:1
    add --conn $CONN
    server=$(servers)
    kill -STOP "$server"
    dd if=/dev/zero of=/dev/ublkb0 bs=4k count=1 oflag=direct status=none 2>dd.err &
    user=$!
    wait_for 20 has_in_flight 1
    timeout 90 muenblock-ublk del --force 0 >printed 2>complained
    equal /dev/ublkb0 "$(<printed)" 'what was deleted'
    ! wait $user || fail 'the I/O of a device that was removed by force succeeded'
    cat complained
    grep -qx "muenblock-ublk: /dev/ublkb1 had the same server and waits for another: 'muenblock-ublk recover 1' gives it one" complained
    wait_for 20 gone "$server"
    prints /dev/ublkb1 recover 1
    verify /dev/ublkb1 other --rw=randrw --bs=4k --size=1M
}
