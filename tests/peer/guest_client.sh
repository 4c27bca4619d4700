#!/usr/bin/env bash
# Tests muenblock-ublk against the Python server, in a guest.
# usage: ./guest --timeout 5400 -- tests/peer/guest_client.sh [PART-OF-A-NAME...]
# Prints a line per test (tests/report.sh), and at the end: N passed, N failed.
# shellcheck disable=SC2317 # the tests are called by their names
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export MUENBLOCK_OUT=${MUENBLOCK_OUT:-$here/../../out} PYTHONDONTWRITEBYTECODE=1
PATH=$MUENBLOCK_OUT:$PATH
readonly WORK=/dev/shm/peer REGIONS=/dev/shm/peer/regions
readonly LINUX=1:request:response:buffer
readonly ADA=$LINUX:5155684453516f3d:5155684453516f3d
readonly IMAGE_MIB=64       # Python under emulation is slow
readonly TEST_SECONDS_MAX=240
readonly EVIL_SECONDS=3     # that a server is evil, from its first misdeed on
readonly I_O_SECONDS_MAX=60 # for I/O that waits until the server is good again

# shellcheck source=tests/report.sh
source "$here/../report.sh"

# A wrapper of pyenv would start a shell and more for each program.
python=$(python3 -c 'import sys; print(sys.executable)')
server='' device='' connection=$LINUX

fail() { echo "$*" >&2; return 1; }

# wait_for SECONDS COMMAND [ARG...]: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1 + 1))
    until "${@:2}"; do
        ((SECONDS < end)) || fail "after $1 seconds still not: ${*:2}" || return
        sleep 0.05
    done
}

# --- the two ends ---------------------------------------------------------------------------------------------------
# serve ARG...: of server.py, on an image that stays from one server of a test to the next.
serve() {
    [[ -e $WORK/image ]] || truncate -s ${IMAGE_MIB}M "$WORK/image"
    "$python" "$here/server.py" --conn "$connection" --device "$WORK/image:1" --region-dir "$REGIONS" --create-regions \
        "$@" 2>"$WORK/server.log" &
    server=$!
    echo $server >>"$WORK/pids"
    wait_for 20 grep -q serving "$WORK/server.log"
}

stop_server() {
    kill -"${1:-TERM}" "$server"
    wait "$server" || true
    server=''
}

# add ARG...: of muenblock-ublk add; sets device.
add() {
    timeout 60 muenblock-ublk add --conn "$connection" --region-dir "$REGIONS" --log-file "$WORK/client.log" "$@" >"$WORK/added"
    device=$(<"$WORK/added")
    [[ -b $device ]] || fail "add printed '$device', which is no block device"
}

del() { timeout 60 muenblock-ublk del "$device" >/dev/null; }

# --- what is done with a device --------------------------------------------------------------------------------------
checksums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

# A file system, a copy of a real tree, and the same bytes after it was mounted anew; then in the image itself.
copy_and_compare() {
    local files
    mkfs.ext4 -q "$device"
    mkdir -p /mnt/peer
    mount "$device" /mnt/peer
    cp -a /usr/lib/x86_64-linux-gnu/perl-base /mnt/peer/
    checksums /mnt/peer >"$WORK/before"
    files=$(wc -l <"$WORK/before")
    ((files > 100)) || fail "a tree of only $files files"
    umount /mnt/peer
    e2fsck -fn "$device"
    mount -o ro "$device" /mnt/peer
    checksums /mnt/peer | cmp "$WORK/before" -
    umount /mnt/peer
    del
    stop_server
    e2fsck -fn "$WORK/image"
    mount -o ro,loop "$WORK/image" /mnt/peer
    checksums /mnt/peer | cmp "$WORK/before" -
    umount /mnt/peer
}

verify() {    # NAME [OPTION...]: fio writes and checks what it reads back
    timeout 120 fio --name="$1" --filename="$device" --direct=1 --ioengine=io_uring --verify=crc32c --verify_fatal=1 \
        --verify_state_save=0 --minimal --output="$WORK/fio-$1.out" "${@:2}" || { cat "$WORK/fio-$1.out"; return 1; }
}

mixed() {
    verify "$1" --rw=randrw --rwmixread=30 --bssplit=512/10:4k/40:16k/20:64k/20:256k/10 --iodepth=32 \
        --serialize_overlap=1 --size=48M --io_size=16M --verify_backlog=32 "${@:2}"
}

