# SPDX-License-Identifier: Apache-2.0
# Calls that are allowed or refused by their arguments. `number` of clone, socket, ioctl, personality
# and prlimit64 come on the command line. Prints `what errno`.
use strict;
$| = 1;
my %nr = map { split /=/ } @ARGV;
sub try_call {
    my ($what, $name, @args) = @_;
    my $pid = fork;
    if ($pid == 0) {
        $! = 0;
        my $result = syscall(0 + $nr{$name}, @args);
        print "$what ", ($result == -1 ? $! + 0 : 0), "\n";
        exit 0;
    }
    waitpid $pid, 0;
}
try_call("clone-$_->[0]", 'clone', $_->[1] | 17, 0, 0, 0, 0)
    for ['user', 0x10000000], ['mount', 0x20000], ['net', 0x40000000], ['pid', 0x20000000], ['cgroup', 0x02000000];
try_call("socket-$_->[0]", 'socket', $_->[1], $_->[2], $_->[3])
    for ['unix', 1, 1, 0], ['inet', 2, 1, 0], ['inet6', 10, 2, 0], ['cloexec', 2, 1 | 02000000, 0],
    ['raw', 2, 3, 1], ['raw6', 10, 3, 58], ['raw-cloexec', 2, 3 | 02000000, 1], ['packet', 17, 3, 768],
    ['old-packet', 2, 10, 768], ['netlink', 16, 3, 0], ['vsock', 40, 1, 0], ['alg', 38, 5, 0], ['bluetooth', 31, 3, 1],
    # The kernel reads 32 bits of the family; the upper half must not hide a forbidden one.
    ['netlink-high', 16 | (1 << 32), 3, 0];
try_call('tiocsti', 'ioctl', 0, 0x5412, 0);
try_call('tiocsti-high', 'ioctl', 0, 0x5412 | (1 << 32), 0);
try_call('tioclinux', 'ioctl', 0, 0x541c, 0);
try_call('personality-read', 'personality', 0xffffffff);
try_call('personality-no-random', 'personality', 0x40000);
try_call('core-limit', 'prlimit64', 0, 4, pack('QQ', 0, 0), 0);
