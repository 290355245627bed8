#!/usr/bin/perl -T
# What the key of pvebot may run on this node, and nothing else. Made by
# `bot gate`; a new version of the bot may need a new one.
#
# As a forced command it reads what the client asked for, takes it apart into
# words the way the bot quotes them, and runs it without a shell if it is on the
# list below. Anything else is refused with exit status 126.
use strict;
use warnings;

sub refuse {
    my ($why, $asked) = @_;
    $asked =~ s/[^ -~]/?/g;
    $asked = substr($asked, 0, 200) . '...' if length $asked > 200;
    print STDERR "pvebot-gate: $why: $asked\n";
    exit 126;
}

# words takes a line apart that is quoted as the bot does it: each word in
# single quotes, one blank between two. Any other line has no words.
sub words {
    my $line = $_[0] . ' ';
    my @words;
    while ($line =~ /\G'([^']*+(?:'\\''[^']*+)*+)' /gc) {
        (my $word = $1) =~ s/'\\''/'/g;
        push @words, $word;
    }
    return (pos($line) // 0) == length $line ? @words : ();
}

# listed tells whether a list has a command. A task on the node is a command
# that has another one as a word, which must be on the list of tasks.
sub listed {
    my ($list, @words) = @_;
    my $joined = join '', map { "\0$_" } @words;
    for my $pattern (@$list) {
        next unless $joined =~ $pattern;
        return 1 unless defined(my $task = $+{task});
        our @tasks;
        my @inner = words($task);
        return @inner && listed(\@tasks, @inner);
    }
    return 0;
}
