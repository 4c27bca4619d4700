# shellcheck shell=bash
# What the programs are like outside a guest: how soon they start, how much memory they take, how they end.
# shellcheck disable=SC2154,SC2086 # conn, t, in_memory, server: see the other files; none of them holds a space

# The median of 20 starts. Other programs on the machine disturb single starts, so the best of three medians counts.
starts_in_under_50_ms() {
    local i round started median best=999999
    for round in 1 2 3; do
        local times=()
        for ((i = 0; i < 20; i++)); do
            started=${EPOCHREALTIME/[.,]/}
            "$@" >/dev/null
            times+=($((${EPOCHREALTIME/[.,]/} - started)))
        done
        median=$(printf '%s\n' "${times[@]}" | sort -n | sed -n 10p)
        echo "round $round: median $median us"
        ((median >= best)) || best=$median
        ((best >= 50000)) || return 0
    done
    return 1
}

prints() { "${@:2}" >"$t/printed" 2>"$t/complained" && [[ ! -s $t/complained ]] && grep -q -- "$1" "$t/printed"; }

for program in muenblock-backend muenblock-ublk; do
    check "$program --version starts in under 50 ms" starts_in_under_50_ms $program --version
    check "$program --help starts in under 50 ms" starts_in_under_50_ms $program --help
    check "$program --version prints a version on standard output" prints '^[0-9]\+\.[0-9]\+\.[0-9]' $program --version
    check "$program --help prints the verbs on standard output" prints '^Commands:' $program --help
done
check "muenblock-backend serve --help prints the options on standard output" prints '--create-regions' muenblock-backend serve --help
for verb in add recover upgrade resize del list features; do
    check "muenblock-ublk $verb --help prints the usage on standard output" prints "^  muenblock-ublk $verb" muenblock-ublk $verb --help
done
# What is not given is as it was for the server before: only the time-out for the connection has a default.
tells_of_one_default() {
    muenblock-ublk "$1" --help >helped
    grep -o '\[default: [^]]*\]' helped | cmp - <(echo '[default: 10]')
    ! grep 'Default, ' helped
}
for verb in recover upgrade; do check "muenblock-ublk $verb --help tells of no default that it has not" tells_of_one_default $verb; done

# A machine's own devices are none of a test's business: where there are any, what would meet them is left out.
without_devices() {
    wanted "$1" "${wanted[@]}" || return 0
    if compgen -G '/sys/class/ublk-char/*' >/dev/null; then report skipped "$1: this machine has ublk devices of its own" "$EPOCHREALTIME"; else check "$@"; fi
}
without_devices "muenblock-ublk list works without a driver or a device" prints 'no ublk devices' muenblock-ublk list
without_devices "muenblock-ublk list --json works without a driver or a device" prints '{"devices":\[\]}' muenblock-ublk list --json
without_devices "muenblock-ublk del --all works without a driver or a device" muenblock-ublk del --all

truncate -s 64M served
serves_with_little_memory() {
    serving_at_all memory --conn $conn --device served:1 --region-dir "$t/memory"
    sed -n '/^Rss/p' "/proc/$server/status"
    # The regions are in RssShmem.
    awk '/^Rss(Anon|File)/ { sum += $2 } END { exit !(0 < sum && sum < 32 * 1024) }' "/proc/$server/status"
    kill $server
}
check "a serving backend has less than 32 MiB of memory besides the regions" serves_with_little_memory

install -d -o 65534 -g 65534 -m 700 "$t/nobodys"
install -o 65534 -g 65534 -m 600 served "$t/nobodys/disk"
says_what_is_not_permitted() {
    started_by=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all prlimit --memlock=8388608:8388608)
    serving_at_all unprivileged --conn $conn --device "$t/nobodys/disk:1" --region-dir "$t/nobodys/regions"
    cat "$t/unprivileged.log"
    (($(grep -c 'a shortage of memory may stop this process' "$t/unprivileged.log") == 1))
    grep -q 'not marked as an I/O flusher (.*); its memory is not locked (.*); it may be killed when no memory is left' "$t/unprivileged.log"
    kill $server
}
check "a backend without privileges serves and says once what it lacks against a shortage of memory" says_what_is_not_permitted

