# shellcheck shell=bash
# What the tests' own scripts do where they cannot run: no test may vanish, and no machine may be harmed.
# shellcheck disable=SC2154 # here, t: see run

# cannot_run FRAGMENT COMMAND [ARG...]: ends with 2, which ./test takes for a failure, and says why.
cannot_run() {
    local status=0
    "${@:2}" >cannot-run 2>&1 </dev/null || status=$?
    cat cannot-run
    ((status == 2)) || { echo "ended with status $status"; return 1; }
    grep -qF -- "$1" cannot-run
}

mkdir tools
printf '#!/bin/sh\necho "no compiler" >&2\nexit 1\n' >tools/gcc
chmod 755 tools/gcc
check 'tests/guest/boot that cannot compile is no run with failed tests' cannot_run 'no compiler' env PATH="$t/tools:$PATH" "$here/../guest/boot" latest every_byte_is_where_it_belongs
check 'tests/cli/run without the programs is no run with failed tests' cannot_run 'muenblock-backend' env MUENBLOCK_OUT="$t/nowhere" "$here/run"
check 'tests/peer/report.py that breaks is no run with failed tests' cannot_run 'Traceback' python3 "$here/../peer/report.py"

# No test has such a name: a script that does not look where it runs does next to nothing.
check 'tests/guest/run works in a guest only' cannot_run 'only in a guest' "$here/../guest/run" latest no_such_test
check 'tests/peer/guest_client.sh works in a guest only' cannot_run 'only in a guest' "$here/../peer/guest_client.sh" no_such_test

# where_all_is HIDDEN THERE COMMAND [ARG...]: the command finds nothing in the folders HIDDEN but THERE, which is below one of them.
where_all_is() {
    # shellcheck disable=SC2016 # the inner shell expands it
    unshare --mount sh -c 'set -e; for at in $1; do mount -t tmpfs none $at; done; mkdir -p "$2"; shift 2; exec "$@"' sh "$@"
}
leaves_devices_alone() {
    where_all_is /sys/class /sys/class/ublk-char/ublkc0 "$here/run" 'works without a driver or a device' | tee skipped
    [[ $(grep -c '^skipped ' skipped) == 3 && $(wc -l <skipped) == 3 ]]
}
check "tests/cli/run leaves a machine's own ublk devices alone" leaves_devices_alone
check "bench/measure leaves a machine's own ublk devices alone" cannot_run 'ublk devices of its own' where_all_is '/dev /sys/class' /sys/class/ublk-char/ublkc0 "$here/../../bench/measure"
check "bench/measure leaves a machine's own RAM disks alone" cannot_run 'RAM disks of its own' where_all_is '/dev /sys/class' /dev/ram0 "$here/../../bench/measure"
check "bench/measure leaves a machine's own vDPA devices alone" cannot_run 'vDPA devices of its own' where_all_is '/dev /sys/class /sys/bus' /sys/bus/vdpa/devices/vd0 "$here/../../bench/measure"
check "bench/measure leaves a machine's own VDUSE device alone" cannot_run 'a VDUSE device vd0 of its own' where_all_is '/dev /sys/class /sys/bus' /dev/vduse/vd0 "$here/../../bench/measure"
check "bench/measure leaves a machine's own nbd devices alone" cannot_run 'nbd devices in use' where_all_is '/dev /sys/class /sys/bus /sys/block' /sys/block/nbd0/pid "$here/../../bench/measure"
check 'bench/measure takes no option that it does not know' cannot_run 'unknown option --jobz' "$here/../../bench/measure" --rounds 1 --jobz read-4k-1
check 'bench/measure takes no option without its value' cannot_run "'--jobs' is unknown or lacks its value" "$here/../../bench/measure" --jobs

