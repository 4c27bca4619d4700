# shellcheck shell=bash
# Mistakes with the other verbs of muenblock-ublk that are seen before a driver is needed.

row 2 "name the devices to delete, or give --all" muenblock-ublk del
row 2 "name the devices to delete, or give --all" muenblock-ublk del 0 --all
row 2 "'--frobnicate'" muenblock-ublk del --frobnicate
row 2 "name the devices to delete, or give --all" muenblock-ublk del --all=perhaps
for name in '' x 0x1 -1 +1 ' 0' 1.5 1048576 99999999999 ublkb ublkbx ublkc0 ublkb0p1 /dev/sda /dev/0 /dev/ublkc0 /dev/ublkb /dev/ublkb0p1 dev/ublkb0 ./ublkb0 /ublkb0 \
    007 ublkb01 /dev/ublkb00 ublkb0x @0 '[suggest]'; do
    row 2 "'$name' is no ublk block device: give its number" muenblock-ublk del -- "$name"
done
row 2 "'x' is no ublk block device" muenblock-ublk del 0 x

row 2 "'perhaps'" muenblock-ublk del 0 --force=perhaps

row 2 "name the devices to take over, or give --all" muenblock-ublk recover
row 2 "name the devices to take over, or give --all" muenblock-ublk recover 0 --all
row 2 "name the devices to take over, or give --all" muenblock-ublk recover --conn 1:a:b:c
row 2 "'--frobnicate'" muenblock-ublk recover --frobnicate
row 2 "'x' is no ublk block device" muenblock-ublk recover 0 x
row 2 "3 fields instead of 4 or 6" muenblock-ublk recover 0 --conn 1:a:b
row 2 "--region-dir is empty" muenblock-ublk recover 0 --region-dir ''
row 2 "--connect-timeout 'x' is not a time" muenblock-ublk recover 0 --connect-timeout x
row 2 "--cpus 'x'" muenblock-ublk recover --all --cpus x
row 2 "--foreground and --log-file exclude each other" muenblock-ublk recover 0 --foreground --log-file log
row 2 "'--join'" muenblock-ublk recover 0 --join    # the driver knows how many queues there are
row 2 "--spin '10001'" muenblock-ublk recover --all --spin 10001
row 2 "'loud'" muenblock-ublk recover --all --log-level loud
row 2 "--depth" muenblock-ublk recover 0 --depth 4    # what the driver knows is not given again

row 2 "Required argument missing" muenblock-ublk upgrade
row 2 "'x' is no ublk block device" muenblock-ublk upgrade x
row 2 "'1'" muenblock-ublk upgrade 0 1
row 2 "'--foreground'" muenblock-ublk upgrade 0 --foreground
row 2 "'perhaps'" muenblock-ublk upgrade 0 --other-disk=perhaps
row 2 "--cpus 'x'" muenblock-ublk upgrade 0 --cpus x    # before the server that serves is ended
row 2 "--spin '10001'" muenblock-ublk upgrade 0 --spin 10001
row 2 "Required argument missing" muenblock-ublk resize
row 2 "'x' is no ublk block device" muenblock-ublk resize x
row 2 "'1'" muenblock-ublk resize 0 1
row 2 "'67108864'" muenblock-ublk resize 0 67108864
row 2 "'--size'" muenblock-ublk resize 0 --size

row 2 "'surplus'" muenblock-ublk list surplus
row 2 "'--frobnicate'" muenblock-ublk list --frobnicate
row 2 "'perhaps'" muenblock-ublk list --json=perhaps
row 2 "'surplus'" muenblock-ublk features surplus
row 2 "'--frobnicate'" muenblock-ublk features --frobnicate
