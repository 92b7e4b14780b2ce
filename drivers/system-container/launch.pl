# SPDX-License-Identifier: Apache-2.0
#
# Makes what a system container sees as its root, and becomes the runtime that starts it. One process from the first mount to the
# last, in a mount namespace that nobody else has: whatever ends it, the kernel takes the mounts back, and nothing has to be found
# and unmounted. The container keeps the namespace that the runtime made of this one, for as long as it lives.
#
#   image (erofs, read-only, all machines') ─▶ owned by this machine's uids ─▶ overlay ◀─ memory that takes what is written
#
#  A. The image's files belong to root of the image and are shown as the machine's own root's (an idmapped mount): no copy for
#     each machine, and nobody inside is a uid of anybody else.
#  B. Port and console are sockets that listen before the container is there, in a folder that it never sees. It is given
#     the open descriptors, so it can put nothing in their place.
#
# Arguments: image folder first-uid count size-of-what-is-written agent runtime-and-its-words…
use strict;
use warnings;
use Socket;

my ($image, $place, $first, $count, $writtenMiB, $agent, @runtime) = @ARGV;
my %nr = (unshare => 272, mount => 165, open_tree => 428, move_mount => 429, mount_setattr => 442);
use constant { NEWNS => 0x00020000, NEWUSER => 0x10000000, REC => 0x4000, PRIVATE => 0x40000, NODEV => 4, CWD => -100 };
sub call {
    my ($name, @given) = @_;
    my $got = syscall($nr{$name}, @given);
    die "$name: $!\n" if $got < 0;
    return $got;
}
sub folder { my ($path, $mode) = @_; mkdir $path, $mode; -d $path or die "$path: $!\n"; chmod $mode, $path; }
sub mounted { my ($source, $target, $kind, $flags, $words) = @_; call('mount', $source, $target, $kind, $flags, $words); }

$^F = 255;
my @ends;
for my $name ('guest', 'console') {
    socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!\n";
    bind($socket, pack_sockaddr_un("$place/run/$name")) or die "$name: $!\n";
    listen($socket, 4) or die "listen: $!\n";
    push @ends, $socket;
}
fileno($ends[0]) == 3 && fileno($ends[1]) == 4 or die "the sockets are not descriptors 3 and 4\n";

call('unshare', NEWNS);
mounted('none', '/', 'none', REC | PRIVATE, '');
my ($lower, $shifted, $written, $root) = map { "$place/$_" } qw(lower shifted written root);
folder($_, 0711) for $lower, $shifted, $written, $root;
system('mount', '-t', 'erofs', '-o', 'ro,loop,nodev', $image, $lower) == 0 or die "the image cannot be mounted\n";

# A. The kernel takes the numbers from a namespace of users; nobody has to live in it.
pipe(my $ready, my $say) or die "pipe: $!\n";
pipe(my $wait, my $end) or die "pipe: $!\n";
my $holder = fork() // die "fork: $!\n";
if ($holder == 0) {
    close $_ for $ready, $end, @ends;
    call('unshare', NEWUSER);
    syswrite($say, 'x');
    close $say;
    sysread($wait, my $over, 1);
    exit 0;
}
close $say;
close $wait;
sysread($ready, my $made, 1) or die "a namespace of users cannot be made\n";
for my $map ('uid_map', 'gid_map') {
    open(my $file, '>', "/proc/$holder/$map") or die "$map: $!\n";
    syswrite($file, "0 $first $count\n") or die "$map: $!\n";
}
open(my $users, '<', "/proc/$holder/ns/user") or die "users: $!\n";
my $empty = "\0";
my $tree = call('open_tree', CWD, "$lower\0", 1 | 0x80000);
# MOUNT_ATTR_RDONLY, NODEV, IDMAP
call('mount_setattr', $tree, $empty, 0x1000, pack('QQQQ', 0x1 | 0x4 | 0x100000, 0, 0, fileno($users)), 32);
call('move_mount', $tree, $empty, CWD, "$shifted\0", 4);
close $users;
close $end;
close $ready;
waitpid($holder, 0);

mounted('written', $written, 'tmpfs', NODEV, "size=${writtenMiB}m,mode=0755,uid=$first,gid=$first");
for my $path ("$written/upper", "$written/work") {
    folder($path, 0755);
    chown $first, $first, $path or die "$path: $!\n";
}
mounted('root', $root, 'overlay', NODEV, "lowerdir=$shifted,upperdir=$written/upper,workdir=$written/work");

open(my $from, '<:raw', $agent) or die "the agent: $!\n";
my $text = do { local $/; <$from> };
close $from;
my $to = "$root/usr/sbin/casemate-agent";
open(my $copy, '>:raw', $to) or die "the agent: $!\n";
print $copy $text or die "the agent: $!\n";
close $copy or die "the agent: $!\n";
chmod 0755, $to;
chown $first, $first, $to or die "the agent: $!\n";

# What it would say is in its log; an open end here would be the container's, too.
open(STDERR, '>', '/dev/null') or die "null: $!\n";
exec { $runtime[0] } @runtime or die "$runtime[0]: $!\n";