# A line from the original's README, and one from its integration scripts.
serves_the_originals_line() {
    serving_at_all original connections=$conn "$1=served:1" --region-dir "$t/original"
    grep -q 'connection 1: exporting served' original.log
    kill $server
}
for word in device devices; do check "serve connections=… $word=… is the original's line" serves_the_originals_line $word; done

# --- what a serving backend keeps ------------------------------------------------------------------------------
# every_thread NAME VALUE: of /proc/PID/task/*/status.
every_thread() {
    local thread
    for thread in /proc/$server/task/*; do
        [[ $(awk -v name="$1:" '$1 == name { print $2 }' "$thread/status") == "$2" ]] || { cat "$thread/status"; return 1; }
    done
}
# Also where errors do not end a function, as on the left of ||.
keeps_nothing() {
    local set
    every_thread NoNewPrivs 1 && every_thread Seccomp 2 || return
    for set in CapInh CapPrm CapEff CapBnd CapAmb; do every_thread $set 0000000000000000 || return; done
}
# What is not permitted on this machine against a shortage of memory is another test's.
ends_well() { kill -TERM $server; ended; ! grep -v "a shortage of memory may stop this process" "$1" | grep -E " (warn |error|fatal) "; }

root_gives_up_its_privileges() {
    serving_at_all sandbox --conn $conn --device served:1 --region-dir "$in_memory/root"
    keeps_nothing
    every_thread Uid 0
    ends_well sandbox.log
}
check "a backend that root starts keeps no capability and no system call that it does not need" root_gives_up_its_privileges

becomes_another_user() {
    # What that user could not open was open before.
    chmod 600 served
    serving_at_all user --conn $conn --device served:1 --region-dir "$in_memory/user" --user nobody
    keeps_nothing
    every_thread Uid "$(id -u nobody)"
    every_thread Gid "$(id -g nobody)"
    every_thread Groups "$(id -G nobody)"
    ends_well user.log
}
check "a backend becomes the user that --user names, in all threads" becomes_another_user

serves_as_an_ordinary_user() {
    # shellcheck disable=SC2034 # serving_at_all uses it
    started_by=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    install -d -o 65534 -m 700 ordinary
    install -o 65534 -m 600 disk ordinary/disk
    serving_at_all ordinary --conn $conn --device "$t/ordinary/disk:1" --region-dir "$t/ordinary/regions"
    every_thread NoNewPrivs 1
    every_thread Seccomp 2
    every_thread CapPrm 0000000000000000
    kill -TERM $server
    ended
}
check "a backend serves as an ordinary user what is that user's" serves_as_an_ordinary_user

keeps_all_without_a_sandbox() {
    serving_at_all off --conn $conn --device served:1 --region-dir "$t/off" --sandbox off
    every_thread Seccomp "$(awk '$1 == "Seccomp:" { print $2 }' /proc/self/status)"
    every_thread CapEff "$(awk '$1 == "CapEff:" { print $2 }' /proc/self/status)"
    grep -q 'warn  --sandbox off: ' off.log
    kill -TERM $server
    ended
}
check "--sandbox off leaves a backend what it was started with, and says so" keeps_all_without_a_sandbox

# Whichever file is the one too many: none that serves has kept what it was to give up, because it could not look.
gives_up_its_privileges_or_fails() {
    local files status served=0
    for ((files = 26; files > 10; files--)); do
        status=0
        started_by=(prlimit --nofile=$files)
        if serving_at_all "files-$files" --conn $conn --device served:1 --region-dir "$in_memory/files" --log-level info; then
            keeps_nothing || { echo "with $files open files"; return 1; }
            served=$((served + 1))
            kill -TERM $server
        fi
        ended || status=$?
        ((status == 0 || status == 3 || status == 4)) || { echo "status $status with $files open files"; cat "files-$files.log"; return 1; }
    done
    echo "$served of the starts have served"
    ((0 < served && served < 16))
}
check "a backend with too few open files fails instead of keeping its privileges" gives_up_its_privileges_or_fails

row 3 "a thread cannot be told: Resource temporarily unavailable): raise the limit on pending signals" \
    prlimit --sigpending=0:0 muenblock-backend serve --log-level error --conn $conn --device served:1 --create-regions --region-dir "$in_memory/signals"

# As MemoryDenyWriteExecute=yes of a unit. 65 is PR_SET_MDWE, since Linux 6.3.
cat >never-executable <<'PYTHON'
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit('no PR_SET_MDWE')
os.execvp(sys.argv[1], sys.argv[1:])
PYTHON
if python3 never-executable true; then
    row 3 "(memory cannot be made executable): allow that (MemoryDenyWriteExecute=no in a unit), or start with --sandbox off" \
        python3 never-executable muenblock-backend serve --log-level error --conn $conn --device served:1 --create-regions --region-dir "$in_memory/executable"
    says_that_a_region_can_end_it() {
        started_by=(python3 never-executable)
        serving_at_all executable --conn $conn --device served:1 --region-dir "$in_memory/executable" --sandbox off
        cat executable.log
        (($(grep -c "warn  memory cannot be made executable, .* can end this process, .*MemoryDenyWriteExecute=no" executable.log) == 1))
        kill -TERM $server
        ended
    }
    check "a backend that a client can end by cutting off a region says so" says_that_a_region_can_end_it
fi

# A directory that is missing is made, too; nobody else can look into either.
makes_private_regions() {
    serving_at_all private --conn $conn --device served:1 --region-dir "$t/made/anew"
    [[ $(stat -c '%n %a %s' made/anew made/anew/* | sort | sed 's/^made\/anew *//') == \
"700 "*$'\n'"/buffer 600 16777216"$'\n'"/request 600 32768"$'\n'"/response 600 16384" ]] || { stat -c '%n %a %s' made/anew made/anew/*; return 1; }
    kill $server
}
check "regions that are made have Muen's default sizes and are their owner's alone" makes_private_regions

