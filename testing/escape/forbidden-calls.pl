# SPDX-License-Identifier: Apache-2.0
# Makes each system call named on the command line (`name=number`) with null arguments in a process of
# its own and prints `name errno`, 0 for a call that succeeded.
use strict;
$| = 1;
for (@ARGV) {
    my ($name, $number) = split /=/;
    my $pid = fork;
    die 'fork' unless defined $pid;
    if ($pid == 0) {
        $! = 0;
        my $result = syscall(0 + $number, 0, 0, 0, 0, 0, 0);
        print "$name ", ($result == -1 ? $! + 0 : 0), "\n";
        exit 0;
    }
    waitpid $pid, 0;
    print "$name killed\n" if $? != 0;
}
