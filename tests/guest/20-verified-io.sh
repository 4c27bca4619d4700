# shellcheck shell=bash
# fio writes and reads back with checksums: sizes from a sector to 1 MiB, on every kind of disk.
# shellcheck disable=SC2317,SC2154,SC2086 # variables of lib.sh; the constants among them hold no spaces

readonly _SIZES=512/15:1k/10:1536/5:4k/25:8k/10:20k/10:64k/10:128k/5:512k/5:1m/5
readonly _SIZES4K=4k/40:8k/15:20k/15:64k/10:128k/10:512k/5:1m/5

_mixed() {    # DEVICE NAME SPLIT [OPTION...]
    verify "$1" "$2" --rw=randrw --rwmixread=30 --bssplit="$3" --iodepth=32 --serialize_overlap=1 --verify_backlog=64 "${@:4}"
}

fio_verifies_mixed_block_sizes_on_a_ram_disk() {
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN
    equal 256 "$(queue "${devices[0]}" max_hw_sectors_kb)" 'the largest I/O in KiB, a 64th of the buffer,'
    _mixed "${devices[0]}" ram $_SIZES --size=128M --io_size=32M
}

fio_verifies_mixed_block_sizes_with_1_mib_in_one_piece() {
    start_backend --conn $CONN --device $RAM:1
    add --conn $CONN --max-io 1M
    equal 1024 "$(queue "${devices[0]}" max_hw_sectors_kb)" 'the largest I/O in KiB'
    equal 16 "$(cat /sys/block/ublkb0/mq/0/nr_tags)" 'the queue depth that the buffer allows'
    _mixed "${devices[0]}" large $_SIZES --size=128M --io_size=32M
}

fio_verifies_mixed_block_sizes_on_an_image_file() {
    truncate -s 128M image
    start_backend --conn $CONN --device image:1
    add --conn $CONN
    _mixed "${devices[0]}" image $_SIZES --size=128M --io_size=32M
}

fio_verifies_mixed_block_sizes_on_a_virtio_disk() {
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    _mixed "${devices[0]}" virtio $_SIZES --size=128M --io_size=24M
}

fio_verifies_mixed_block_sizes_on_a_disk_with_blocks_of_4096_bytes() {
    start_backend --conn $CONN --device $DISK4K:1
    add --conn $CONN
    _mixed "${devices[0]}" large-blocks $_SIZES4K --size=128M --io_size=24M
}

fio_verifies_through_the_page_cache_with_offsets_in_bytes_and_polling() {
    start_backend --conn $CONN --device $RAM:1 --offset-unit bytes --wait poll
    add --conn $CONN --offset-unit bytes --wait poll
    verify "${devices[0]}" buffered --rw=randrw --bs=4k --size=8M --direct=0 --ioengine=psync --fsync=128
}

# What one end wrote the other must find at the same place: a mistake that write and read share would not be seen otherwise.
every_byte_is_where_it_belongs_on_the_disk() {
    random_file payload $((8 * 1048576))
    start_backend --conn $CONN --device $DISK:1
    add --conn $CONN
    dd if=payload of="${devices[0]}" bs=1M oflag=direct conv=fsync status=none
    cmp payload <(dd if=$DISK bs=1M count=8 iflag=direct status=none)
    cmp -n $((8 * 1048576)) payload "${devices[0]}"
    # The last block of the disk, and nothing behind it.
    dd if=payload of="${devices[0]}" bs=512 count=1 seek=$((256 * 2048 - 1)) oflag=direct conv=fsync status=none
    cmp -n 512 payload <(tail -c 512 $DISK)
    not dd if=payload of="${devices[0]}" bs=512 count=1 seek=$((256 * 2048)) oflag=direct status=none 2>beyond
    grep -q 'No space left' beyond
}
