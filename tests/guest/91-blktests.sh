# shellcheck shell=bash
# The cases of blktests' ublk group, written anew: what those who test the driver expect a server to survive.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

# A device that is read and written until it is gone.
_add_in_use() {
    add --conn $CONN
    fio --name=uses --filename=/dev/ublkb0 --rw=randrw --direct=1 --ioengine=io_uring --iodepth=32 --bs=4k --size=32M \
        --time_based --runtime=600 --output=uses.out &
    _user=$!
    wait_for 60 has_in_flight 1
}
_is_deleted_by_force() {
    prints /dev/ublkb0 timeout 90 muenblock-ublk del --force 0
    ! wait $_user || fail 'fio noticed nothing'
    equal '' "$(traces)" 'what is left'
}

_ublk_001_a_device_in_use_is_deleted() {
    _add_in_use
    refused 6 'open in fio' timeout 60 muenblock-ublk del 0
    _is_deleted_by_force
}

_ublk_002_it_is_deleted_after_its_server_has_died() {
    _add_in_use
    kill_client
    wait_for 20 state_is recoverable
    _is_deleted_by_force
}

_ublk_003_a_file_system_is_made_and_mounted() {
    add --conn $CONN
    mkfs.ext4 -q /dev/ublkb0
    mkdir -p /mnt/fs
    mount /dev/ublkb0 /mnt/fs
    umount /mnt/fs
    fsck.ext4 -fn /dev/ublkb0
    del 0
}

_ublk_004_it_is_deleted_while_its_server_dies() {
    _add_in_use
    kill_client at-once
    _is_deleted_by_force
}

_recovered_under_fio() {    # HOW-OFTEN
    local i server
    add --conn $CONN
    rm -f enough
    until_enough verify /dev/ublkb0 recovered --rw=randrw --bs=4k --iodepth=32 --serialize_overlap=1 --size=32M --number_ios=4000 --verify_backlog=32 &
    _user=$!
    for ((i = 1; i <= $1; i++)); do
        wait_for 60 has_in_flight 1
        server=$(servers)
        kill_client
        wait_for 20 state_is recoverable
        prints /dev/ublkb0 recover 0
        equal live "$(state 0)" 'the state'
        [[ $(servers) != "$server" ]] || fail 'the serving process is the same'
    done
    touch enough
    wait $_user
    del 0
}

_ublk_005_a_device_in_use_is_recovered() { _recovered_under_fio 1; }
_ublk_006_a_device_in_use_is_recovered_twice() { _recovered_under_fio 2; }

a_device_survives_the_cases_of_blktests_ublk_group() {
    local name names _user
    start_backend --conn $CONN --device $RAM:1
    mapfile -t names < <(sed -nE 's/^(_ublk_[a-z0-9_]+)\(\) \{.*/\1/p' "$here"/91-blktests.sh)
    for name in "${names[@]}"; do
        echo "$name"
        $name
        progress "ok ${name#_}"
    done
}
