# shellcheck shell=bash
# What the other end, or whoever may write to the regions, does against the rules: it costs the connection and nothing else.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_losses() { (($(grep -c "rule RegionsKeepTheirSize: region $2 was truncated" "$1" || true) >= 1)); }
_io_works() { timeout 20 dd if=payload of="$1" bs=64k oflag=direct status=none 2>/dev/null; }
_io_fails() { ! _io_works "$1"; }

# The second device is in use all the time, slowly: the processors are for the first. What was written is read and compared.
_use_other() {
    fio --name=other --filename="${devices[1]}" --direct=1 --ioengine=io_uring --rw=randrw --bs=4k --iodepth=4 --size=8M --rate_iops=40 \
        --time_based --runtime=600 --verify=crc32c --verify_fatal=1 --verify_backlog=16 --minimal --output="$WORK/fio-other.out" &
    load=$!
}
_other_went_on() {
    local status=0
    kill -INT "$load"
    wait "$load" || status=$?
    equal 128 $status 'what fio says of a signal, if nothing else was wrong,'
    equal 1 "$(grep -c 'connection 2: ready' "$CLIENT_LOG")" 'the number of sessions of the other connection'
}

# Both ends have both connections; one of them is in use all the time, and nothing of that fails.
a_truncated_or_overwritten_region_costs_its_own_connection_until_it_is_whole_again() {
    local region whole
    random_file payload 262144
    start_backend --conn $CONN,$CONN2 --device $RAM:1,$RAM2:2
    add --conn $CONN --conn $CONN2
    _use_other
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
        cmp -n 262144 payload $RAM
        random_file payload 262144
    done

    # Somebody else writes to the header of a channel, so that its reader does not find it any more.
    for region in request1 response1; do
        printf '\377%.0s' {1..24} | dd of="$REGIONS/$region" bs=24 conv=notrunc status=none
        wait_for 15 _io_works "${devices[0]}"
        cmp -n 262144 payload $RAM
        random_file payload 262144
    done
    grep -q 'connection 1: .*rule OnlyItsWriterChangesAChannel: the request channel' "$CLIENT_LOG"
    grep -q 'connection 1: .*rule OnlyItsWriterChangesAChannel: the response channel' "$backend_log"
    _other_went_on
}

# --- a hostile server ------------------------------------------------------------------------------------------
# Two walks through the table of docs/security.md: the server of the Python peer does what a file says. It starts once a walk.
readonly _ORDERS=$WORK/orders
readonly _MOST_LOG_LINES=120 _MOST_GROWTH_KIB=16384

_obeying() { grep -qF "obeying '$1'" <(tail -n 1 "$SERVER_LOG"); }
_order() { echo "$1" >"$_ORDERS.new"; mv "$_ORDERS.new" "$_ORDERS"; wait_for 10 _obeying "$1"; }
_good() { timeout 20 dd if=payload of="${devices[0]}" bs=32k oflag=direct status=none && timeout 20 dd if="${devices[0]}" bs=32k count=2 iflag=direct status=none | cmp payload -; }

