# shellcheck shell=bash
# shellcheck disable=SC2034 # the constants are for the tests
# What the guest tests are made of: a machine with disks, backends, devices, and proof that nothing is left of them.

# shellcheck source=tests/cli/refused.sh
source "${BASH_SOURCE[0]%/*}/../cli/refused.sh"

readonly OUT=${MUENBLOCK_OUT:-$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)/out}
readonly WORK=/dev/shm/work            # a test's own files, in memory; gone with the test
readonly REGIONS=$WORK/regions
readonly RAM=/dev/ram0 RAM2=/dev/ram1  # disks without a write cache, RAM_MIB each
readonly RAM_MIB=160
readonly DISK=/dev/vda DISK4K=/dev/vdb # disks with a write cache, blocks of 512 and 4096 bytes, see boot
readonly PLAIN_DISK=/dev/vdc           # a disk that cannot discard
readonly NVME=/dev/nvme0n1 NVME_FAILING=/dev/nvme1n1 ATA=/dev/sda    # disks with SMART data
readonly CONN=1:request1:response1:buffer1 CONN2=2:request2:response2:buffer2
readonly CLIENT_LOG=$WORK/client.log SERVER_LOG=$WORK/server.log
readonly SKIPPED=77                    # the status of a test that the kernel is too old for
readonly PROGRAMS=^muenblock-          # their processes; the kernel cuts names off after 15 bytes
PATH=$OUT:$PATH

# Where the two programs find their regions; a test may set others before it starts them.
server_arguments=(--region-dir "$REGIONS" --create-regions) client_arguments=(--region-dir "$REGIONS")
backends=() backend='' backend_log='' devices=()

fail() { echo "$*" >&2; return 1; }
# not COMMAND [ARG...]: it must fail. A bare "! command" that succeeds does not end a test.
not() { ! "$@" || fail "succeeded: $*"; }
# progress TEXT: how far a long test is, also for who waits for it outside the guest.
progress() { echo "$*"; [[ -z ${MUENBLOCK_PROGRESS-} ]] || echo "$*" >>"$MUENBLOCK_PROGRESS"; }
# equal EXPECTED ACTUAL WHAT
equal() { [[ $1 == "$2" ]] || fail "$3 is '$2' instead of '$1'"; }

# linux_from RELEASE: whether the kernel is that one or newer.
linux_from() {
    local release
    release=$(uname -r)
    [[ $(printf '%s\n' "$1" "${release%%-*}" | sort -V | head -n 1) == "$1" ]]
}
# needs_linux RELEASE: ends a test that older kernels cannot run, which counts as skipped. It asks for the release alone: what a guest
# should have and lacks is a failure.
needs_linux() { linux_from "$1" || { echo "needs Linux $1"; exit $SKIPPED; }; }

# prints EXPECTED COMMAND [ARG...]: the command succeeds and prints just that. As an argument of equal its status would be lost.
prints() {
    local said
    said=$("${@:2}") || fail "ended with status $?: ${*:2}" || return
    equal "$1" "$said" "what '${*:2}' printed"
}

# wait_for SECONDS COMMAND [ARG...]: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1 + 1))
    until "${@:2}"; do
        ((SECONDS < end)) || fail "after $1 seconds still not: ${*:2}" || return
        sleep 0.05
    done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# --- the machine -----------------------------------------------------------------------------------------------
# What follows writes over disks and cleans up by force. The folder is made by the first process of ./guest.
only_in_a_guest() {
    [[ ! -d /run/guest/layers ]] || return 0
    echo "$0: only in a guest: its disks and devices are taken for nobody's" >&2
    exit 2
}
prepare_machine() { modprobe brd rd_nr=2 rd_size=$((RAM_MIB * 1024)); }

