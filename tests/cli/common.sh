# shellcheck shell=bash
# Mistakes that both programs answer alike: verbs, options, connection strings, choices.
# shellcheck disable=SC2086 # conn and program hold no spaces
conn=1:request:response:buffer

for program in muenblock-backend muenblock-ublk; do
    row 2 "Required command was not provided" $program
    row 2 "'frobnicate'" $program frobnicate
    row 2 "'--frobnicate'" $program --frobnicate
    row 2 "''" $program ''
    # The library that parses the arguments would see more in these than a word.
    for word in @verb /add; do row 2 "'$word'" $program "$word"; done
    for word in '[suggest]' '[diagram]' '[env:A=B]'; do row 2 "'$word' is not a command" $program "$word"; done
done

# --- each row holds for serve as for add -----------------------------------------------------------------------
for verb in 'muenblock-backend serve --device disk:1' 'muenblock-ublk add'; do
    # shellcheck disable=SC2086 # several words
    both() { row "$1" "$2" $verb "${@:3}"; }

    both 2 "'--conn' is required"
    both 2 "'--frobnicate'" --conn $conn --frobnicate
    both 2 "'surplus'" --conn $conn surplus
    both 2 "--conn" --conn
    both 2 "--region-dir" --conn $conn --region-dir
    both 2 "--region-dir is empty" --conn $conn --region-dir ''
    both 2 "--region-dir" --conn $conn --region-dir a --region-dir b

    both 2 "--event-dir is empty" --conn $conn --event-dir ''
    both 4 "the event directory nowhere does not exist" --conn $conn --event-dir nowhere
    both 4 "the event directory disk does not exist" --conn $conn --event-dir disk

    # Connection strings.
    both 2 "1 fields instead of 4 or 6" --conn ''
    both 2 "1 fields instead of 4 or 6" --conn 1
    both 2 "1 fields instead of 4 or 6" --conn @file
    both 2 "3 fields instead of 4 or 6" --conn 1:a:b
    both 2 "5 fields instead of 4 or 6" --conn 1:a:b:c:1
    both 2 "7 fields instead of 4 or 6" --conn 1:a:b:c:1:2:3
    both 2 "1 fields instead of 4 or 6" --conn $conn,
    both 2 "'' is not a connection id" --conn :a:b:c
    both 2 "'x' is not a connection id" --conn x:a:b:c
    both 2 "'-1' is not a connection id" --conn -1:a:b:c
    both 2 "'+1' is not a connection id" --conn +1:a:b:c
    both 2 "'1.5' is not a connection id" --conn 1.5:a:b:c
    both 2 "' 1' is not a connection id" --conn ' 1:a:b:c'
    both 2 "'4294967296' is not a connection id" --conn 4294967296:a:b:c
    both 2 "'' is not a region name" --conn 1::b:c
    both 2 "'a/b' is not a region name" --conn 1:a/b:b:c
    both 2 "'a/b' is not a region name" connections=1:a/b:b:c    # the original's spelling
    both 2 "'/dev/shm/a' is not a region name" --conn 1:/dev/shm/a:b:c
    both 2 "'..' is not a region name" --conn 1:a:..:c
    both 2 "'.' is not a region name" --conn 1:a:b:.
    both 2 "is not a region name" --conn "1:$(printf 'a%.0s' {1..256}):b:c"
    both 2 "three different regions" --conn 1:a:a:c
    both 2 "three different regions" --conn 1:a:b:b
    both 2 "'0' is not a protocol id" --conn 1:a:b:c:0:1
    both 2 "'xyz' is not a protocol id" --conn 1:a:b:c:1:xyz
    both 2 "'0x12' is not a protocol id" --conn 1:a:b:c:0x12:1
    both 2 "'' is not a protocol id" --conn 1:a:b:c::1
    both 2 "is not a protocol id" --conn 1:a:b:c:11223344556677889:1
    both 2 "connection id 1 is used twice: give each connection a number of its own" --conn $conn --conn 1:d:e:f
    both 2 "connection id 1 is used twice: give each connection a number of its own" --conn $conn,1:d:e:f
    both 2 "region 'request' is used by" --conn $conn --conn 2:request:d:e
    both 2 "give each connection three regions of its own" --conn 1:a:b:c,2:d:e:c

    # Choices and numbers.
    both 2 "'blocks'" --conn $conn --offset-unit blocks
    both 2 "--offset-unit" --conn $conn --offset-unit
    both 2 "'sometimes'" --conn $conn --wait sometimes
    both 2 "'perhaps'" --conn $conn --sandbox perhaps
    both 2 "'loud'" --conn $conn --log-level loud
    both 2 "'INFO'" --conn $conn --log-level INFO
    for value in x '' 1- 2-1 0-1-2 +1 0,; do both 2 "--cpus '$value'" --conn $conn --cpus "$value"; done
    both 2 "CPU 0 is named twice" --conn $conn --cpus 0,0
    both 2 "CPU 8191 is not there, is offline, or is not for this process" --conn $conn --cpus 8191
    for value in abc -1 10001 99999999999 1.5 0x1 Auto ''; do
        both 2 "--spin '$value' is neither auto nor a number of microseconds from 0 to 10000" --conn $conn --spin "$value"
    done
done
