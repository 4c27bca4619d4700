#!/usr/bin/perl
# Writes what a dm-log-writes device has written down to a file: the entries on standard input, as log-writes.pl prints them.
# usage: replay.pl LOG FILE
use strict;
use warnings;

open my $log, '<:raw', $ARGV[0] or die "$ARGV[0]: $!\n";
open my $file, '+<:raw', $ARGV[1] or die "$ARGV[1]: $!\n";
while (<STDIN>) {
    # What a discarded block holds is nobody's business.
    my ($sector, $sectors, $offset) = /^write (\d+) (\d+) (\d+)$/ or next;
    my $length = $sectors * 512;
    sysseek $log, $offset, 0 or die "$ARGV[0]: $!\n";
    (sysread $log, my $data, $length) == $length or die "$ARGV[0]: short read at $offset\n";
    sysseek $file, $sector * 512, 0 or die "$ARGV[1]: $!\n";
    (syswrite $file, $data) == $length or die "$ARGV[1]: short write\n";
}
