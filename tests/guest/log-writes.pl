#!/usr/bin/perl
# Prints what a dm-log-writes device has written down, an entry a line, in the order in which the entries completed:
#   write SECTOR SECTORS OFFSET-OF-THE-DATA-IN-THE-LOG | flush | discard SECTOR SECTORS | mark
# An entry may be several, such as a write with a flush before it. The layout is that of the kernel's
# drivers/md/dm-log-writes.c: a super block, then entries of a block each, followed by the data of writes.
use strict;
use warnings;

use constant { MAGIC => 0x6a736677736872, FLUSH => 1, FUA => 2, DISCARD => 4, MARK => 8 };

open my $log, '<:raw', $ARGV[0] or die "$ARGV[0]: $!\n";

sub at {
    my ($offset, $length) = @_;
    sysseek $log, $offset, 0 or die "$ARGV[0]: $!\n";
    my $read = sysread $log, my $bytes, $length;
    die "$ARGV[0]: short read at $offset\n" unless ($read // 0) == $length;
    return $bytes;
}

my ($magic, $version, $entries, $block) = unpack 'Q<Q<Q<L<', at(0, 28);
die "$ARGV[0]: no log of dm-log-writes\n" unless $magic == MAGIC && $version == 1;
my $offset = $block;
for (1 .. $entries) {
    my ($sector, $sectors, $flags, $data_length) = unpack 'Q<4', at($offset, 32);
    $offset += $block;
    print "flush\n" if $flags & FLUSH;
    if ($flags & MARK) { print "mark\n"; next }
    if ($flags & DISCARD) { print "discard $sector $sectors\n"; next }
    next unless $sectors;
    print "write $sector $sectors $offset\n";
    print "flush\n" if $flags & FUA;
    $offset += $sectors * $block;
}