# A copy of bench/micro whose client fails as soon as the server runs, which would stay for a minute.
ends_its_server() {
    local i server
    mkdir -p micro/{bench/peers,tools}
    cp "$here/../../bench/micro" micro/bench/
    printf '#!/bin/sh\necho %s\n' "$t/micro/tools" >micro/bench/peers/build
    # shellcheck disable=SC2016 # for the scripts
    printf '#!/bin/sh\nif [ "$1" = serve ]; then echo $$ >%s; exec sleep 60; fi\nuntil [ -s %s ]; do sleep 0.05; done\nexit 5\n' "$t/micro/server" "$t/micro/server" >micro/tools/twin-pair
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nshift 2\nexec "$@"\n' >micro/tools/taskset
    ln -s /bin/true micro/tools/dotnet
    chmod 755 micro/bench/peers/build micro/tools/{twin-pair,taskset}
    ! PATH=$t/micro/tools:$PATH timeout 30 micro/bench/micro --channel || return
    server=$(<micro/server)
    for ((i = 0; i < 100; i++)); do kill -0 "$server" 2>/dev/null || return 0; sleep 0.05; done
    echo "process $server still runs"
    return 1
}
check 'bench/micro that fails leaves no server behind' ends_its_server

tests_nothing_of_an_earlier_build() {
    mkdir -p earlier/{bin,out,tests/guest}
    cp "$here/../../test" earlier/
    cp "$here/../report.sh" earlier/tests/
    ln -s /bin/true earlier/bin/dotnet
    ln -s /bin/true earlier/guest
    ln -s /bin/false earlier/build
    ln -s /bin/true earlier/out/muenblock-backend
    ln -s /bin/true earlier/tests/guest/boot
    ! PATH=$t/earlier/bin:$PATH earlier/test cli peer guest >of-earlier 2>&1 </dev/null || return
    cat of-earlier
    [[ $(grep -cE '^FAILED .* s  \./test (cli|peer|guest) runs to its end$' of-earlier) == 3 ]]
    tail -n 1 of-earlier | grep -qE '^[0-9]+ passed, 4 failed$'
}
check './test does not test what an earlier build has left, and says so for each part' tests_nothing_of_an_earlier_build

