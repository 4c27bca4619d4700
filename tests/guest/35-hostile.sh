# shellcheck shell=bash
# What the other end, or whoever may write to the regions, does against the rules: it costs the connection and nothing else.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_losses() { (($(grep -c "rule RegionsKeepTheirSize: region $2 was truncated" "$1" || true) >= 1)); }
_io_works() { timeout 20 dd if=payload of="$1" bs=64k oflag=direct status=none 2>/dev/null; }
_io_fails() { ! _io_works "$1"; }
_other_in_use() {
    while [[ ! -e enough ]]; do verify "${devices[1]}" other --rw=randrw --bs=4k --iodepth=8 --size=8M --number_ios=500 --verify_backlog=32; done
}

# Both ends have both connections; one of them is in use all the time, and nothing of that fails.
a_truncated_region_costs_its_own_connection_until_it_is_whole_again() {
    local region whole load
    random_file payload 1048576
    start_backend --conn $CONN,$CONN2 --device $RAM:1,$RAM2:2
    add --conn $CONN --conn $CONN2
    _other_in_use &
    load=$!
    for region in request1 response1 buffer1; do
        whole=$(stat -c %s "$REGIONS/$region")
        truncate -s 4096 "$REGIONS/$region"
        [[ $region == buffer1 ]] || truncate -s 0 "$REGIONS/$region"
        # The buffer's loss is met by the driver alone, which would try to copy for ever: the client has to look.
        wait_for 10 _io_fails "${devices[0]}"
        wait_for 10 _losses "$CLIENT_LOG" $region
        wait_for 10 _losses "$backend_log" $region
        truncate -s "$whole" "$REGIONS/$region"
        wait_for 15 _io_works "${devices[0]}"
        cmp -n 1048576 payload $RAM
        random_file payload 1048576
    done
    touch enough
    wait $load
    (($(grep -c 'connection 2: ' "$CLIENT_LOG") == 2)) || fail 'the other connection began anew'
}