# misdeed ORDERS [COMMAND [ARG...]]: what has to come of it, if that can be seen; its server goes on, and a good one after it is served. The
# I/O comes after the order, as a client that waits for nothing does not look: what is done to the channel is done again and again.
_misdeed() {
    local lines writer
    lines=$(wc -l <"$CLIENT_LOG")
    _order "$1"
    dd if=payload of="${devices[0]}" bs=${block-8k} oflag=direct status=none 2>refusal &
    writer=$!
    if (($# == 1)); then sleep 0.4; else "${@:2}" || fail "$1: not so: ${*:2}"; fi
    _order ''
    wait $writer || true
    kill -0 "$serving" || fail "$1: the serving process has ended"
    wait_for 10 _good || fail "$1: a good server after it is of no use"
}
_says() { tail -n +$(($1 + 1)) "$CLIENT_LOG" | grep -qE "$2"; }
_is_logged() { wait_for 10 _says "$lines" "$1"; }    # what the client says of it
_fails_while_it_is_so() { wait_for 10 gone $writer && grep -q 'Input/output error' refusal; }
_waits_while_it_is_so() { wait_for 10 has_in_flight 1 "${devices[0]##*/}" && sleep 0.4 && kill -0 $writer; }
_goes_on_while_it_is_so() { wait_for 20 gone $writer && [[ ! -s refusal ]]; }

_with_a_hostile_server() {    # sets server and serving
    random_file payload 65536
    truncate -s 64M image
    : >"$_ORDERS"
    start_python_server --conn $CONN --device image:1 --evil-file "$_ORDERS"
    start_backend --conn $CONN2 --device $RAM2:2
    python_server_serves
    # What add is told makes no device.
    _order huge-geometry
    refused 5 'rule: device 0: BlockLengthIsPowerOfTwo' muenblock-ublk add --region-dir "$REGIONS" --conn $CONN --connect-timeout 5
    _order ''
    add --conn $CONN --conn $CONN2
    serving=$(servers)
    _good
    memory=$(kib_of "$serving" VmRSS)
    _use_other
}

_nothing_else_was_harmed() {
    _other_went_on
    (($(kib_of "$serving" VmRSS) < memory + _MOST_GROWTH_KIB)) || fail "the serving process grew from $memory to $(kib_of "$serving" VmRSS) KiB"
    (($(wc -l <"$CLIENT_LOG") < _MOST_LOG_LINES)) || fail "the client's log has $(wc -l <"$CLIENT_LOG") lines"
    ! grep -iE 'unhandled|exception|   at ' "$CLIENT_LOG" || fail 'a fault of the client, see above'
    del --all
    kill -TERM $server
    wait $server
}

a_server_that_comes_back_as_another_costs_its_own_connection_and_nothing_else() {
    local server serving memory load lines
    _with_a_hostile_server
    _misdeed shrink _is_logged 'rule SizeDoesNotShrink: device 0 has 65536 blocks instead of 131072'
    _misdeed block-length _is_logged 'rule BlockLengthStaysTheSame'
    _misdeed no-devices _is_logged 'rule ResetSucceeds: status 1'
    _misdeed same-epoch,many-devices _is_logged 'rule DevicesAreFrom1To256: 65536'
    _misdeed inactive _is_logged 'the backend is gone'
    _misdeed epoch-flips

    # Last, as a device keeps the size that it once had: the server as it was is refused from then on.
    lines=$(wc -l <"$CLIENT_LOG")
    _order grow
    wait_for 10 _says "$lines" '/dev/ublkb0: has grown from 67108864 to 134217728 bytes'
    _order ''
    wait_for 10 _says "$lines" 'rule SizeDoesNotShrink: device 0 has 131072 blocks instead of 262144'
    _nothing_else_was_harmed
}

a_server_that_writes_what_it_likes_costs_its_own_connection_and_nothing_else() {
    local server serving memory load block
    _with_a_hostile_server
    # Ten lines a minute are for this rule: those come first that break it once, with the one I/O there is, and last the one that does so more often.
    block=64k
    _misdeed wrong-tag _is_logged 'rule ResponsesAnswerRequests'
    _misdeed wrong-kind _is_logged 'rule ResponsesAnswerRequests'
    _misdeed wrong-device _is_logged 'rule ResponsesAnswerRequests'
    _misdeed duplicate _is_logged 'rule ResponsesAnswerRequests'
    _misdeed unsolicited _is_logged 'rule ResponsesAnswerRequests'
    block=8k
    _misdeed overrun _is_logged 'rule ResponsesFitTheChannel'
    _misdeed huge _is_logged 'rule ResponsesFitTheChannel'
    _misdeed header,garbage _is_logged 'rule ChannelsAreAsAgreed|backend is gone|ready; '
    # From here on the minute's lines of what servers do may be used up.
    _misdeed ahead
    _misdeed backwards
    _misdeed wrong-status _fails_while_it_is_so
    _misdeed lost
    _misdeed silence _waits_while_it_is_so
    _misdeed resize
    _misdeed hints,buffer _goes_on_while_it_is_so
    _nothing_else_was_harmed
    grep -E 'connection 1: ended.* [1-9][0-9]* stray responses' "$CLIENT_LOG"
}

# --- privileges ------------------------------------------------------------------------------------------------
# The driver takes the commands that end a device only from CAP_SYS_ADMIN; the others are for looking for a device's users.
a_serving_process_keeps_only_the_privileges_that_ublk_needs() {
    local thread
    start_backend --conn $CONN --device $RAM:1 --user nobody
    add --conn $CONN
    for thread in /proc/"$(servers)"/task/*/status; do
        # What runs in the kernel alone takes the rights of whoever sent the I/O.
        ! grep -q '^Name:.iou-wrk' "$thread" || continue
        equal 1 "$(awk '$1 == "NoNewPrivs:" { print $2 }' "$thread")" 'NoNewPrivs'
        equal 2 "$(awk '$1 == "Seccomp:" { print $2 }' "$thread")" 'Seccomp'
        equal 0000000000280004 "$(awk '$1 == "CapPrm:" { print $2 }' "$thread")" 'CapPrm'
        equal 0000000000280004 "$(awk '$1 == "CapEff:" { print $2 }' "$thread")" 'CapEff'
        equal 0000000000000000 "$(awk '$1 == "CapBnd:" { print $2 }' "$thread")" 'CapBnd'
    done
    for thread in /proc/$backend/task/*/status; do equal 0000000000000000 "$(awk '$1 == "CapPrm:" { print $2 }' "$thread")" 'CapPrm of the backend'; done
    verify "${devices[0]}" sandboxed --rw=randrw --bs=4k --iodepth=8 --size=4M
    kill -TERM "$(servers)"
    wait_for 20 _no_servers
    equal '' "$(traces)" 'what is left'
}
_no_servers() { [[ -z $(servers) ]]; }
