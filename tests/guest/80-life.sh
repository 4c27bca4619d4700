# shellcheck shell=bash
# Devices come and go, and nothing stays behind; what the programs say of themselves.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_descriptors() { find "/proc/$1/fd" -mindepth 1 | wc -l; }

twenty_cycles_of_add_and_del_leave_nothing() {
    local i descriptors memory
    truncate -s 16M image
    start_backend --conn $CONN --device $RAM:1,image:1
    for ((i = 0; i < 20; i++)); do
        timeout 60 muenblock-ublk add --region-dir "$REGIONS" --conn $CONN >printed
        equal "/dev/ublkb0 /dev/ublkb1" "$(paste -sd' ' printed)" 'what add printed'
        dd if=/dev/ublkb0 of=/dev/null bs=64k count=4 iflag=direct status=none
        # The first cycles make what the program needs once.
        if ((i == 2)); then
            descriptors=$(_descriptors "$backend") memory=$(kib_of "$backend" RssAnon)
        fi
        if ((i == 19)); then
            equal "$descriptors" "$(_descriptors "$backend")" 'the number of descriptors of the backend'
            echo "anonymous memory of the backend: $memory KiB, then $(kib_of "$backend" RssAnon) KiB"
            (($(kib_of "$backend" RssAnon) <= memory + 1024)) || fail 'the backend grows with every session'
        fi
        timeout 60 muenblock-ublk del --all >printed
        equal '' "$(traces)" "what is left after cycle $((i + 1))"
    done
}

list_and_features_say_what_is_there() {
    prints 'no ublk devices' muenblock-ublk list
    prints '{"devices":[]}' muenblock-ublk list --json
    start_backend --conn $CONN --device $DISK4K:1,$RAM:1 --read-only
    add --conn $CONN
    muenblock-ublk list --json >listed
    cat listed
    equal "0 /dev/ublkb0 268435456 4096 true" "$(jq -r '.devices[0] | "\(.id) \(.path) \(.size) \(.blockSize) \(.readOnly)"' listed)" 'the first device'
    equal "1 /dev/ublkb1 $((RAM_MIB * 1048576)) 512 true" "$(jq -r '.devices[1] | "\(.id) \(.path) \(.size) \(.blockSize) \(.readOnly)"' listed)" 'the second device'
    equal "$(servers)" "$(jq -r '.devices[].pid' listed | sort -u)" 'the pid'
    equal true "$(jq '[.devices[].ours] | all' listed)" 'ours'
    muenblock-ublk list >listed
    equal 3 "$(wc -l <listed)" 'the number of lines of list'
    grep -q '^/dev/ublkb0 ' listed

    muenblock-ublk features --json | jq -e '.features.USER_RECOVERY and .kernel != ""' >/dev/null
    muenblock-ublk features | grep -q 'CMD_IOCTL_ENCODE *yes'

    # What a kernel lacks of what is used, and what is done instead: 6.16 brought the first two, 7.0 the third.
    local feature here
    muenblock-ublk features >listed
    cat listed
    for feature in QUIESCE:6.16 UPDATE_SIZE:6.16 SAFE_STOP_DEV:7.0; do
        here=yes
        linux_from "${feature#*:}" || here=no
        grep -E "^${feature%:*} +$here +.*without it, " listed || fail "features does not say that $(uname -r) has ${feature%:*}: $here"
    done
}

the_device_is_what_the_disk_is() {
    local i disk disks=("$DISK" "$DISK4K" "$PLAIN_DISK")
    start_backend --conn $CONN --device "${disks[0]}:1,${disks[1]}:1,${disks[2]}:1"
    add --conn $CONN
    for i in 0 1 2; do
        disk=${disks[i]}
        equal "$(blockdev --getsize64 "$disk")" "$(blockdev --getsize64 "${devices[i]}")" "the size of $disk"
        equal "$(queue "$disk" logical_block_size)" "$(queue "${devices[i]}" logical_block_size)" "the block size of $disk"
        equal "$(queue "$disk" rotational)" "$(queue "${devices[i]}" rotational)" "whether $disk turns"
        equal 0 "$(cat "/sys/block/${devices[i]##*/}/ro")" 'ro'
        equal "$(($(queue "$disk" discard_max_bytes) > 0))" "$(($(queue "${devices[i]}" discard_max_bytes) > 0))" "whether $disk discards"
    done
}

# Unit tests that need a driver; ./test leaves them out elsewhere.
the_driver_takes_the_control_commands_as_the_unit_tests_send_them() {
    local program
    program=$(echo "$here"/../MuenBlock.Ublk.Tests/bin/Release/net10.0/*/MuenBlock.Ublk.Tests.dll)
    dotnet exec "$program" -noLogo -noColor -class '*.DriverTests' -result-xml results.xml
    "$here/../xunit-report" results.xml
    grep -q '<test ' results.xml
    not grep -q 'result="Skip"' results.xml
}

# --- what the programs need ------------------------------------------------------------------------------------
nothing_is_allocated_and_nothing_collected_over_100000_ios() {
    local requests ios line
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    # Two thirds reads; every hundredth write is followed by a flush.
    fio --name=many --filename="${devices[0]}" --direct=1 --ioengine=io_uring --rw=randrw --rwmixread=66 --bs=4k --iodepth=64 \
        --size=128M --number_ios=110000 --io_size=1G --fsync=100 --output=fio-many.out
    del 0
    wait_for 5 grep -q 'the client left' "$backend_log"
    line=$(grep 'the client left' "$backend_log")
    echo "$line"
    [[ $line =~ left\ after\ ([0-9]+)\ requests\;\ meanwhile\ ([0-9]+)\ bytes\ were\ allocated\ and\ ([0-9]+)\ collections\ ran ]]
    requests=${BASH_REMATCH[1]}
    equal '0 bytes, 0 collections' "${BASH_REMATCH[2]} bytes, ${BASH_REMATCH[3]} collections" 'what the backend allocated'
    ((requests >= 100000)) || fail "only $requests requests"

    line=$(grep 'ended after' "$CLIENT_LOG")
    echo "$line"
    [[ $line =~ ended\ after\ ([0-9]+)\ I/Os.*meanwhile\ ([0-9]+)\ bytes\ were\ allocated\ and\ ([0-9]+)\ collections\ ran ]]
    ios=${BASH_REMATCH[1]}
    equal '0 bytes, 0 collections' "${BASH_REMATCH[2]} bytes, ${BASH_REMATCH[3]} collections" 'what the client allocated'
    ((ios >= 100000)) || fail "only $ios I/Os"
}

both_programs_have_less_than_32_mib_besides_the_regions() {
    local pid memory
    start_backend --conn $CONN --device $RAM:1,$RAM2:1
    add --conn $CONN
    verify "${devices[0]}" memory --rw=randrw --bs=64k --size=32M --iodepth=32
    for pid in "$backend" "$(servers)"; do
        grep -E '^(Name|Rss)' "/proc/$pid/status"
        memory=$(($(kib_of "$pid" RssAnon) + $(kib_of "$pid" RssFile)))
        ((memory < 32 * 1024)) || fail "process $pid has $memory KiB besides the regions"
    done
}
