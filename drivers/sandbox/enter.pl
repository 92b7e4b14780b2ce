# SPDX-License-Identifier: Apache-2.0
#
# The only way into a live sandbox. Started by the driver on the host side, it becomes a process of
# the session in every respect and only then runs the command. nsenter joins namespaces but keeps the
# host's groups, limits and cgroup, and sets no filter; so nothing enters through it.
#
# Perl, because perl-base is Essential on Debian: there is no compiler to ask for and it starts in a
# millisecond. Core language only, no module.
#
# What stays true:
#  A. The command runs only if every step before it succeeded. Each failure ends in `refuse`.
#  B. Namespaces come as descriptors opened when the machine started: a recycled pid cannot redirect us.
#     They stay the driver's and are opened again through its /proc/<pid>/fd; when it dies our parent
#     does, and so do we, so that number is good for as long as we look at it.
#  C. From the fork on we are visible to the session's own programs (the attacker: same uid, same pid
#     namespace), so we are not dumpable from the first line and the filter already denies them ptrace.
#  D. The program gets descriptors 0, 1, 2 and no other.
#  E. Nothing is read from or written to a path of the session before its own rights are all we have.
#
# Descriptors: 0 input, 1 and 2 output to the driver, 3 configuration (NUL-separated `key value`),
# (read when there is something to do: the driver keeps a few of us waiting, because starting perl and
# compiling this costs more than all the rest), 4 status: "S\n" the command starts, "F stage errno\n" it does not, "X waitstatus\n" how it ended.
use strict;
no warnings;

my (%one, %many);
{
    my $blob = '';
    open(my $in, '<&=', 3) or exit 125;
    while (1) {
        my $got = sysread($in, $blob, 65536, length $blob);
        exit 125 unless defined $got;
        last if $got == 0;
        last if substr($blob, -5) eq "\0end\0";
    }
    exit 125 unless substr($blob, -5) eq "\0end\0";
    for (split /\0/, substr($blob, 0, -5), -1) {
        my ($key, $value) = split / /, $_, 2;
        $one{$key} = $value;
        push @{ $many{$key} }, $value;
    }
}
open(my $status, '>&=', 4) or exit 125;
my %nr = map { split /=/ } split / /, $one{calls};

sub tell_driver { syswrite($status, $_[0]) }
sub refuse { tell_driver("F $_[0] " . ($! + 0) . "\n"); exit 125 }
sub call { my $name = shift; my $r = syscall($nr{$name}, @_); return $r }
sub must { my ($stage, $name) = (shift, shift); refuse($stage) if call($name, @_) == -1 }

use constant { PR_SET_PDEATHSIG => 1, PR_SET_DUMPABLE => 4, PR_SET_SECCOMP => 22, PR_CAPBSET_DROP => 24,
    PR_SET_NO_NEW_PRIVS => 38, PR_CAP_AMBIENT => 47, NS_GET_USERNS => 0xb701 };

must('pdeathsig', 'prctl', PR_SET_PDEATHSIG, 9, 0, 0, 0);
must('dumpable', 'prctl', PR_SET_DUMPABLE, 0, 0, 0, 0);

# Raised, and with the host's rights: the floor rises too, so when the machine's memory runs out a
# command dies first and never the first process, and the command cannot lower it again.
if (open(my $adj, '>', '/proc/self/oom_score_adj')) { syswrite($adj, '800'); close $adj }

my (%ns, @ns_handles);
for (split / /, $one{namespaces}) {
    my ($kind, $fd) = split /=/;
    sysopen(my $handle, "/proc/$one{holder}/fd/$fd", 0) or refuse("open-$kind");
    push @ns_handles, $handle;
    $ns{$kind} = fileno $handle;
}
if ($one{privileged} eq '0') {
    # Without root the only rights over the session's namespaces come from the user namespace that
    # owns them; bubblewrap made it as our own uid. The session's inner one comes last, below.
    my $owner = call('ioctl', 0 + $ns{mnt}, NS_GET_USERNS, 0);
    refuse('owner') if $owner == -1;
    must('owner', 'setns', $owner, 0x10000000);
}
must('setns-pid', 'setns', 0 + $ns{pid}, 0x20000000);

