# shellcheck shell=bash
# Mistakes with muenblock-backend serve: devices, disks, regions, permissions.
# shellcheck disable=SC2154,SC2086 # conn, t: see run and common.sh; neither holds a space

serve() { row "$1" "$2" muenblock-backend serve --region-dir "$t/regions" "${@:3}"; }
nobody() { row "$1" "$2" setpriv --reuid 65534 --regid 65534 --clear-groups "${@:3}"; }

# --- the command line alone ------------------------------------------------------------------------------------
truncate -s 1M disk disk2 unreadable
truncate -s 0 empty
truncate -s 100 tiny
mkdir directory regions locked
mkfifo pipe
ln -s nowhere dangling
ln -s disk link
chmod 600 unreadable
chmod 700 locked

serve 2 "'--device' is required" --conn $conn
serve 2 "--device" --conn $conn --device
serve 2 "names no connection" --conn $conn --device ''
serve 2 "names no connection" --conn $conn --device disk
serve 2 "names no connection" --conn $conn --device :1
serve 2 "names no connection" --conn $conn --device disk:1,
serve 2 "'' is not a connection id" --conn $conn --device disk:
serve 2 "'x' is not a connection id" --conn $conn --device disk:x
serve 2 "'-1' is not a connection id" --conn $conn --device disk:-1
serve 2 "'4294967296' is not a connection id" --conn $conn --device disk:4294967296
serve 2 "names connection 2" --conn $conn --device disk:2
serve 2 "connection 2 has no device" --conn $conn --conn 2:d:e:f --device disk:1
serve 2 "exported for writing twice" --conn $conn --device disk:1 --device disk:1
serve 2 "exported for writing twice" --conn $conn --device disk:1,./disk:1
serve 2 "exported for writing twice" --conn $conn --device disk:1 --device link:1
serve 2 "exported for writing twice" --conn $conn --conn 2:d:e:f --device disk:1 --device disk:2
serve 2 "names connection 1 twice" --conn $conn --device disk:1+1
serve 2 "'' is not a connection id" --conn $conn --device disk:1+
serve 2 "'' is not a connection id" --conn $conn --device disk:+1
serve 2 "'x' is not a connection id" --conn $conn --device disk:1+x
serve 2 "names connection 2" --conn $conn --device disk:1+2
serve 2 "exported for writing twice" --conn $conn --conn 2:d:e:f --device disk:1+2 --device disk:2
serve 2 "give it once, as path:1+2" --conn $conn --conn 2:d:e:f --device disk:1,disk:2
serve 2 "--cpus 'auto': a backend has no hardware queues to follow" --conn $conn --device disk:1 --cpus auto
ln disk second-name
serve 2 "exported for writing twice: it has blocks in common with 'disk'" --conn $conn --conn 2:d:e:f --device disk:1 --device second-name:2
serve 2 "257 devices" --conn $conn --read-only --device "$(printf 'disk:1,%.0s' {1..256})disk:1"
serve 2 "too many" --conn "$(printf '%s:a%s:b%s:c%s,' {1..1025}{,,,})9999:a:b:c" --device disk:1
serve 2 "--user 'nosuchuser': there is no such user" --conn $conn --device disk:1 --user nosuchuser
serve 2 "--user" --conn $conn --device disk:1 --user
serve 2 "'perhaps'" --conn $conn --device disk:1 --sandbox perhaps
row 2 "makes no sense in /muenfs" muenblock-backend serve --conn $conn --device disk:1 --region-dir /muenfs --create-regions
row 2 "makes no sense in /muenfs" muenblock-backend serve --conn $conn --device disk:1 --region-dir /muenfs/ --create-regions
serve 2 "'perhaps'" --conn $conn --device disk:1 --read-only=perhaps
serve 2 "'bfq'" --conn $conn --device disk:1 --scheduler bfq
serve 2 "--sqpoll 0 is out of range" --conn $conn --device disk:1 --sqpoll 0
serve 2 "--sqpoll 60001 is out of range" --conn $conn --device disk:1 --sqpoll 60001
serve 2 "'often'" --conn $conn --device disk:1 --sqpoll often
serve 2 "'maybe'" --conn $conn --device disk:1 --iopoll=maybe
serve 2 "'perhaps'" --conn $conn --device disk:1 --create-regions=perhaps
for value in -1 86401 x 1s ''; do serve 2 "--stall-warning '$value' is not a time: 0 to 86400 seconds" --conn $conn --device disk:1 --stall-warning "$value"; done
serve 4 "@missing does not exist" --conn $conn --create-regions --device @missing:1    # no response file

