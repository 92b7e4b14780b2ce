# SPDX-License-Identifier: Apache-2.0
#
# Starts programs for the driver. A fork copies the page tables of whoever forks: milliseconds of a
# stopped event loop in a grown host, a third of one in this small process. Resident, two for each
# driver, each of which knows how to start one thing:
#
#   machine  puts itself into the machine's cgroups, becomes the machine's uid, and runs bubblewrap
#   entry    becomes the entry program, with five pipes that the driver opens through our /proc/<pid>/fd
#
# The one for entries was given the program's path and has compiled it, so that an entry is a fork and
# not a start of perl (6 ms of a processor). Two, because a fork is a copy of the memory: an entry,
# which goes into a session, must not hold what was said about other machines.
#
# What stays true:
#  A. What we started dies with us, and we die with the driver (PR_SET_PDEATHSIG, and the end of input).
#  B. A pid is signalled only here, and only before we have waited for it: it cannot be another's yet.
#  C. Nothing of ours is inherited: a started program gets the descriptors named for it and no other.
#  D. cgroups are joined by a thread for itself ("0"), before there is anything to move. Moving another
#     process makes the kernel wait until every processor has seen it: 2 ms and more for each hierarchy.
#
# Asked on descriptor 0: a decimal length, LF, and that many bytes of fields ended by NUL each.
#   machine id uid filter canary cgroup-files argument…   (uid may be empty, cgroup files are joined by LF)
#   entry id
#   taken id             the driver has opened the pipes of an entry
#   kill id
# Answers on descriptor 1, a line each:
#   pid id N             bubblewrap's first process
#   up id                which said its first byte
#   pipes id N N N N N   numbers of our ends: input, output, errors, configuration, status
#   end id status text   ended; text is what it complained of, in hex
use strict;
no warnings;

my ($calls, $driver, $core, $program) = @ARGV;
my $self = $$;
my %nr = map { split /=/ } split / /, $calls;
use constant { PR_SET_PDEATHSIG => 1, F_DUPFD => 0 };
sub call { my $name = shift; return syscall($nr{$name}, @_) }

call('prctl', PR_SET_PDEATHSIG, 9, 0, 0, 0) == 0 or exit 125;
exit 0 if getppid() != $driver;
# What is started here inherits it, the first process of a machine too. What we were given less of may not
# be ours to raise, and is as good.
my $limits = pack('QQ', $core, $core);
if (call('prlimit64', 0, 4, $limits, 0) != 0) {
    call('prlimit64', 0, 4, 0, $limits) == 0 or exit 125;
    my (undef, $most) = unpack('QQ', $limits);
    $limits = pack('QQ', $most, $most);
    call('prlimit64', 0, 4, $limits, 0) == 0 or exit 125;
}
$SIG{PIPE} = 'IGNORE';
pipe(my $died_r, my $died_w) or exit 125;
$SIG{CHLD} = sub { syswrite($died_w, 'x') };
open(my $null, '+<', '/dev/null') or exit 125;

# As a named sub: the program's own subs then keep the variables of its first and only run.
if (defined $program) {
    open(my $in, '<', $program) or exit 125;
    my $text = do { local $/; <$in> };
    close $in;
    eval "package Entry; sub become {\n#line 1 \"$program\"\n$text\n}\n1" or do { print STDERR $@; exit 125 };
}

my (%pid_of, %id_of, %kept, %complaint);
my %heard;    # fileno => [handle, id, kind]
my $asked = '';
$heard{0} = [\*STDIN, '', 'ask'];
$heard{ fileno $died_r } = [$died_r, '', 'died'];

# bubblewrap tells the pid before the first process can speak. Requests open descriptors whose numbers
# may be those of pipes that were closed in the same round, so they come after all pipes; the dead come
# last, because what they said before is in their pipes by then.
my %turn = (info => 0, complaint => 1, up => 2, ask => 3, died => 4);

while (1) {
    my $set = '';
    vec($set, $_, 1) = 1 for keys %heard;
    my $ready = select(my $hot = $set, undef, undef, undef);
    next if $ready < 0;
    for my $fd (sort { $turn{ $heard{$a}[2] } <=> $turn{ $heard{$b}[2] } } keys %heard) {
        my ($handle, $id, $kind) = @{ $heard{$fd} || next };
        next unless vec($hot, $fd, 1);
        my $got = sysread($handle, my $bytes, 65536);
        next if !defined $got && $! == 4;
        if ($kind eq 'ask') { exit 0 unless $got; $asked .= $bytes; take_requests() }
        elsif ($kind eq 'died') { reap() }
        elsif (!$got) { delete $heard{$fd} }
        elsif ($kind eq 'complaint') { $complaint{$id} .= $bytes if length $complaint{$id} < 2000 }
        elsif ($kind eq 'up') { answer("up $id"); quiet($id) }
        elsif ($kind eq 'info') {
            $kept{$id}{said} .= $bytes;
            # Open until the first process stands: bubblewrap goes on to write, and would die of a closed pipe.
            answer("pid $id $1") if $kept{$id}{said} =~ /"child-pid":\s*(\d+)/ && !$kept{$id}{told}++;
        }
    }
}

sub answer {
    my $line = "$_[0]\n";
    my $at = 0;
    while ($at < length $line) {
        my $sent = syswrite(STDOUT, $line, length($line) - $at, $at);
        next if !defined $sent && $! == 4;
        if (!defined $sent && $! == 11) { my $w = ''; vec($w, 1, 1) = 1; select(undef, $w, undef, undef); next }
        exit 0 unless defined $sent;
        $at += $sent;
    }
}