# Pipes of our own: the driver's must not be the program's, which could fill or keep them after its end.
pipe(my $out_r, my $out_w) or refuse('pipe');
pipe(my $err_r, my $err_w) or refuse('pipe');
# ... and opening it again asks for the right to the pipe, which belongs to whoever made it.
chown(0 + $one{owner}, 0 + $one{owner}, $out_w, $err_w) == 2 or refuse('pipe') if $one{privileged} eq '1';

my $child = fork;
refuse('fork') unless defined $child;
if ($child == 0) {
    must('pdeathsig', 'prctl', PR_SET_PDEATHSIG, 9, 0, 0, 0);
    must('dumpable', 'prctl', PR_SET_DUMPABLE, 0, 0, 0, 0);
    for my $file (@{ $many{cgroup} || [] }) {
        open(my $tasks, '>', $file) or refuse('cgroup');
        defined syswrite($tasks, '0') or refuse('cgroup');
        close $tasks;
    }
    if ($one{privileged} eq '1') { must('groups', 'setgroups', 0, 0) }
    must('setns-mnt', 'setns', 0 + $ns{mnt}, 0x00020000);
    must('setns-net', 'setns', 0 + $ns{net}, 0x40000000);
    must('setns-ipc', 'setns', 0 + $ns{ipc}, 0x08000000);
    must('setns-uts', 'setns', 0 + $ns{uts}, 0x04000000);
    must('setns-cgroup', 'setns', 0 + $ns{cgroup}, 0x02000000) if defined $ns{cgroup};
    must('setns-user', 'setns', 0 + $ns{user}, 0x10000000);

    for (@{ $many{rlimit} || [] }) {
        my ($resource, $limit) = split / /;
        my $now = pack('QQ', 0, 0);
        must('rlimit', 'prlimit64', 0, 0 + $resource, 0, $now);
        # What the host was given less of is not ours to raise here; less is as good.
        my (undef, $most) = unpack('QQ', $now);
        $limit = $most if $most < $limit;
        must('rlimit', 'prlimit64', 0, 0 + $resource, pack('QQ', $limit, $limit), 0);
    }
    # Capabilities of the inner user namespace: all of them, until here.
    for my $cap (0 .. 63) {
        last if call('prctl', PR_CAPBSET_DROP, $cap, 0, 0, 0) == -1 && $! == 22;
    }
    my ($uid, $gid) = (0 + $one{uid}, 0 + $one{gid});
    must('setresgid', 'setresgid', $gid, $gid, $gid);
    must('setresuid', 'setresuid', $uid, $uid, $uid);
    must('ambient', 'prctl', PR_CAP_AMBIENT, 4, 0, 0, 0);
    must('capset', 'capset', pack('Ll', 0x20080522, 0), pack('L6', 0, 0, 0, 0, 0, 0));
    must('no-new-privs', 'prctl', PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    must('setsid', 'setsid');
    # Changing ids cleared it. Without it a command would outlive an entry that was killed.
    must('pdeathsig', 'prctl', PR_SET_PDEATHSIG, 9, 0, 0, 0);
    # Killed in between: the entry is outside this pid namespace, so any parent that can be seen is another one.
    exit 125 if getppid() != 0;
    my $filter = pack('H*', $one{filter});
    my $program = pack('S x6 J', length($filter) / 8, unpack('J', pack('P', $filter)));
    must('seccomp', 'prctl', PR_SET_SECCOMP, 2, $program, 0, 0);

    umask 022;
    if ($one{input} eq 'file') { receive_input() }
    if ($one{input} ne 'pass') {
        open(my $null, '<', '/dev/null') or refuse('null');
        must('stdin', 'dup3', fileno($null), 0, 0) if fileno($null) != 0;
    }
    must('stdout', 'dup3', fileno($out_w), 1, 0);
    must('stderr', 'dup3', fileno($err_w), 2, 0);
    chdir $one{cwd} or refuse('cwd');
    # 4 stays until exec so that its failure can be told; everything else from 3 on closes with exec.
    must('descriptors', 'close_range', 3, 0xffffffff, 4); # CLOSE_RANGE_CLOEXEC
    $SIG{$_} = 'DEFAULT' for qw(PIPE CHLD INT TERM HUP);
    %ENV = map { split /=/, $_, 2 } @{ $many{env} || [] };
    my @argv = @{ $many{arg} };
    tell_driver("S\n");
    exec { $argv[0] } @argv or refuse('exec');
}

# The host side: carry output, wait for the command alone, and leave. Background processes keep the
# session, not us: one that still holds the pipe must not hold the reply, and one host process per
# abandoned command would let a session grow outside its limits.
close $out_w;
close $err_w;
@ns_handles = ();
open(STDIN, '<', '/dev/null');
$SIG{PIPE} = 'IGNORE';
my ($wait, $quiet) = (undef, 0);
pipe(my $died_r, my $died_w);
$SIG{CHLD} = sub { syswrite($died_w, 'x') };
my %to = (fileno($out_r) => [$out_r, 1], fileno($err_r) => [$err_r, 2]);
while (1) {
    if (!defined $wait && waitpid($child, 1) == $child) { $wait = $? }
    my $set = '';
    vec($set, $_, 1) = 1 for keys %to;
    vec($set, fileno($died_r), 1) = 1 unless defined $wait;
    last if defined $wait && !keys %to;
    # After the command ended only what already is in the pipes is taken.
    my $ready = select(my $hot = $set, undef, undef, defined $wait ? 0 : undef);
    last if $ready == 0 && defined $wait;
    next if $ready < 0;
    sysread($died_r, my $drop, 64) if vec($hot, fileno($died_r), 1);
    for my $fd (keys %to) {
        next unless vec($hot, $fd, 1);
        my $got = sysread($to{$fd}[0], my $bytes, 65536);
        if (!$got) { delete $to{$fd}; next }
        my $at = 0;
        while ($at < $got) {
            my $sent = syscall_write($to{$fd}[1], $bytes, $at);
            last unless defined $sent;
            $at += $sent;
        }
        # A background writer that never pauses would keep us here for ever.
        if (defined $wait) { $quiet += $got; delete $to{$fd} if $quiet > 1 << 20 }
    }
}
tell_driver("X $wait\n");
exit 0;

sub syscall_write {
    my ($fd, undef, $at) = @_;
    my $handle = $fd == 1 ? \*STDOUT : \*STDERR;
    while (1) {
        my $sent = syswrite($handle, $_[1], length($_[1]) - $at, $at);
        return $sent if defined $sent;
        next if $! == 4;
        if ($! == 11) { my $w = ''; vec($w, $fd, 1) = 1; select(undef, $w, undef, undef); next }
        return undef;
    }
}

# With the session's own rights (E): a session that replaced the folder by a link to somewhere else
# only writes its own input into its own files.
sub receive_input {
    my $folder = '/run/casemate/input';
    my $partial = "$folder/.data.$$";
    # O_WRONLY | O_CREAT | O_EXCL | O_TRUNC; the same on both machines.
    sysopen(my $file, $partial, 01 | 0100 | 0200, 0644) or refuse('input-open');
    while (1) {
        my $got = sysread(STDIN, my $bytes, 65536);
        refuse('input-read') unless defined $got;
        last if $got == 0;
        my $at = 0;
        while ($at < $got) {
            my $put = syswrite($file, $bytes, $got - $at, $at);
            if (!defined $put) { my $why = $! + 0; unlink $partial; $! = $why; refuse('input-write') }
            $at += $put;
        }
    }
    close $file or refuse('input-write');
    rename $partial, "$folder/data" or refuse('input-rename');
}