# --- memory without pages --------------------------------------------------------------------------------------
# device_memory BYTES: the file of a PCI device's memory (ivshmem) of that size, which a program can map but the kernel cannot pin.
device_memory() {
    local file
    for file in /sys/bus/pci/devices/*/resource2; do
        [[ $(<"${file%/*}/vendor") != 0x1af4 || $(<"${file%/*}/device") != 0x1110 || $(stat -c %s "$file") != "$1" ]] || { echo "$file"; return; }
    done
    fail "no PCI device has $1 bytes of memory"
}

# in_device_memory NAME BYTES: makes a region of it.
in_device_memory() {
    local file
    file=$(device_memory "$2")
    echo 1 >"${file%/*}/enable"
    mkdir -p "$REGIONS"
    touch "$REGIONS/$1"
    mount --bind "$file" "$REGIONS/$1"
}

mounts_in_work() { awk -v at="$WORK/" 'index($2, at) == 1 { print $2 }' /proc/mounts | tac; }

# --- a backend -------------------------------------------------------------------------------------------------
# start_backend ARG...: of serve; returns when all connections are served. Sets backend (its pid) and backend_log.
start_backend() {
    local connections
    backend_log=$WORK/backend-${#backends[@]}.log
    muenblock-backend serve "${server_arguments[@]}" "$@" 2>"$backend_log" &
    backend=$!
    backends+=("$backend")
    connections=$(printf '%s\n' "$@" | tr , '\n' | grep -cE '^[0-9]+(:[^:]+){3,}$')
    # shellcheck disable=SC2317 # called by wait_for
    served() { kill -0 "$backend" && (($(grep -c 'serving .* device' "$backend_log" || true) == connections)); }
    wait_for 60 served
}

# stop_backend [PID]: as its user would, and it must agree.
stop_backend() {
    kill -TERM "${1:-$backend}"
    backend_ends "$@"
}
backend_ends() {    # [PID]
    local pid=${1:-$backend} status=0
    wait_for 20 gone "$pid"
    wait "$pid" || status=$?
    backends=("${backends[@]/#$pid/}")
    equal 0 $status "the exit code of the backend after SIGTERM"
}

kill_backend() {
    kill -KILL "$backend"
    [[ ${1-} == at-once ]] || killed_backend_ends
}
killed_backend_ends() {    # without a notice of the shell
    wait "$backend" 2>/dev/null || true
    backends=("${backends[@]/#$backend/}")
}

# suspended_disk: a backend for a disk named held, which holds I/O back after "dmsetup suspend --nolockfs held". The test removes it at its end.
suspended_disk() {
    dmsetup create held --table "0 65536 linear $RAM 0"
    start_backend --conn "$CONN" --device /dev/mapper/held:1 --stall-warning 2
}

# start_python_server ARG...: the Python peer's, whose log is $SERVER_LOG; sets server. Under emulation Python takes seconds to start, also
# without what a wrapper of it and its site would bring.
start_python_server() {
    : >"$SERVER_LOG"
    PYTHONDONTWRITEBYTECODE=1 "$(python3 -S -c 'import sys; print(sys.executable)')" -S "$here/../peer/server.py" --region-dir "$REGIONS" --create-regions \
        "$@" 2>"$SERVER_LOG" &
    server=$!
}
python_server_serves() { wait_for 120 grep -q serving "$SERVER_LOG"; }

# --- devices ---------------------------------------------------------------------------------------------------
# add ARG...: sets devices, the paths of those that were added.
add() {
    local added=$WORK/added
    timeout 60 muenblock-ublk add "${client_arguments[@]}" --log-file "$CLIENT_LOG" "$@" >"$added"
    mapfile -t devices <"$added"
    ((${#devices[@]})) || fail 'add printed no device'
    local device
    for device in "${devices[@]}"; do [[ -b $device ]] || fail "add printed '$device', which is no block device"; done
}
del() { timeout 60 muenblock-ublk del "$@" >/dev/null; }
servers() { pgrep -x muenblock-ublk || true; }
# recover ARG...: takes devices over, in the background as add does.
recover() { timeout 90 muenblock-ublk recover "$@"; }
kill_client() {    # without a notice of the shell
    local pid
    pid=$(servers)
    kill -KILL "$pid"
    [[ ${1-} == at-once ]] || wait_for 20 gone "$pid"
}
state() { muenblock-ublk list --json | jq -r ".devices[] | select(.id == ${1-0}) | .state"; }    # [ID]
state_is() { [[ $(state "${2-0}") == "$1" ]]; }    # STATE [ID]
# sessions_are NUMBER: of all servers that the client has met, one after the other.
sessions_are() { (($(grep -c 'ready; ' "$CLIENT_LOG" || true) == $1)); }

# queue DEVICE FILE: a value of a device's request queue.
queue() { cat "/sys/block/${1##*/}/queue/$2"; }
# flushes DEVICE: that it has completed (Documentation/block/stat.rst, field 16).
flushes() { awk '{ print $16 }' "/sys/block/${1##*/}/stat"; }
kib_of() { awk -v "name=$2:" '$1 == name { print $2 }' "/proc/$1/status"; }

random_file() { head -c "$2" /dev/urandom >"$1"; }
is_zero() { cmp -n "$3" -i "$2:0" "$1" /dev/zero; }    # FILE OFFSET BYTES

verify() {    # DEVICE NAME [OPTION...]: fio writes and checks what it reads back; a wrong byte ends it with an error
    fio --name="$2" --filename="$1" --direct=1 --ioengine=io_uring --verify=crc32c --verify_fatal=1 --group_reporting \
        --output-format=normal --minimal --output="$WORK/fio-$2.out" "${@:3}" || { cat "$WORK/fio-$2.out"; return 1; }
}

until_enough() { while [[ ! -e enough ]]; do "$@"; done; }    # COMMAND [ARG...]: again and again, until the test makes that file
in_flight() { awk '{ print $1 + $2 }' "/sys/block/${1:-ublkb0}/inflight"; }    # [NAME]: I/Os that a device has been given and that have not ended
has_in_flight() { (($(in_flight "${2-}") >= $1)); }    # NUMBER [NAME]
# hold_up PID: the server of ublkb0, until that has I/O under way, which whoever is killed next leaves behind.
hold_up() { kill -STOP "$1"; wait_for 30 has_in_flight 1; }

