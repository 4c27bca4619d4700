# shellcheck shell=bash
# How every part of ./test says what became of a test: one line, which ./test counts, and below a test that failed,
# indented so that nothing in it is counted, all that is known of it.

# report ok|FAILED|skipped NAME STARTED [FILE...]: STARTED is $EPOCHREALTIME at the test's begin, FILEs explain a failure.
report() {
    local result=$1 name=$2 microseconds=$((${EPOCHREALTIME/[.,]/} - ${3/[.,]/})) file
    printf '%-7s %4d.%d s  %s\n' "$result" $((microseconds / 1000000)) $((microseconds / 100000 % 10)) "$name"
    [[ $result == FAILED ]] || return 0
    for file in "${@:4}"; do
        [[ -s $file ]] || continue
        echo "    --- ${file##*/}"
        tr -d '\r\000' <"$file" | sed 's/^/    /'
    done
}

# Whether a test's name is among those that were asked for: parts of names, or nothing for all.
wanted() {
    local name=$1 part
    shift
    (($#)) || return 0
    for part in "$@"; do [[ $name != *"$part"* ]] || return 0; done
    return 1
}