ends_at() {
    # A shell without job control starts background processes deaf to SIGINT.
    # shellcheck disable=SC2034 # serving_at_all uses it
    started_by=(env --default-signal=INT)
    serving_at_all "end-$1" --conn $conn --device served:1 --region-dir "$t/ending"
    kill -"$1" $server
    ended
    cat "end-$1.log"
    grep -q 'asked to end' "end-$1.log"
}
for signal in TERM INT; do check "SIG$signal ends a backend, which exits 0" ends_at $signal; done

# The first CPU of those that this process may use, whose threads are not on all of them then.
stays_on_its_cpus() {
    local cpu thread found=0
    cpu=$(awk '$1 == "Cpus_allowed_list:" { sub(/[-,].*/, "", $2); print $2 }' /proc/self/status)
    serving_at_all cpus --conn $conn,2:d:e:f --device served:1,disk:2 --region-dir "$t/cpus" --cpus "$cpu"
    (($(grep -c "its thread runs on CPU $cpu\$" cpus.log) == 2))
    for thread in /proc/$server/task/*; do
        [[ $(<"$thread/comm") == connection* ]] || continue
        [[ $(awk '$1 == "Cpus_allowed_list:" { print $2 }' "$thread/status") == "$cpu" ]]
        found=$((found + 1))
    done
    ((found == 2))
    kill -TERM $server
    ended
}
check "--cpus keeps the threads of a backend's connections where they are told" stays_on_its_cpus

says_where_it_failed_if_asked() {
    local status=0
    muenblock-ublk --version >/dev/full 2>complained || status=$?
    cat complained
    ((status == 1 && $(wc -l <complained) == 1))
    grep -q 'this is a fault of the program; MUENBLOCK_DEBUG=1 shows where' complained
    ! MUENBLOCK_DEBUG=1 muenblock-ublk --version >/dev/full 2>complained || return 1
    grep -q '^   at ' complained
}
check "MUENBLOCK_DEBUG=1 shows where a program failed" says_where_it_failed_if_asked

# Service managers restart by it, or do not.
keeps_its_exit_code() {
    local status=0
    "$@" --conn wrong 2>/dev/full || status=$?
    ((status == 2)) || { echo "status $status where the disk of standard error is full"; return 1; }
    status=0
    "$@" --conn wrong 2>&- || status=$?
    ((status == 2)) || { echo "status $status where standard error is closed"; return 1; }
}
check "muenblock-backend ends with its exit code where its message cannot be written" keeps_its_exit_code muenblock-backend serve --device x:1
check "muenblock-ublk ends with its exit code where its message cannot be written" keeps_its_exit_code muenblock-ublk add