# --- the tests ------------------------------------------------------------------------------------------------------
a_file_system_on_a_plain_server() { serve && add && copy_and_compare; }

a_file_system_on_a_plain_server_that_punches_holes() { serve --discard punch && add && copy_and_compare; }

a_file_system_on_an_ada_server() {
    connection=$ADA
    serve --ada
    add
    copy_and_compare
}

a_file_system_on_an_ada_server_in_a_connection_of_byte_offsets() {
    connection=$ADA
    serve --ada --offset-unit bytes
    add --offset-unit bytes
    copy_and_compare
}

fio_verifies_on_a_plain_server_that_answers_in_any_order() {
    serve --shuffle 7
    add
    mixed shuffled
    del
}

fio_verifies_on_a_server_with_blocks_of_4096_bytes() {
    serve --block-length 4096
    add
    verify large-blocks --rw=randrw --bssplit=4k/60:16k/20:64k/20 --iodepth=32 --serialize_overlap=1 --size=48M --io_size=16M \
        --verify_backlog=32
    del
}

fio_verifies_on_an_ada_server() {
    connection=$ADA
    serve --ada
    add
    mixed ada
    del
}

# Writes of 4 KiB that are 4096 sectors apart, from slots of 4 KiB side by side: exactly the pairs that the Ada server
# takes for neighbours. All of them must arrive where they belong.
no_pair_is_left_pending_that_an_ada_server_merges_wrongly() {
    connection=$ADA
    serve --ada
    add --max-io 4096 --depth 64
    local start
    for start in 0 4 8 2040; do
        verify "stride$start" --rw=write:2044k --bs=4k --offset="${start}k" --size=$(((IMAGE_MIB - 2) << 20)) --iodepth=32 \
            --io_size=$((IMAGE_MIB / 2 - 1))m --do_verify=1
    done
    verify dense --rw=randwrite --bs=4k --size=8M --iodepth=64 --do_verify=1
    del
}

fio_verifies_on_a_server_that_agrees_to_wake() {
    serve --features
    add
    mixed wakes
    verify single --rw=randrw --bs=4k --iodepth=1 --size=2M --verify_backlog=8
    del
}

over_deaths() {    # SIGNAL SERVER-ARG...
    local i fio
    serve --supervise "$WORK/child" "${@:2}"
    add
    mixed deaths --io_size=1G --time_based --runtime=30 &
    fio=$!
    wait_for 30 moving
    for i in 1 2 3; do
        sleep 2
        kill -0 $fio || fail "fio had ended before the server ended for the ${i}th time"
        kill -"$1" "$(<"$WORK/child")"
        wait_for 20 restarted $((i + 1))
    done
    wait $fio
    (($(sessions) == 4)) || fail "the client has seen $(sessions) sessions instead of four"
    if grep -E ' (error|fatal) ' "$WORK/client.log"; then fail 'the client met errors, see above'; fi
    del
}

sessions() { grep -c 'ready; ' "$WORK/client.log"; }
restarted() { (($(sessions) >= $1)); }
moving() { awk '{ exit !($1 + $5 > 100) }' "/sys/block/${device##*/}/stat"; }

io_goes_on_over_three_deaths_of_a_plain_server() { over_deaths KILL; }
io_goes_on_over_three_restarts_of_a_plain_server() { over_deaths TERM; }
# As the original, but for what no client can help: after a restart that executes again what is in the channel.
io_goes_on_over_three_deaths_of_an_ada_server_whose_epoch_stays_1() {
    connection=$ADA
    over_deaths KILL --ada=all,-replay
}