# A copy of the guest's tests, with a mistake in it.
with_a_mistake() { rm -rf copy/* && cp -r "$here/../guest" "$here/../report.sh" copy/ && mkdir copy/cli && cp "$here/refused.sh" copy/cli/ && echo "$1" >>"copy/guest/$2"; }
mkdir copy
lists_no_test_that_is_not_there() {
    with_a_mistake no_such_test on-stable
    cannot_run 'there is no test no_such_test' copy/guest/run --list stable
}
check 'a name in tests/guest/on-stable that no test has is no list of tests' lists_no_test_that_is_not_there
takes_no_function_for_another() {
    with_a_mistake '_block_of() { :; }' 70-refusals.sh
    cannot_run 'two functions have the name _block_of' copy/guest/run --list latest
}
check 'two functions of one name in tests/guest are no list of tests' takes_no_function_for_another

# A copy of tests/guest/boot whose guest is the given script: told how often it was booted, the file of its log, and the tests.
with_a_guest() {
    rm -rf dying
    mkdir -p dying/tests
    cp -r "$here/../guest" "$here/../soak" "$here/../report.sh" dying/tests/
    mkdir dying/tests/cli
    cp "$here/refused.sh" dying/tests/cli/
    # shellcheck disable=SC2016 # for the script
    { printf '#!/bin/bash\n'
        echo 'while [[ $1 != -- ]]; do [[ $1 != --log ]] || log=$2; shift; done; shift 4'
        echo "echo boot >>$t/dying/boots; boots=\$(wc -l <$t/dying/boots)"
        echo 'passes() { printf "ok         1.0 s  latest: %s\n" "$@"; }'
        echo 'dies() { echo "$1" >"$log"; exit 126; }'
        echo "$1"; } >dying/guest
    chmod 755 dying/guest
}
# boots STATUS BOOTS FAILED PASSED: what comes of three tests there.
boots() {
    local status=0
    dying/tests/guest/boot latest ext4_keeps_a_tree ext4_works_on_blocks partitions_of_a_gpt_appear >of-dying 2>why-dying </dev/null || status=$?
    cat of-dying why-dying
    [[ $status == "$1" && $(wc -l <dying/boots) == "$2" ]] || return
    [[ $(grep -c '^FAILED ' of-dying) == "$3" && $(grep -c '^ok ' of-dying) == "$4" ]]
}
# shellcheck disable=SC2016 # for the script
runs_the_rest_in_another_boot() {
    with_a_guest 'case $boots in 1) passes "$1"; echo "guest: QEMU was ended" >&2; dies "Kernel panic" ;; *) passes "$@" ;; esac'
    boots 1 2 1 2
    grep -q '^FAILED .* latest: ext4_works_on_blocks_of_4096_bytes$' of-dying
    says_why
}
# says_why: on standard error, what ./guest said and what the kernel did.
says_why() { grep -q '^    guest: QEMU was ended$' why-dying && grep -q '^    Kernel panic$' why-dying; }
check 'a guest that dies fails the test in which it does, and those behind it run in another boot' runs_the_rest_in_another_boot
# shellcheck disable=SC2016
repeats_what_the_emulator_spoilt() {
    with_a_guest 'case $boots in 1) passes "$1"; dies "Oops: int3: 0000" ;; *) passes "$@" ;; esac'
    boots 0 2 0 3
}
check "a guest that dies of the emulator's fault runs the test once more" repeats_what_the_emulator_spoilt
# shellcheck disable=SC2016
gives_up() {
    with_a_guest 'dies "Oops: int3: 0000"'
    boots 1 4 3 0
    with_a_guest 'exit 125'
    boots 1 1 3 0
    with_a_guest 'passes "$@"; echo "guest: QEMU was ended" >&2; dies "Kernel panic"'
    boots 126 1 0 3
    says_why
}
check 'a guest that dies again and again, does not boot, or dies at its end fails its tests' gives_up

# A copy of ./guest whose QEMU is the given script: it is told the file of the guest's console.
with_a_qemu() {
    rm -rf ending
    mkdir -p ending/{tests,tools}
    cp "$here/../../guest" ending/
    cp -r "$here/../guest-image" ending/tests/
    printf 'prepare() { :; }\nvirtiofsd() { echo "$here/tools/virtiofsd"; }\n' >ending/tests/guest-image/prepare.sh
    printf '#!/usr/bin/env python3\nimport socket, sys, time\nend = socket.socket(socket.AF_UNIX)\nend.bind(sys.argv[1].split("=")[1])\ntime.sleep(60)\n' >ending/tools/virtiofsd
    # shellcheck disable=SC2016 # for the script
    { printf '#!/bin/bash\nfor argument; do [[ $argument != file:* ]] || console=${argument#file:}; done\n'
        echo "$1"; } >ending/tools/qemu-system-x86_64
    chmod 755 ending/tools/*
}
# ends STATUS FRAGMENT...: what ./guest says of such a QEMU.
ends() {
    local status=0 fragment
    PATH=$t/ending/tools:$PATH ending/guest --accel tcg true >of-ending 2>&1 </dev/null || status=$?
    cat of-ending
    ((status == $1)) || { echo "ended with status $status"; return 1; }
    for fragment in "${@:2}"; do grep -qxF -- "$fragment" of-ending || { echo "lacks '$fragment'"; return 1; }; done
}
# shellcheck disable=SC2016
says_how_qemu_ended() {
    with_a_qemu 'echo "no memory" >&2; seq 100 >"$console"; echo ready 0; kill -KILL $$'
    ends 126 'no memory' 100 'guest: the guest stopped before the command had ended: QEMU was ended by SIGKILL'
    with_a_qemu 'echo "Kernel panic" >"$console"; echo ready 0'
    ends 126 "guest: the guest's kernel panicked before the command had ended: QEMU ended with status 0"
    with_a_qemu ': >"$console"; echo ready 0; kill -SEGV $$'
    ends 126 'guest: the guest stopped before the command had ended: QEMU was ended by SIGSEGV'
    with_a_qemu 'echo "no such disk" >&2; exit 3'
    ends 125 'no such disk' 'guest: the guest did not start: QEMU ended with status 3'
}
check './guest says how QEMU has ended, and what it and the kernel said last' says_how_qemu_ended
