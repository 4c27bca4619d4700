# shellcheck shell=bash
# Mistakes with the other verbs of muenblock-ublk that are seen before a driver is needed.

row 2 "name the devices to delete, or give --all" muenblock-ublk del
row 2 "name the devices to delete, or give --all" muenblock-ublk del 0 --all
row 2 "'--frobnicate'" muenblock-ublk del --frobnicate
row 2 "name the devices to delete, or give --all" muenblock-ublk del --all=perhaps
for name in '' x 0x1 -1 +1 ' 0' 1.5 1048576 99999999999 ublkb ublkbx ublkc0 ublkb0p1 /dev/sda /dev/0 /dev/ublkc0 /dev/ublkb /dev/ublkb0p1 dev/ublkb0 ./ublkb0 /ublkb0 \
    007 ublkb01 /dev/ublkb00 ublkb0x @0 '[suggest]'; do
    row 2 "$name" muenblock-ublk del -- "$name"
done
row 2 "'x' is no ublk block device" muenblock-ublk del 0 x

row 2 "'surplus'" muenblock-ublk list surplus
row 2 "'--frobnicate'" muenblock-ublk list --frobnicate
row 2 "'perhaps'" muenblock-ublk list --json=perhaps
row 2 "'surplus'" muenblock-ublk features surplus
row 2 "'--frobnicate'" muenblock-ublk features --frobnicate