# --- evil servers ---------------------------------------------------------------------------------------------------
# Whatever the server does for some seconds, the client neither crashes nor floods its log; what waited then goes on, and
# where the server is as it was before, so is the device.
survives() {    # MISDEED AFTER [GOOD-AFTERWARDS]
    local status=0 serving
    serve --evil "$1" --evil-after "$2" --evil-seconds $EVIL_SECONDS
    timeout 30 muenblock-ublk add --conn "$connection" --region-dir "$REGIONS" --log-file "$WORK/client.log" \
        --connect-timeout 2 >"$WORK/added" 2>"$WORK/refused" || status=$?
    if ((status != 0)); then
        # Refusing such a server is right, with the peer's exit code and one line.
        ((status == 5 && $(wc -l <"$WORK/refused") == 1)) || fail "$1: add ended with $status: $(<"$WORK/refused")"
        stop_server KILL
        return
    fi
    device=$(<"$WORK/added")
    serving=$(pgrep -x muenblock-ublk)
    timeout $I_O_SECONDS_MAX dd if=/dev/urandom of="$device" bs=64k count=100 oflag=direct status=none 2>"$WORK/dd" || true
    kill -0 "$serving" || fail "$1: the serving process has ended"
    if [[ ${3-} ]]; then
        sleep $EVIL_SECONDS
        head -c 1M /dev/urandom >"$WORK/payload"
        timeout $I_O_SECONDS_MAX dd if="$WORK/payload" of="$device" bs=64k oflag=direct conv=fsync status=none ||
            fail "$1: cannot be written when the server is good again"
        timeout $I_O_SECONDS_MAX dd if="$device" bs=64k count=16 iflag=direct status=none | cmp "$WORK/payload" - ||
            fail "$1: what was written is not what is read"
    fi
    wait_for 20 del || fail "$1: the device cannot be deleted"
    stop_server KILL
    wait_for 10 not_serving || fail "$1: the serving process is still there"
    if grep -iE 'unhandled|exception|internal|   at ' "$WORK/client.log"; then fail "$1: a fault of the client, see above"; fi
    (($(log_lines) < 100)) || fail "$1: the client's log has $(log_lines) lines"
    rm -f "$WORK/client.log"
}

log_lines() { wc -l 2>/dev/null <"$WORK/client.log" || echo 0; }
not_serving() { ! pgrep -x muenblock-ublk >/dev/null; }

each_survives() {    # AFTER GOOD-AFTERWARDS MISDEED...
    local name
    for name in "${@:3}"; do survives "$name" "$1" "$2"; done
}

answers_with_wrong_fields_are_survived() { each_survives 60 good wrong-tag wrong-kind wrong-device wrong-status; }
answers_too_many_or_too_few_are_survived() { each_survives 60 good duplicate unsolicited lost silence; }
epochs_that_flip_or_end_are_survived() { each_survives 60 good epoch-flips same-epoch inactive; }
counters_at_random_places_are_survived() { each_survives 60 good backwards ahead huge overrun; }
garbage_in_the_channel_is_survived() { each_survives 60 good header garbage; }
another_geometry_after_a_restart_is_survived() { each_survives 60 '' shrink grow block-length no-devices; }
an_impossible_geometry_is_refused_or_survived() { each_survives 0 '' many-devices zero-geometry huge-geometry silence; }

# --- running them ---------------------------------------------------------------------------------------------------
if [[ ${1-} == --one ]]; then
    set -E
    trap 'echo "line $LINENO: failed: $BASH_COMMAND" >&2' ERR
    "$2"
    [[ -z $server ]] || stop_server
    exit
fi

# The test's own processes ended with its time-out; what is left are its servers, and the client's process.
clean_up_by_force() {
    umount -l /mnt/peer
    xargs -r kill -KILL <"$WORK/pids"
    timeout 20 muenblock-ublk del --all
    mapfile -t serving < <(pgrep -x muenblock-ublk)
    ((${#serving[@]} == 0)) || kill -KILL "${serving[@]}"
    sleep 1
    timeout 20 muenblock-ublk del --all
}

# It deletes all devices that it finds. The folder is made by the first process of ./guest.
[[ -d /run/guest/layers ]] || { echo 'tests/peer/guest_client.sh: only in a guest, see above' >&2; exit 2; }
mapfile -t tests < <(sed -n '/^# --- the tests/,/^# --- running/p' "${BASH_SOURCE[0]}" | sed -nE 's/^([a-z][a-z0-9]*(_[a-z0-9]+){3,})\(\) \{.*/\1/p')
passed=0 failed=0
for name in "${tests[@]}"; do
    wanted "$name" "$@" || continue
    rm -rf $WORK
    mkdir -m 700 $WORK
    started=$EPOCHREALTIME status=0
    timeout -k 5 $TEST_SECONDS_MAX "$here/guest_client.sh" --one "$name" >/run/said 2>&1 </dev/null || status=$?
    if ((status == 0)) && ! compgen -G '/dev/ublkb*' >/dev/null; then
        report ok "peer: $name" "$started"
        passed=$((passed + 1))
    else
        echo "the test ended with status $status" >>/run/said
        report FAILED "peer: $name" "$started" /run/said $WORK/client.log $WORK/server.log
        failed=$((failed + 1))
        clean_up_by_force >/dev/null 2>&1 || true
    fi
done
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
