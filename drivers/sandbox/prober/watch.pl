# SPDX-License-Identifier: Apache-2.0
#
# Tells when a file system is gone. The kernel ends a tmpfs when nothing holds it any more: no mount in
# any namespace, no descriptor of any process or on its way in a socket, no working folder, no mapped
# page. It then tells whoever watches an inode of it (IN_UNMOUNT), and a watch itself holds nothing. One
# event thus answers what a search through every process only samples, and costs the same with one
# machine alive as with a thousand.
#
# Asked on descriptor 0, a line each, and answered on 1:
#   watch <key> <path>   →  watching <key> <number>, or watching <key> - when it cannot be
#   leave <number>
#                        →  gone <number>, once
use strict;
no warnings;

my %nr = map { split /=/ } split / /, $ARGV[0];
use constant { IN_DELETE_SELF => 0x400, IN_ONLYDIR => 0x01000000, IN_UNMOUNT => 0x2000 };

my $fd = syscall($nr{inotify_init1}, 02000000);
exit 125 if $fd == -1;
open(my $events, '<&=', $fd) or exit 125;
my $asked = '';
while (1) {
    my $set = '';
    vec($set, $_, 1) = 1 for 0, $fd;
    my $ready = select(my $hot = $set, undef, undef, undef);
    next if $ready < 0;
    if (vec($hot, $fd, 1)) {
        my $got = sysread($events, my $bytes, 65536);
        exit 125 unless $got;
        # struct inotify_event { int wd; uint32_t mask, cookie, len; char name[len]; }
        for (my $at = 0; $at < $got;) {
            my ($wd, $mask, undef, $length) = unpack 'l L L L', substr($bytes, $at, 16);
            answer("gone $wd") if $mask & IN_UNMOUNT;
            $at += 16 + $length;
        }
    }
    if (vec($hot, 0, 1)) {
        my $got = sysread(STDIN, $asked, 65536, length $asked);
        exit 0 unless $got;
        while ($asked =~ s/\A(\w+) (\w+)(?: (\S+))?\n//) {
            my ($what, $key, $path) = ($1, $2, $3);
            if ($what eq 'leave') { syscall($nr{inotify_rm_watch}, $fd, 0 + $key); next }
            my $wd = syscall($nr{inotify_add_watch}, $fd, "$path", IN_DELETE_SELF | IN_ONLYDIR);
            answer("watching $key " . ($wd == -1 ? '-' : $wd));
        }
    }
}

sub answer { syswrite(STDOUT, "$_[0]\n") or exit 0 }
