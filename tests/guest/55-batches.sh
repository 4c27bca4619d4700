# shellcheck shell=bash
# Requests that the driver hands over in batches (BATCH_IO), and one by one where it cannot or shall not.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_batch() { muenblock-ublk list --json | jq -c '[.devices[].batch]'; }
_has_batches() { muenblock-ublk features --json | jq -e .features.BATCH_IO >/dev/null; }
_verified() { verify "$1" "${2-batches}" --rw=randrw --bssplit=4k/60:64k/30:512/10 --iodepth=32 --size=32M --number_ios=700; }

requests_come_in_batches_where_the_driver_can_and_one_by_one_if_so_wanted() {
    local can=false
    ! _has_batches || can=true
    start_backend --conn $CONN --device $RAM:1,$RAM2:1
    add --conn $CONN --batch auto
    equal "[$can,$can]" "$(_batch)" 'whether tags come in batches'
    _verified /dev/ublkb0 &
    _verified /dev/ublkb1 other
    wait $!
    del --all
    add --conn $CONN
    equal '[false,false]' "$(_batch)" 'whether tags come in batches'
    _verified /dev/ublkb0
    del --all
    if $can; then add --conn $CONN --batch on; equal '[true,true]' "$(_batch)" 'whether tags come in batches'
    else refused 3 'no BATCH_IO, which came with Linux 7.0' muenblock-ublk add "${client_arguments[@]}" --conn $CONN --batch on
    fi
}

# Which it is belongs to the device, whatever its next server would choose.
a_device_stays_as_it_is_over_the_death_of_its_server() {
    local mode expected load
    for mode in auto off; do
        expected='[false]'
        if [[ $mode == auto ]] && _has_batches; then expected='[true]'; fi
        start_backend --conn $CONN --device $RAM:1
        add --conn $CONN --batch $mode
        rm -f enough
        until_enough _verified /dev/ublkb0 &
        load=$!
        wait_for 60 has_in_flight 1
        kill_client
        recover 0
        equal "$expected" "$(_batch)" "whether tags come in batches ($mode)"
        sleep 0.5
        touch enough
        wait $load
        del 0
        stop_backend
    done
}

# 128 tags are told of at a time at most.
a_device_with_one_tag_and_one_with_many_work() {
    start_backend --conn $CONN --device $RAM:1
    local depth
    for depth in 1 2 300; do
        add --conn $CONN --depth $depth --max-io 4K --batch auto
        verify /dev/ublkb0 depth-$depth --rw=randrw --bs=4k --iodepth=320 --size=32M --number_ios=1500
        del 0
    done
    ! _has_batches || refused 2 'needs a depth of 2 or more' muenblock-ublk add "${client_arguments[@]}" --conn $CONN --depth 1 --batch on
}
