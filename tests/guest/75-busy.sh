# shellcheck shell=bash
# del while the device is in use: it is refused, says who uses it, and the device goes on.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

_one_device() {
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
}

_refused_and_goes_on() {    # FRAGMENT
    refused 6 "$1" muenblock-ublk del 0
    refused 6 "$1" muenblock-ublk del --all
    dd if=/dev/ublkb0 of=/dev/null bs=4k count=16 iflag=direct status=none
}

del_of_a_mounted_device_says_where() {
    _one_device
    mkfs.ext4 -q /dev/ublkb0
    mkdir -p '/mnt/with a space'
    mount /dev/ublkb0 '/mnt/with a space'
    _refused_and_goes_on '/dev/ublkb0 is mounted on /mnt/with a space'
    echo content >'/mnt/with a space/file'
    umount '/mnt/with a space'
    mount /dev/ublkb0 '/mnt/with a space'
    equal content "$(cat '/mnt/with a space/file')" 'the content of the file'
    umount '/mnt/with a space'
    del 0
}

del_of_a_mounted_partition_says_where() {
    _one_device
    sgdisk --zap-all --new=1:2048:+32M /dev/ublkb0 >/dev/null
    blockdev --rereadpt /dev/ublkb0
    mkfs.ext4 -q /dev/ublkb0p1
    mkdir -p /mnt/part
    mount /dev/ublkb0p1 /mnt/part
    _refused_and_goes_on '/mnt/part (/dev/ublkb0p1)'
    umount /mnt/part
    sgdisk --zap-all /dev/ublkb0 >/dev/null
}

del_of_an_open_device_names_the_process() {
    _one_device
    tail -f /dev/null </dev/ublkb0 &
    local holder=$!
    _refused_and_goes_on "open in tail (pid $holder)"
    kill $holder
    wait $holder || true
}

del_of_a_device_that_is_written_names_the_process() {
    _one_device
    dd if=/dev/zero of=/dev/ublkb0 bs=4k oflag=direct status=none 2>/dev/null &
    local writer=$!
    refused 6 "open in dd (pid $writer)" muenblock-ublk del 0
    kill -0 $writer
    kill $writer
    wait $writer || true
}

del_of_a_device_below_device_mapper_names_it() {
    _one_device
    dmsetup create above --table "0 8192 linear /dev/ublkb0 0"
    _refused_and_goes_on '(above)'
    dd if=/dev/zero of=/dev/mapper/above bs=4k count=4 oflag=direct status=none
    dmsetup remove above
}

del_of_a_swap_device_says_so() {
    _one_device
    mkswap /dev/ublkb0 >/dev/null
    swapon /dev/ublkb0
    _refused_and_goes_on 'in use as swap'
    swapoff /dev/ublkb0
}

del_of_a_device_below_a_loop_device_names_it() {
    _one_device
    local loop
    loop=$(losetup --find --show /dev/ublkb0)
    _refused_and_goes_on "${loop#/dev/}"
    losetup -d "$loop"
}

del_all_deletes_the_others_and_says_which_one_is_in_use() {
    local status=0
    start_backend --conn $CONN --device $RAM:1,$RAM2:1
    add --conn $CONN
    tail -f /dev/null </dev/ublkb0 &
    local holder=$!
    muenblock-ublk del --all >printed 2>complained || status=$?
    equal 6 $status 'the exit code'
    equal /dev/ublkb1 "$(cat printed)" 'what was deleted'
    equal 1 "$(wc -l <complained)" 'the number of lines on standard error'
    grep -q "/dev/ublkb0 is open in tail (pid $holder)" complained
    [[ ! -e /dev/ublkb1 && -b /dev/ublkb0 ]]
    verify /dev/ublkb0 other --rw=randrw --bs=4k --size=1M
    kill $holder
    wait $holder || true
    prints /dev/ublkb0 muenblock-ublk del 0
}

# --- SIGTERM to the serving process ----------------------------------------------------------------------------
sigterm_ends_a_server_whose_devices_nobody_uses() {
    local server
    _one_device
    server=$(servers)
    kill -TERM "$server"
    wait_for 20 gone "$server"
    [[ ! -e /dev/ublkb0 && ! -e /sys/class/ublk-char/ublkc0 ]]

    # In the foreground its exit code can be seen.
    start_backend --conn $CONN2 --device $RAM2:2
    muenblock-ublk add --conn $CONN2 --region-dir "$REGIONS" --foreground >printed 2>foreground.log &
    server=$!
    wait_for 20 grep -q /dev/ublkb0 printed
    verify /dev/ublkb0 foreground --rw=randrw --bs=4k --size=1M
    kill -TERM $server
    wait_for 20 gone $server
    wait $server
}

sigterm_does_not_end_a_server_whose_device_is_mounted() {
    local server
    _one_device
    server=$(servers)
    mkfs.ext4 -q /dev/ublkb0
    mkdir -p /mnt/term
    mount /dev/ublkb0 /mnt/term
    kill -TERM "$server"
    wait_for 10 grep -q 'asked to end, but /dev/ublkb0 is mounted on /mnt/term' "$CLIENT_LOG"
    echo content >/mnt/term/file
    sync -f /mnt/term
    umount /mnt/term
    equal "$server" "$(servers)" 'the serving process'
    kill -TERM "$server"
    wait_for 20 gone "$server"
    [[ ! -e /dev/ublkb0 ]]
}
