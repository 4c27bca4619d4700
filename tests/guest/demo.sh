#!/usr/bin/env bash
# The steps of ./demo that need a ublk driver, in a guest or on a machine that has one: ./demo says which, and starts
# this with the disk, how many steps went before, how many there are in all, and the folders to copy with a file of their checksums.
# ./demo also sources this file, for its own steps to look the same.
set -Eeuo pipefail

readonly IMAGE_MIB=256
readonly FIO_AREA_MIB=256        # of either device; fits into a partition
readonly FIO_SECONDS=2           # per measurement: there are eight
readonly VERIFY_MIB=96
readonly STOP_SECONDS_MAX=10     # for a process to end that was asked to
readonly CONNECTION=1:blockdev_request1:blockdev_response1:muenblock

steps=(show_disk serve add show_devices compare_speed copy_tree check_copy compare_copy verify_data
    delete_devices stop_backend compare_on_the_disk prove_that_nothing_is_left)

# --- how steps are run and shown ----------------------------------------------------------------------------------
number=0 total=0 step_title='' failure='' failed_command=''
reported=''    # not empty: another process has said what failed
colours=${DEMO_COLOURS:-}
[[ ! -t 1 || ${NO_COLOR:-} ]] || colours=1
bold='' good='' bad='' plain=''
[[ ! $colours ]] || { bold=$'\e[1m' good=$'\e[32m' bad=$'\e[31m' plain=$'\e[0m'; }

title() {
    step_title=$1
    printf '\n%s[%2d/%d] %s%s\n' "$bold" "$number" "$total" "$step_title" "$plain"
}

indent() { sed 's/^/        /'; }
say() { indent <<<"$*"; }

# Shows a command, runs it and indents what it prints.
run() {
    local status
    say "\$ $*"
    "$@" 2>&1 | indent && return
    status=${PIPESTATUS[0]} failed_command=$*
    return "$status"
}

# Runs steps, the functions that are named.
go() {
    local step began
    for step in "$@"; do
        number=$((number + 1)) began=${EPOCHREALTIME/[.,]/}
        "$step"
        printf '        %sok%s, %d.%d s\n' "$good" "$plain" \
            $(((${EPOCHREALTIME/[.,]/} - began) / 1000000)) $(((${EPOCHREALTIME/[.,]/} - began) / 100000 % 10))
    done
}

# Ends this script with a message that says what is wrong and what to do. Not in a subshell.
fail() {
    failure=$1
    exit 1
}

# Has a function called at the end, whatever ends this script, and remembers the command that failed.
catch_failures() {
    # The first that failed; the functions that it was called from fail after it.
    trap ': "${failed_command:=$BASH_COMMAND}"' ERR
    # shellcheck disable=SC2064 # the name is meant to be expanded now
    trap "$1" EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# Says why this script ends with a status other than 0, as its last words.
report_failure() {
    [[ $1 != 0 && ! $reported ]] || return 0
    case $failure:$1 in
        :129 | :130 | :143) failure=interrupted ;;
        :*) failure="'${failed_command:-?}' ended with status $1, see above" ;;
    esac
    printf '%s        FAILED: %s\ndemo: failed%s%s\n' "$bad" "$failure" \
        "${step_title:+ in step $number of $total ($step_title)}" "$plain" >&2
}

# Waits until udev, on a machine that has it, has looked at new block devices, which keeps them in use.
settle() { udevadm settle --timeout=10 2>/dev/null || true; }

# The bytes and the number of the files in folders.
measure() { find "$@" -type f -printf '%s\n' | awk '{ bytes += $1 } END { printf "%d %d\n", bytes, NR }'; }

# The checksums of the files in folders, each by its path from the folder's parent, in the order of the paths.
checksums() {
    local place
    for place in "$@"; do
        (cd "${place%/*}" && find "${place##*/}" -type f -print0 | xargs -0 sha256sum)
    done | LC_ALL=C sort -k 2
}

# --- the steps ----------------------------------------------------------------------------------------------------
disk='' first='' second=''    # the disk of the backend's side, and its partitions
tree=() originals=''          # the folders to copy, and the checksums of the files in them
# What clean_up has to undo.
folder='' regions='' backend='' devices=() mounted=''
region_option=()
log_lines_shown=0

