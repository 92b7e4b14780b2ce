# SPDX-License-Identifier: Apache-2.0
#
# Tells when a file system is gone. The kernel ends a tmpfs when nothing holds it any more: no mount in
# any namespace, no descriptor of any process or on its way in a socket, no working folder, no mapped
# page. It then tells whoever watches an inode of it (IN_UNMOUNT), and a watch itself holds nothing. One
# event thus answers what a search through every process only samples, and costs the same with one
# machine alive as with a thousand.
#
# And sieves the process table: which processes are in one of these namespaces, or will not say? Here,
# because seven links of every process are read for each end of a machine, and what calls the kernel
# a thousand times is a third as long in this program as in the prober. What is left in the sieve the
# prober looks at itself, so nothing is called clean by this program that was not read.
#
# Asked on descriptor 0, a line each, and answered on 1:
#   watch <key> <path>   →  watching <key> <number>, or watching <key> - when it cannot be
#   leave <number>
#                        →  gone <number>, once
#   sieve <key> <link>…  →  left <key> <pid>…        a link as in /proc/<pid>/ns: "pid:[4026532000]"
use strict;
no warnings;

my %nr = map { split /=/ } split / /, $ARGV[0];
use constant { IN_DELETE_SELF => 0x400, IN_ONLYDIR => 0x01000000, IN_UNMOUNT => 0x2000 };
use constant { PF_KTHREAD => 0x00200000, KTHREADD => 2 };
my @kinds = qw(mnt pid net ipc uts user cgroup);

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
        while ($asked =~ s/\A(\w+) (\w+)(?: ([^\n]+))?\n//) {
            my ($what, $key, $path) = ($1, $2, $3);
            if ($what eq 'leave') { syscall($nr{inotify_rm_watch}, $fd, 0 + $key); next }
            if ($what eq 'sieve') { answer(join ' ', 'left', $key, sieve(split / /, $path)); next }
            my $wd = syscall($nr{inotify_add_watch}, $fd, "$path", IN_DELETE_SELF | IN_ONLYDIR);
            answer("watching $key " . ($wd == -1 ? '-' : $wd));
        }
    }
}

# A process that does not show all its links is left in: dead, or with a leader that ended before its
# threads, or not to be read by us.
sub sieve {
    my %wanted = map { $_ => 1 } @_;
    my %passed = kernel_threads();
    opendir(my $table, '/proc') or exit 125;
    my @left;
    for my $pid (readdir $table) {
        next if $pid !~ /\A[0-9]+\z/ || $passed{$pid};
        for my $kind (@kinds) {
            my $link = readlink "/proc/$pid/ns/$kind";
            next if defined $link && !$wanted{$link};
            push @left, $pid;
            last;
        }
    }
    return @left;
}

# Most of a quiet host's process table, and code of the kernel's. They are the children of kthreadd; so is
# a program that the kernel starts by itself (core_pattern, modprobe), which is the host's root in the
# host's namespaces. In a container process 2 is something else, and everything is looked at.
sub kernel_threads {
    my $stat = slurp('/proc/' . KTHREADD . '/stat');
    my (undef, $parent, undef, undef, undef, undef, $flags) = split / /, substr($stat, 2 + rindex $stat, ')');
    return () unless $stat ne '' && $parent == 0 && $flags & PF_KTHREAD;
    return map { $_ => 1 } split / /, slurp('/proc/' . KTHREADD . '/task/' . KTHREADD . '/children');
}

sub slurp {
    open(my $file, '<', $_[0]) or return '';
    my $text = '';
    while (sysread $file, $text, 65536, length $text) { }
    return $text;
}

sub answer {
    my $line = "$_[0]\n";
    while (length $line) {
        my $sent = syswrite(STDOUT, $line);
        next if !defined $sent && $! == 4;
        exit 0 unless $sent;
        substr($line, 0, $sent) = '';
    }
}
