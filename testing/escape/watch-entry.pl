# SPDX-License-Identifier: Apache-2.0
# For some seconds looks at every process that appears and tries to get hold of one that is still the
# host's entry program: its executable, root, descriptors, memory, environment. Prints what it got.
use strict;
$| = 1;
my $until = time + 3;
my ($seen, %known) = (0);
print "watching\n";
while (time < $until) {
    opendir(my $proc, '/proc') or die;
    for my $pid (grep { /^\d+$/ && $_ != $$ && $_ != 1 } readdir $proc) {
        my $comm = do { open(my $f, '<', "/proc/$pid/comm") or next; <$f> };
        chomp $comm;
        next unless $comm eq 'casemate-entry';
        $seen++ unless $known{$pid}++;
        for my $link (qw(exe root cwd fd/0 fd/3 fd/4 fd/5)) {
            my $to = readlink "/proc/$pid/$link";
            # After its exec it is the session's own program and may be looked at.
            next unless defined $to;
            open(my $again, '<', "/proc/$pid/comm") or next;
            my $now = <$again>;
            print "GOT $link $to\n" if defined $now && $now eq "casemate-entry\n";
        }
        for my $file (qw(mem environ maps)) {
            open(my $f, '<', "/proc/$pid/$file") or next;
            sysread($f, my $bytes, 64) or next;
            open(my $again, '<', "/proc/$pid/comm") or next;
            my $now = <$again>;
            print "GOT $file\n" if defined $now && $now eq "casemate-entry\n";
        }
    }
}
print "seen $seen\n";