sub take_requests {
    while ($asked =~ /\A(\d+)\n/) {
        my ($head, $length) = ($+[0], $1);
        return if length($asked) < $head + $length;
        my ($kind, $id, @fields) = split /\0/, substr($asked, $head, $length), -1;
        pop @fields;    # what follows the last NUL
        substr($asked, 0, $head + $length) = '';
        if ($kind eq 'machine') { start_machine($id, @fields) }
        elsif ($kind eq 'entry') { start_entry($id, @fields) }
        elsif ($kind eq 'taken') { delete $kept{$id} }
        elsif ($kind eq 'kill') { kill 9, $pid_of{$id} if $pid_of{$id} }
    }
}

# B: until here the number is the child's, dead or alive.
sub reap {
    while ((my $pid = waitpid(-1, 1)) > 0) {
        my $status = $?;
        my $id = delete $id_of{$pid};
        next unless defined $id;
        delete $pid_of{$id};
        for my $fd (keys %heard) {
            my ($handle, $whose, $kind) = @{ $heard{$fd} };
            next if $whose ne $id;
            my $set = '';
            vec($set, $fd, 1) = 1;
            if ($kind eq 'complaint' && select($set, undef, undef, 0) > 0) {
                sysread($handle, my $bytes, 2000);
                $complaint{$id} .= $bytes;
            }
            delete $heard{$fd};
        }
        my $text = unpack 'H*', substr(delete($complaint{$id}) // '', 0, 2000);
        delete $kept{$id};
        answer("end $id $status $text");
    }
}

# Once the first process stands nothing more is expected of its pipes; kept, they would be three
# descriptors for each machine.
sub quiet {
    my $id = shift;
    for (keys %heard) { delete $heard{$_} if $heard{$_}[1] eq $id }
    delete $kept{$id};
    delete $complaint{$id};
}

sub failed {
    my ($id, $stage) = @_;
    quiet($id);
    answer("end $id 32000 " . unpack('H*', "$stage: $!"));
}

# In the child: gives it its descriptors and closes every other (C). Moved out of the way first, since
# one may stand where another belongs.
sub arrange {
    my @high = map { 0 + (fcntl($_, F_DUPFD, 100) || die "dup: $!\n") } @_;
    for my $fd (0 .. $#high) { call('dup3', $high[$fd], $fd, 0) == $fd or die "dup: $!\n" }
    call('close_range', scalar @high, 0xffffffff, 0) == 0 or die "close: $!\n";
}

sub start_machine {
    my ($id, $uid, $filter, $canary, $groups, @args) = @_;
    pipe(my $out_r, my $out_w) && pipe(my $err_r, my $err_w) && pipe(my $info_r, my $info_w)
        && pipe(my $canary_r, my $canary_w) or return failed($id, 'pipe');
    # A pipe holds far more than these 64 bytes, so this does not wait for a reader.
    syswrite($canary_w, $canary);
    close $canary_w;
    # Opened for each: readers share an offset.
    open(my $bpf, '<', $filter) or return failed($id, 'filter');
    my $pid = fork;
    return failed($id, 'fork') unless defined $pid;
    if ($pid == 0) {
        eval {
            for my $file (split /\n/, $groups) {
                open(my $tasks, '>', $file) or die "$file: $!\n";
                defined syswrite($tasks, '0') or die "$file: $!\n";
            }
            if ($uid ne '') {
                my $own = 0 + $uid;
                call('setgroups', 0, 0) == 0 or die "setgroups: $!\n";
                call('setresgid', $own, $own, $own) == 0 or die "setresgid: $!\n";
                call('setresuid', $own, $own, $own) == 0 or die "setresuid: $!\n";
            }
            become_mortal();
            arrange($null, $out_w, $err_w, $bpf, $info_w, $canary_r);
            chdir '/';
            %ENV = (PATH => '/usr/bin:/bin');
            exec { '/usr/bin/bwrap' } 'bwrap', @args or die "bwrap: $!\n";
        };
        complain($err_w, $@);
    }
    $pid_of{$id} = $pid;
    $id_of{$pid} = $id;
    $kept{$id} = { said => '' };
    $heard{ fileno $out_r } = [$out_r, $id, 'up'];
    $heard{ fileno $err_r } = [$err_r, $id, 'complaint'];
    $heard{ fileno $info_r } = [$info_r, $id, 'info'];
}

sub start_entry {
    my ($id) = @_;
    my (@ours, @theirs);
    for my $fd (0 .. 4) {
        pipe(my $r, my $w) or return failed($id, 'pipe');
        my $in = $fd == 0 || $fd == 3;
        push @ours, $in ? $w : $r;
        push @theirs, $in ? $r : $w;
    }
    my $pid = fork;
    return failed($id, 'fork') unless defined $pid;
    if ($pid == 0) {
        eval {
            become_mortal();
            arrange(@theirs);
            chdir '/';
            %ENV = ();
            $0 = 'casemate-entry';
            Entry::become();
        };
        # The pipe of its errors is its standard error by now, and closed under its old number.
        complain(\*STDERR, $@ || "the entry returned\n");
    }
    $pid_of{$id} = $pid;
    $id_of{$pid} = $id;
    $kept{$id} = { ours => \@ours };
    answer("pipes $id " . join ' ', map { fileno $_ } @ours);
}

# A. Changing ids clears it, so it is set after that; and a parent that died before it was set sends nothing.
sub become_mortal {
    call('prctl', PR_SET_PDEATHSIG, 9, 0, 0, 0) == 0 or die "pdeathsig: $!\n";
    die "orphaned\n" if getppid() != $self;
    $SIG{$_} = 'DEFAULT' for qw(PIPE CHLD);
}

# To the pipe of complaints, which `arrange` makes the standard error.
sub complain {
    my ($handle, $text) = @_;
    syswrite($handle, $text) // syswrite(STDERR, $text);
    kill 9, $$;
    sleep 1 while 1;
}