# --- disks -----------------------------------------------------------------------------------------------------
serving() { serve "$1" "$2" --conn $conn --create-regions --device "${@:3}"; }
serving 4 "missing does not exist" missing:1
serving 4 "dangling does not exist" dangling:1
serving 4 "directory/disk" directory/disk:1
serving 4 "neither a block device nor a plain file: export one that is" directory:1
serving 4 "neither a block device nor a plain file" pipe:1
serving 4 "neither a block device nor a plain file" /dev/null:1
serving 4 "disk/ cannot be opened: Not a directory: check the path" disk/:1
serving 4 "empty is empty" empty:1
serving 4 "tiny is empty" tiny:1 --log-level error
serving 4 "missing does not exist" disk:1,missing:1 --log-level error
# Not there either once the files of a first connection are open.
serve 4 "missing does not exist" --log-level error --create-regions --conn $conn,2:d:e:f --device disk:1,missing:2

# --- regions ---------------------------------------------------------------------------------------------------
# A directory with three good regions, for one of them to be spoilt.
region_dir() {
    mkdir "$t/$1"
    truncate -s 32K "$t/$1/request"
    truncate -s 16K "$t/$1/response"
    truncate -s 16M "$t/$1/buffer"
    chmod 600 "$t/$1"/*
}
in_regions() { row "$1" "$2" muenblock-backend serve --conn $conn --device disk:1 --region-dir "$t/$3" "${@:4}"; }

in_regions 4 "is missing: start the backend with --create-regions" missing-dir
for directory in /muenfs /muenfs/; do    # where --create-regions is refused
    row 4 "is missing: check the name against the policy's logical names" muenblock-backend serve --conn $conn --device disk:1 --region-dir $directory
done
mkdir bare
in_regions 4 "is missing" bare
for region in request response buffer; do
    region_dir without-$region; rm without-$region/$region
    in_regions 4 "without-$region/$region is missing" without-$region

    region_dir empty-$region; truncate -s 0 empty-$region/$region
    in_regions 4 "empty-$region/$region has 0 bytes" empty-$region
    in_regions 4 "empty-$region/$region has 0 bytes" empty-$region --create-regions

    region_dir small-$region; truncate -s 4095 small-$region/$region
    in_regions 4 "small-$region/$region has 4095 bytes" small-$region

    region_dir odd-$region; truncate -s 20001 odd-$region/$region
    in_regions 4 "multiple of 4096" odd-$region

    region_dir link-$region; mv link-$region/$region link-$region/target; ln -s target link-$region/$region
    in_regions 4 "link-$region/$region is a symbolic link" link-$region
    in_regions 4 "link-$region/$region is a symbolic link" link-$region --create-regions

    region_dir directory-$region; rm directory-$region/$region; mkdir directory-$region/$region
    in_regions 4 "directory-$region/$region is" directory-$region

    region_dir device-$region; rm device-$region/$region; cp -a /dev/null device-$region/$region
    in_regions 4 "device-$region/$region is not a plain file" device-$region
    in_regions 4 "device-$region/$region is not a plain file" device-$region --create-regions

    region_dir pipe-$region; rm pipe-$region/$region; mkfifo pipe-$region/$region
    in_regions 4 "pipe-$region/$region is not a plain file" pipe-$region
done
region_dir one-file; ln -f one-file/request one-file/response
in_regions 4 "one-file/response and $t/one-file/request are the same file" one-file
# The same over two connections, in another role.
region_dir two-names; (cd two-names; for name in request response; do truncate -s 32K ${name}2; done; ln buffer buffer2; chmod 600 *)
row 4 "are the same file" muenblock-backend serve --log-level error --region-dir "$t/two-names" --conn $conn,2:request2:response2:buffer2 --device disk:1,disk2:2
row 4 "are the same file" muenblock-backend serve --log-level error --region-dir "$t/two-names" --conn $conn,2:request2:buffer2:response2 --device disk:1,disk2:2
# As truncate(1) and QEMU make them, which take the room when they are used; and a container's /dev/shm is small.
mkdir small
cat >on_small <<'SH'
#!/bin/sh -e
mount -t tmpfs -o size=1M none small
truncate -s 32K small/request small/response
truncate -s 16M small/buffer
exec "$@"
SH
chmod 755 on_small
row 4 "small/buffer: its file system has no room for all of its 16777216 bytes" unshare --mount "$t/on_small" muenblock-backend serve --log-level error --conn $conn --device disk:1 --region-dir "$t/small"
in_regions 4 "disk" disk                        # a file where the directory should be
in_regions 4 "disk" disk/below --create-regions

# --- permissions: as another user ------------------------------------------------------------------------------
mkdir own
chown 65534:65534 own
install -o 65534 -g 65534 -m 600 disk own/disk
install -o 65534 -g 65534 -m 444 disk own/read-only
region_dir roots
region_dir readable; chmod 755 readable; chmod 644 readable/*
as_nobody() { nobody "$1" "$2" muenblock-backend serve --conn $conn --create-regions --region-dir "$t/$3" --device "$t/$4" "${@:5}"; }
as_nobody 4 "unreadable may not be opened for reading and writing" own unreadable:1
as_nobody 4 "unreadable may not be opened for reading by this user" own unreadable:1 --read-only
as_nobody 4 "locked/disk may not be opened" own locked/disk:1
as_nobody 4 "own/read-only may not be opened for reading and writing" own own/read-only:1
as_nobody 4 "cannot create region $t/directory/" directory own/disk:1
as_nobody 4 "cannot make the region directory $t/directory/new" directory/new own/disk:1
as_nobody 3 "--user root: Operation not permitted" own own/disk:1 --user root --log-level error
nobody 4 "may not be opened" muenblock-backend serve --conn $conn --region-dir "$t/roots" --device "$t/own/disk:1"
nobody 4 "may not be opened for reading and writing" muenblock-backend serve --conn $conn --region-dir "$t/readable" --device "$t/own/disk:1"

# --- what another backend holds --------------------------------------------------------------------------------
# ended: waits for the end of the server, and has its exit code; one that goes on is killed.
ended() {
    local i
    for ((i = 0; i < 200; i++)); do
        kill -0 $server 2>/dev/null || break
        sleep 0.1
    done
    ! kill -KILL $server 2>/dev/null || echo "process $server still ran after 20 s"
    wait $server
}

# serving_at_all NAME ARG...: starts a backend that is to stay for a while, and waits until it serves.
serving_at_all() {
    "${started_by[@]}" muenblock-backend serve --create-regions "${@:2}" 2>"$t/$1.log" &
    server=$!
    for ((i = 0; i < 100; i++)); do
        ! grep -q 'serving' "$t/$1.log" || return 0
        kill -0 $server 2>/dev/null || break
        sleep 0.1
    done
    cat "$t/$1.log"
    return 1
}

serving_at_all holder --conn $conn --device disk:1 --region-dir "$t/held"
row 6 "exported for writing by another backend (process $server)" muenblock-backend serve --log-level warn --conn $conn --device disk:1 --region-dir "$t/regions" --create-regions
row 6 "is served by another backend (process $server)" muenblock-backend serve --log-level warn --conn $conn --device disk2:1 --region-dir "$t/held"
kill -TERM $server
ended || true

# --- what others may write -------------------------------------------------------------------------------------
region_dir open; chmod 777 open; chmod 666 open/buffer
says_who_may_write() {
    serving_at_all open --conn $conn --device disk:1 --region-dir "$t/open"
    cat open.log
    (($(grep -c 'can be changed by every user' open.log) == 2))
    grep -q "warn  $t/open/buffer can be changed by every user of this machine (its mode is 666)" open.log
    grep -q "warn  $t/open can be changed by every user of this machine (its mode is 777)" open.log
    kill -TERM $server
}
check "serve warns of regions that every user may write" says_who_may_write

# --- the limit on the size of files ------------------------------------------------------------------------------
region_dir whole
row 3 "disk has 1048576 bytes, of which this process may write the first 1048064: raise the limit on the size of files" \
    prlimit --fsize=1048064 muenblock-backend serve --region-dir "$t/whole" --conn $conn --device disk:1
row 4 "new/buffer its 16777216 bytes: File too large: raise the limit on the size of files" \
    prlimit --fsize=1048576 muenblock-backend serve --region-dir "$t/new" --create-regions --conn $conn --device disk:1
does_without_a_limit_on_files() {
    started_by=(prlimit --fsize=1048064:unlimited)
    serving_at_all files --conn $conn --device disk:1 --region-dir "$t/files"
    grep -E '^Max file size +unlimited +unlimited' /proc/$server/limits
    grep SigIgn /proc/$server/status
    ignored=$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/$server/status)
    (((16#$ignored >> 24 & 1) == 1))    # SIGXFSZ
    kill -TERM $server
}
check "serve raises the limit on the size of files, and goes on where it is met" does_without_a_limit_on_files