# deaths_under_fio COUNT KILL|TERM DISK: fio runs over the deaths of several backends, however long they take; every byte is checked and no I/O fails.
deaths_under_fio() {
    local i load replayed
    start_backend --conn "$CONN" --device "$3:1"
    add --conn "$CONN"
    until_enough verify "${devices[0]}" deaths --rw=randrw --bssplit=4k/60:64k/30:512/10 --iodepth=32 --serialize_overlap=1 --size=64M \
        --number_ios=3000 --verify_backlog=32 &
    load=$!
    for ((i = 1; i <= $1; i++)); do
        wait_for 60 has_in_flight 16
        if [[ $2 == KILL ]]; then kill_backend; else stop_backend; fi
        sleep 0.3
        start_backend --conn "$CONN" --device "$3:1"
        wait_for 60 sessions_are $((i + 1))
        sleep 0.5
        kill -0 "$load" || fail "fio failed after death number $i"
    done
    touch enough
    wait "$load"
    replayed=$(sed -nE 's/.*; ([0-9]+) I\/Os were sent again/\1/p' "$CLIENT_LOG" | awk '{ sum += $1 } END { print sum + 0 }')
    ((replayed > 0)) || fail 'no I/O was in flight at any death: the test proves nothing'
    not grep -E ' (error|fatal) ' "$CLIENT_LOG"
}

# --- the end ---------------------------------------------------------------------------------------------------
# What a test does last: ends the devices and the backends as a user would.
leave_nothing() {
    local pid
    del --all
    for pid in "${backends[@]}"; do [[ -z $pid ]] || stop_backend "$pid"; done
    mounts_in_work | xargs -r -n1 umount
    rm -rf "$REGIONS"
}

# What there is of devices and of their servers.
traces() {
    local pattern
    for pattern in '/dev/ublk[bc]*' '/sys/block/ublkb*' '/sys/class/ublk-char/*' '/run/muenblock/*'; do compgen -G "$pattern" || true; done
    servers
}

# A failed test's processes, whatever they are, have its process group, of which timeout is the first; but for servers, which have none of it.
end_the_others() {
    local pid pids
    mapfile -t pids < <(pgrep -g 0)
    for pid in "${pids[@]}"; do [[ $pid == "$$" || $pid == "$PPID" ]] || kill -KILL "$pid" || true; done 2>/dev/null
}

# Mounts and control groups that tests make of the kernel's own files.
of_the_kernel() {
    awk '$2 ~ /\/queue\/scheduler$/ || $2 == "/run/cgroup" { print $2 }' /proc/mounts | tac
    find /run/cgroup /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d 2>/dev/null || true
}

# Says what is left of a test on the machine; nothing if all is well.
left_behind() {
    local found=()
    mapfile -t found < <(
        traces
        pgrep -la "$PROGRAMS"
        pgrep -xla 'fio|dd|tail'
        pgrep -xla checker
        losetup --noheadings --list --output NAME,BACK-FILE
        find /dev/mapper -mindepth 1 -not -name control
        tail -n +2 /proc/swaps
        awk '$2 ~ /^\/mnt\/./' /proc/mounts
        mounts_in_work
        of_the_kernel
        find /sys/module -maxdepth 1 -name scsi_debug
        find /dev/shm -mindepth 1 -maxdepth 1 -not -path "$WORK"
    )
    echo -n "${found[*]}"
}

# After a failed test: what holds devices goes first, then their servers, then the devices, then what lies below those. I/O that a suspended
# device holds back goes on: a server that was killed with some under way would stay for as long. An unmount may write, to a backend that is gone:
# nobody waits for it.
clean_up_by_force() {
    local limits line
    {
        pkill -KILL -x 'fio|dd|tail'
        pkill -KILL -x checker
        awk '$2 ~ /^\/mnt\/./ { print $2 }' /proc/mounts | tac | xargs -r -n1 umount -l &
        tail -n +2 /proc/swaps | awk '{ print $1 }' | xargs -r swapoff
        dmsetup ls | awk '{ print $1 }' | xargs -r -n1 timeout 20 dmsetup resume
        for limits in /run/cgroup/*/io.max; do
            awk '{ print $1, "rbps=max wbps=max" }' "$limits" | while read -r line; do echo "$line" >"$limits"; done
        done
        timeout 40 muenblock-ublk del --all --force
        pkill -KILL "$PROGRAMS"
        sleep 1
        timeout 40 muenblock-ublk del --all --force
        timeout 20 dmsetup remove_all --force
        losetup -D
        mounts_in_work | xargs -r -n1 umount -l
        of_the_kernel | xargs -r -n1 rmdir    # the groups, which have nobody any more
        of_the_kernel | xargs -r -n1 umount
        modprobe -r scsi_debug
        rm -rf /run/muenblock/* "$REGIONS"
        find /dev/shm -mindepth 1 -maxdepth 1 -not -path "$WORK" -exec rm -rf {} +
    } >/dev/null 2>&1 || true
}