show_disk() {
    title "The backend's side: a disk with two partitions, and an image file"
    say "Linux $(uname -r) on $(nproc) processors"
    first=$(lsblk -lnpo NAME,TYPE "$disk" | awk '$2 == "part" { print $1; exit }')
    second=$(lsblk -lnpo NAME,TYPE "$disk" | awk '$2 == "part" && ++count == 2 { print $1 }')
    [[ -b $first && -b $second ]] || fail "$disk shows no two partitions: did the kernel read its GPT?"
    run lsblk -o NAME,TYPE,SIZE,LOG-SEC "$disk"
    run truncate -s "${IMAGE_MIB}M" "$folder/image"
    all_there_is >"$folder/before"
}

serve() {
    title 'Serve the first partition and the image file on one connection: three regions of shared memory'
    local command=(muenblock-backend serve --conn "$CONNECTION" --device "$first:1,$folder/image:1" --create-regions
        "${region_option[@]}") i
    say "\$ ${command[*]} &"
    # In a session of its own: what interrupts this script would else end the backend before its devices.
    setsid "${command[@]}" 2>"$folder/backend.log" </dev/null &
    backend=$!
    # A line for each disk says that all is open.
    for ((i = 0; i < 100; i++)); do
        [[ $(grep -c ' exporting ' "$folder/backend.log") != 2 ]] || break
        kill -0 "$backend" 2>/dev/null || break
        sleep 0.1
    done
    show_backend_log
    kill -0 "$backend" 2>/dev/null || fail 'the backend has ended: its log is above'
    say "$(ls -l --time-style=+ "$regions")"
}

# What the backend has logged since this was called last.
show_backend_log() {
    tail -n +$((log_lines_shown + 1)) "$folder/backend.log" | indent
    log_lines_shown=$(wc -l <"$folder/backend.log")
}

