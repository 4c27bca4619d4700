# shellcheck shell=bash
# The files of a Muen subject: regions that can be polled, each end with its own modes, and events to write to. A stand-in
# (muenfs.c, compiled by boot) shows the memory of PCI devices in that way: it cannot be pinned, as Muen's.
# shellcheck disable=SC2317,SC2154,SC2086,SC2034 # variables of lib.sh; the constants among them hold no spaces

readonly _MUEN=$WORK/muen

# _muen [request1] [response1]: mounts it; the channels that are named have an event.
_muen() {
    local request response buffer name of_request=- of_response=- files=()
    for name; do
        files+=("events/$name,$name")
        [[ $name == request1 ]] && of_request=$name || of_response=$name
    done
    request=$(device_memory 32768) response=$(device_memory 16384) buffer=$(device_memory 16777216)
    mkdir "$_MUEN"
    "$MUENBLOCK_MUENFS" "$_MUEN" "${files[@]}" events/other,other \
        client/request1,0600,$request,- client/response1,0400,$response,$of_response client/buffer1,0600,$buffer,- \
        server/request1,0400,$request,$of_request server/response1,0600,$response,- server/buffer1,0600,$buffer,- >muenfs.out 2>&1 &
    wait_for 20 grep -qx ready muenfs.out
    server_arguments=(--region-dir "$_MUEN/server" --event-dir "$_MUEN/events")
    client_arguments=(--region-dir "$_MUEN/client" --event-dir "$_MUEN/events")
}

_rings() { cat "$_MUEN/events/$1"; }

# How often the threads of a process went to sleep so far.
_sleeps() { awk '$1 == "voluntary_ctxt_switches:" { sum += $2 } END { print sum }' /proc/"$1"/task/*/status; }

_deep_and_shallow() {
    verify "${devices[0]}" deep --rw=randrw --bssplit=4k/60:64k/40 --iodepth=16 --serialize_overlap=1 --verify_backlog=64 --size=32M --io_size=4M
    # One at a time both ends sleep in between, and each I/O needs a wake both ways.
    fio --name=shallow --filename="${devices[0]}" --direct=1 --ioengine=psync --rw=randrw --bs=4k --size=32M --number_ios=200 --thinktime=2000 \
        --output-format=json --output=shallow.json
}

# A wake that is lost costs a second, as both ends look by themselves after that long. The machine itself may stand still now and then.
_no_wake_was_lost() {
    jq -e '.jobs[0] | (.latency_ms["2000"] + .latency_ms[">=2000"]) < 1' shallow.json >/dev/null || { jq .jobs[0].latency_ms shallow.json; fail 'I/O waited for a second'; }
}

events_wake_both_ends_on_muens_files_and_nobody_polls() {
    local before backend_sleeps client_sleeps
    _muen request1 response1
    ! { : >>"$_MUEN/client/response1"; } 2>/dev/null || fail 'the client may write the response channel'
    start_backend --conn $CONN --device $RAM:1 --spin 0
    grep -q "waits for the event of request1; wakes its peer by the event $_MUEN/events/response1" "$backend_log"
    grep -q "bounce buffer" "$backend_log"
    add --conn $CONN --spin 0
    grep -q "waits for the event of response1; wakes its peer by the event $_MUEN/events/request1" "$CLIENT_LOG"
    grep -q 'ready; the backend knows .*Events' "$CLIENT_LOG"
    before=$(_rings request1)
    _deep_and_shallow
    _no_wake_was_lost
    (($(_rings request1) - before > 70)) || fail "only $(($(_rings request1) - before)) events in 200 I/Os one at a time"

    # With nothing to do each end looks around once a second; one that polls does 200 times.
    sleep 1
    backend_sleeps=$(_sleeps $backend) client_sleeps=$(_sleeps "$(servers)")
    sleep 4
    backend_sleeps=$(($(_sleeps $backend) - backend_sleeps)) client_sleeps=$(($(_sleeps "$(servers)") - client_sleeps))
    ((backend_sleeps < 100)) || fail "the backend woke up $backend_sleeps times in 4 idle seconds"
    ((client_sleeps < 100)) || fail "the client woke up $client_sleeps times in 4 idle seconds"
}

io_on_muens_files_goes_on_over_a_death_of_the_backend() {
    _muen request1 response1
    deaths_under_fio 1 KILL $RAM
}

a_channel_without_an_event_is_polled_and_its_writer_says_that_there_is_none() {
    _muen response1
    start_backend --conn $CONN --device $RAM:1 --spin 0
    grep -q "polls request1, which has no event, and no pages for a futex; wakes its peer by the event" "$backend_log"
    add --conn $CONN --spin 0
    grep -q "waits for the event of response1; cannot wake its peer, which must poll, as there is no event $_MUEN/events/request1" "$CLIENT_LOG"
    _deep_and_shallow
    _no_wake_was_lost
}
