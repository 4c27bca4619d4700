# shellcheck shell=bash
# Mistakes with muenblock-ublk add that are seen before a driver is needed; tests/guest has the others.
# shellcheck disable=SC2154,SC2086 # conn, t: see run and common.sh; neither holds a space

add() { row "$1" "$2" muenblock-ublk add --conn $conn --region-dir "$t/regions" "${@:3}"; }

for value in -1 1048576 99999999; do add 2 "--id $value is out of range" --id $value; done
for value in 0x1 one 1.5 '' 99999999999; do add 2 "'$value'" --id "$value"; done
add 2 "--id" --id
add 2 "--id" --id 1 --id 2
row 2 "--id needs a single --conn" muenblock-ublk add --conn $conn,2:d:e:f --id 1

add 2 "'maybe'" --batch maybe
add 2 "--batch" --batch
row 2 "--join needs several --conn" muenblock-ublk add --conn $conn --join
row 2 "'perhaps'" muenblock-ublk add --conn $conn,2:d:e:f --join=perhaps
row 2 "connection id 1 is used twice" muenblock-ublk add --conn $conn,1:d:e:f --join
row 2 "region 'buffer' is used by two connections" muenblock-ublk add --conn $conn,2:d:e:buffer --join

for value in -1 0 4097 99999; do add 2 "--depth $value is out of range" --depth $value; done
for value in abc 1.5 ''; do add 2 "'$value'" --depth "$value"; done
add 2 "--depth" --depth

for value in 0 1 512 4095 4097 33M 64M 33554433 -4096 1.5M 4k 1G 4KK K M 0x1000 abc '' 4294967296 18446744073709551616 99999999999999999999999; do
    add 2 "--max-io $value is not a size" --max-io "$value"
done
add 2 "--max-io" --max-io

for value in 0 1 4095 -4096 1G 4097M abc '' 99999999999999999999; do add 2 "--app-memory $value is not a size" --app-memory "$value"; done
row 2 "--join and --app-memory exclude each other" muenblock-ublk add --conn $conn,2:d:e:f --join --app-memory 4M
add 2 "--io-timeout and --app-memory exclude each other" --app-memory 4M --io-timeout 5

for value in -1 -0.001 86401 1e300 NaN Infinity; do add 2 "--connect-timeout" --connect-timeout $value; done
for value in x 1s 1,5 0x1 ''; do add 2 "--connect-timeout '$value' is not a time" --connect-timeout "$value"; done
add 2 "--connect-timeout" --connect-timeout
for value in 0 0.09 -1 86401 x 1s 1,5 ''; do add 2 "--io-timeout '$value' is not a time: 0.1 to 86400 seconds" --io-timeout "$value"; done
add 2 "--io-timeout" --io-timeout
for value in -1 86401 x 1s ''; do add 2 "--stall-warning '$value' is not a time: 0 to 86400 seconds" --stall-warning "$value"; done
add 2 "--log-file" --log-file
add 2 "--foreground and --log-file exclude each other" --foreground --log-file log
add 2 "'perhaps'" --read-only=perhaps
add 2 "'perhaps'" --foreground=perhaps
add 2 "'perhaps'" --recover=perhaps
add 2 "--frobnicate" --device disk:1 --frobnicate
add 2 "--create-regions" --create-regions    # the backend's option

# --- a machine without the driver ------------------------------------------------------------------------------
# An empty /dev, so that the rows say the same on a machine that has the driver.
without_driver() { row "$1" "$2" unshare --mount sh -c 'mount -t tmpfs none /dev; exec "$@"' sh "${@:3}"; }
without_driver 3 "/dev/ublk-control" muenblock-ublk add --conn $conn --region-dir "$t/regions"
without_driver 3 "/dev/ublk-control" muenblock-ublk add --conn $conn --region-dir "$t/regions" --foreground
without_driver 3 "/dev/ublk-control" muenblock-ublk features
without_driver 3 "/dev/ublk-control" muenblock-ublk del 0
without_driver 3 "/dev/ublk-control" muenblock-ublk recover 0
without_driver 3 "/dev/ublk-control" muenblock-ublk add --recover --conn $conn --region-dir "$t/regions"
