
my $asked = $ENV{SSH_ORIGINAL_COMMAND} // '';
refuse('this key opens no shell', '') if $asked eq '';
my $marked = $asked =~ s/\Aecho (pvebot-begins); exec // && $1;
my @command = words($asked);
refuse('not quoted as the bot does it', $asked) unless @command;
refuse('not a command of the bot', $asked) unless listed(\@commands, @command);

# What a client may have set through sshd, and what shells listen to.
delete @ENV{grep { /\A(?:LC_|LANG|PERL|SSH_ORIGINAL)|\A(?:IFS|CDPATH|ENV|BASH_ENV)\z/ } keys %ENV};
@command = map { /\A(.*)\z/s } @command;
($ENV{PATH}) = $ENV{PATH} =~ /\A(.*)\z/s if defined $ENV{PATH};
syswrite STDOUT, "$marked\n" if $marked;
exec { $command[0] } @command or refuse("can't be run ($!)", $command[0]);