add() {
    title 'Make block devices of them on the other side, which knows the three regions only'
    local command=(muenblock-ublk add --conn "$CONNECTION" "${region_option[@]}") output
    say "\$ ${command[*]}"
    output=$("${command[@]}" </dev/null) || fail 'muenblock-ublk add failed: its message is above'
    say "$output"
    # Everything below happens to the devices that this add made, and to no other.
    mapfile -t devices <<<"$output"
    [[ ${#devices[@]} == 2 && ${devices[0]} =~ ^/dev/ublkb[0-9]+$ && ${devices[1]} =~ ^/dev/ublkb[0-9]+$ ]] ||
        fail 'it should have printed the paths of two devices'
    settle
}

show_devices() {
    title 'They are block devices like any other'
    run lsblk -o NAME,TYPE,SIZE,LOG-SEC,RO "${devices[@]}"
    run muenblock-ublk list
    [[ $(blockdev --getsize64 "${devices[0]}") == $(blockdev --getsize64 "$first") ]] ||
        fail "${devices[0]} and $first differ in size"
    [[ $(blockdev --getsize64 "${devices[1]}") == $((IMAGE_MIB << 20)) ]] ||
        fail "${devices[1]} and the image file differ in size"
}

compare_speed() {
    title 'fio on the exported partition, beside the same on the second partition, straight on the disk'
    local device kind size depth text line jobs=() results here there iops result
    local workloads=('randread 4k 32 4k random read, 32 deep' 'randwrite 4k 32 4k random write, 32 deep'
        'read 128k 8 128k sequential read, 8 deep' 'write 128k 8 128k sequential write, 8 deep')
    # The disk is a sparse file: reading it where nothing was written, and the first writing, would say nothing.
    for device in "${devices[0]}" "$second"; do
        run dd if=/dev/zero of="$device" bs=1M count="$FIO_AREA_MIB" oflag=direct status=none
    done
    # One fio for all, since it takes seconds to start under emulation. Each job (stonewall) waits for the one before.
    for line in "${workloads[@]}"; do
        read -r kind size depth text <<<"$line"
        for device in "${devices[0]}" "$second"; do
            jobs+=("--name=$kind" "--filename=$device" "--rw=$kind" "--bs=$size" "--iodepth=$depth")
        done
    done
    say "\$ fio --ioengine=io_uring --direct=1 --time_based --runtime=$FIO_SECONDS ...   (eight jobs, one after the other)"
    timeout -k 5 120 fio --ioengine=io_uring --direct=1 --time_based --runtime="$FIO_SECONDS" --stonewall \
        --size="${FIO_AREA_MIB}M" --norandommap --output-format=terse --terse-version=3 --output="$folder/fio.out" \
        "${jobs[@]}" </dev/null >/dev/null || fail "fio failed: $(tail -n 3 "$folder/fio.out")"

    mapfile -t results < <(grep '^3;' "$folder/fio.out")
    say "$(printf '%-30s %24s %24s  ratio' '' "${devices[0]} (muenblock)" "$second (disk)")"
    for line in "${workloads[@]}"; do
        read -r kind size depth text <<<"$line"
        read_result "$kind" "${results[0]}"
        here=$iops text=$(printf '%-30s %s' "$text" "$result")
        read_result "$kind" "${results[1]}"
        there=$iops results=("${results[@]:2}")
        say "$text $result   $((here / there)).$(printf '%02d' $((here * 100 / there % 100)))"
    done
}

# A job's line of fio's terse output: sets iops, and result, both for the table.
read_result() {
    local fields first=6
    IFS=';' read -ra fields <<<"$2"
    # KiB/s and IOPS are the fields 7 and 8 for reading, 48 and 49 for writing (fio's manual, TERSE OUTPUT).
    [[ $1 != *write ]] || first=47
    iops=${fields[first + 1]%.*}
    ((iops > 0)) || fail "fio reports no I/O: $2"
    result=$(printf '%7d IOPS %4d.%d MB/s' "$iops" $((fields[first] * 1024 / 1000000)) \
        $((fields[first] * 1024 / 100000 % 10)))
}

mount_on() {
    mkdir -p "$folder/mnt"
    run mount "$@" "$folder/mnt"
    mounted=$folder/mnt
}

unmount() {
    run umount "$mounted"
    mounted=''
}

copy_tree() {
    title 'Make a file system, mount it, and copy a real tree to it'
    local bytes files
    run mkfs.ext4 -q "${devices[0]}"
    mount_on "${devices[0]}"
    read -r bytes files < <(measure "${tree[@]}")
    run cp -a "${tree[@]}" "$mounted/"
    say "$files files, $((bytes / 1000000)) MB"
}

check_copy() {
    title 'Unmount it, and check the file system'
    unmount
    settle
    run e2fsck -fn "${devices[0]}"
}

# Compares what is mounted with the originals.
compare_mounted() {
    checksums "${tree[@]/#*\//$mounted/}" >"$folder/copies"
    diff "$originals" "$folder/copies" >"$folder/diff" ||
        fail "files differ from what was copied, the first (< original, > copy): $(sed -n 2p "$folder/diff")"
    say "all $(wc -l <"$originals") SHA-256 checksums are those of the originals"
}

# The bytes read from a device since it exists (the kernel's Documentation/block/stat.rst: 512-byte sectors, third).
bytes_read() { awk '{ print $3 * 512 }' "/sys/class/block/${1#/dev/}/stat"; }

compare_copy() {
    title 'Mount it again, and compare the checksums of all files'
    local before read
    mount_on -o ro "${devices[0]}"
    before=$(bytes_read "${devices[0]}")
    compare_mounted
    read=$(($(bytes_read "${devices[0]}") - before))
    say "$((read / 1000000)) MB were read through ${devices[0]}"
    # Else the page cache would have been compared.
    ((read >= $(measure "$mounted" | cut -d ' ' -f 1))) || fail 'that is less than the files hold'
    unmount
}

verify_data() {
    title 'fio on the image file: random reads and writes of mixed sizes, all verified by CRC-32C'
    settle
    run timeout -k 5 120 fio --name=verify --filename="${devices[1]}" --rw=randrw --bsrange=4k-256k \
        --size="${VERIFY_MIB}M" --iodepth=16 --ioengine=io_uring --direct=1 --verify=crc32c --verify_fatal=1 \
        --verify_state_save=0 --output-format=terse --terse-version=3 --output="$folder/fio.out" ||
        fail "fio found wrong data or failed: $(tail -n 5 "$folder/fio.out")"
    # Terse fields: KiB read and written.
    awk -F';' '/^3;/ { printf "%.1f MB written and verified, %.1f MB read\n", $47 * 1024 / 1e6, $6 * 1024 / 1e6
        exit !($6 > 0 && $47 > 0) }' "$folder/fio.out" >"$folder/verified" || fail 'fio reports no verified data'
    say "$(<"$folder/verified")"
}

delete_devices() {
    title 'Delete the block devices'
    settle
    while ((${#devices[@]})); do
        run muenblock-ublk del "${devices[0]}"
        devices=("${devices[@]:1}")
    done
}

stop_backend() {
    title 'Stop the backend'
    local status=0
    say "\$ kill -TERM $backend"
    end_backend || status=$?
    show_backend_log
    ((status == 0)) || fail "the backend ended with status $status: its log is above"
}

# Ends the backend and passes its status on; kills it if it does not end in time.
end_backend() {
    local i pid=$backend
    backend=''
    kill "$pid" 2>/dev/null || true
    for ((i = 0; i < STOP_SECONDS_MAX * 10; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid"
}

compare_on_the_disk() {
    title "On the backend's own side: mount the partition itself, and compare the checksums again"
    mount_on -o ro "$first"
    compare_mounted
    unmount
}

# --- that nothing is left -----------------------------------------------------------------------------------------
# Everything that could be left, as far as there is any of it on this machine: a line for each, or one that says none.
all_there_is() {
    local paths programs
    mapfile -t paths < <(muenblock-ublk list --json | grep -o '"/dev/ublkb[0-9]*"')
    # By their programs, since a process that has ended has none, whether or not its parent has noticed.
    mapfile -t programs < <(find /proc/[0-9]*/exe -lname '*/muenblock-*' -printf '%h %l\n' 2>/dev/null)
    shopt -s nullglob
    one_a_line 'block devices (/dev/ublkb*)' /dev/ublkb*
    one_a_line 'their control devices (/dev/ublkc*)' /dev/ublkc*
    one_a_line 'the driver: /sys/class/ublk-char/*' /sys/class/ublk-char/*
    one_a_line 'listed by muenblock-ublk list' "${paths[@]}"
    one_a_line 'processes of both programs' "${programs[@]}"
    one_a_line 'state files (/run/muenblock/*)' /run/muenblock/*
    one_a_line 'regions' "$regions"/*
    shopt -u nullglob
}

one_a_line() {
    local what=$1 item
    shift
    (($#)) || set -- none
    for item in "$@"; do printf '%-38s %s\n' "$what:" "$item"; done
}

prove_that_nothing_is_left() {
    title 'Nothing is left'
    say 'The backend leaves its regions, for its successor to go on with them. The demo removes them:'
    run rm -v "$regions"/*
    run rmdir "$regions"
    run muenblock-ublk list --json
    local i left
    # A serving process ends soon after its last device, not at the same time.
    for ((i = 0; i < STOP_SECONDS_MAX * 10; i++)); do
        all_there_is >"$folder/after"
        left=$(grep -vxFf "$folder/before" "$folder/after" | grep -v ' none$') || break
        sleep 0.1
    done
    [[ ! $left ]] || fail "still there, and not before the demo: $left"
    # On a machine where others use ublk, what is theirs is shown here as well.
    say "$(<"$folder/after")"
}

# --- the whole ----------------------------------------------------------------------------------------------------
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    local status=$? device
    trap '' INT TERM HUP
    set +e
    if ((status)) && [[ -s $folder/backend.log ]]; then
        say 'The ends of the logs, first the backend'"'"'s:'
        tail -n 20 "$folder/backend.log" | indent
        find /run/muenblock -name '*.log' -newer "$folder/before" -exec tail -n 20 {} + | indent
    fi
    if [[ ${devices[*]} ]] && ! kill -0 "$backend" 2>/dev/null; then
        # I/O waits until there is a backend again, and to unmount or to delete anything now would wait with it.
        say "Left, since the backend is gone: ${devices[*]} $mounted. To remove them, serve them again with the"
        say "command above; then unmount, muenblock-ublk del, and remove $folder and $regions."
    else
        [[ ! $mounted ]] || umount "$mounted"
        settle
        # One by one, so that one which cannot be deleted does not keep the other.
        for device in "${devices[@]}"; do muenblock-ublk del "$device" >/dev/null; done
        [[ ! $backend ]] || end_backend
        rm -rf "$regions" "$folder"
    fi
    report_failure "$status"
}

main() {
    (($# >= 5)) || { echo 'usage: tests/guest/demo.sh DISK STEPS-BEFORE STEPS-IN-ALL CHECKSUMS FOLDER... (see ./demo)' >&2; exit 2; }
    disk=$1 number=$2 total=$3 originals=$4 tree=("${@:5}")
    PATH=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../out" && pwd):$PATH
    catch_failures clean_up
    folder=$(mktemp -d /var/tmp/muenblock-demo.XXXXXX)
    # Where both programs look for regions unless they are told; but not beside, or over, somebody else's.
    regions=/dev/shm/muenblock
    if [[ -e $regions ]] || mountpoint -q /muenfs; then
        regions=$(mktemp -d /dev/shm/muenblock-demo.XXXXXX)
        region_option=(--region-dir "$regions")
    fi
    go "${steps[@]}"
}

[[ ${BASH_SOURCE[0]} != "$0" ]] || main "$@"
