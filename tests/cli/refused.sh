# shellcheck shell=bash
# What a wrong command line, or a right one at the wrong time, has to lead to: one line on standard error that
# begins with the program's name and says what is wrong, nothing on standard output, and the exit code of its kind
# (MuenBlock.Protocol/Programs/ExitCode.cs).

# refused CODE FRAGMENT COMMAND [ARG...]: succeeds if the command is refused so, else says in which way it was not.
refused() {
    local code=$1 fragment=$2 status=0 output errors scratch
    shift 2
    scratch=$(mktemp -d)
    timeout -k 5 60 "$@" >"$scratch/output" 2>"$scratch/errors" </dev/null || status=$?
    mapfile -t errors <"$scratch/errors"
    output=$(tr -d '\000' <"$scratch/output")
    rm -r "$scratch"

    local wrong=()
    ((status == code)) || wrong+=("exit code $status instead of $code")
    ((${#errors[@]} == 1)) || wrong+=("${#errors[@]} lines on standard error instead of 1")
    [[ ${errors[0]-} =~ ^muenblock-(backend|ublk):\ .{10} ]] || wrong+=('the line does not begin with the name of the program')
    [[ ${errors[*]-} == *"$fragment"* ]] || wrong+=("standard error lacks '$fragment'")
    [[ -z $output ]] || wrong+=('something on standard output')
    ((${#wrong[@]})) || return 0

    echo "command: $*"
    printf 'wrong: %s\n' "${wrong[@]}"
    printf 'standard error: %s\n' "${errors[@]}"
    [[ -z $output ]] || echo "standard output: $output"
    return 1
}
