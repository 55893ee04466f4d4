# What a shell cannot try: calls by their numbers, the ports of the host, the socket of the vault.
use Socket;
$| = 1;
my ($arch, $port, @addresses) = @ARGV ? @ARGV : do { open my $f, '<', '/workspace/where'; split ' ', <$f> };
my %calls = $arch eq 'x86_64'
    ? (unshare => [272, 0x10000000], bpf => [321, 0, 0, 0], userfaultfd => [323, 0], keyctl => [250, 0, 0, 0, 0, 0],
       perf_event_open => [298, 0, 0, 0, 0, 0], ptrace => [101, 16, 1, 0, 0], mount => [165, 0, 0, 0, 0, 0])
    : (unshare => [97, 0x10000000], bpf => [280, 0, 0, 0], userfaultfd => [282, 0], keyctl => [219, 0, 0, 0, 0, 0],
       perf_event_open => [241, 0, 0, 0, 0, 0], ptrace => [117, 16, 1, 0, 0], mount => [40, 0, 0, 0, 0, 0]);
$calls{io_uring_setup} = [425, 1, 0];
for my $name (sort keys %calls) {
    my @call = @{$calls{$name}};
    my $done = syscall($call[0], @call[1 .. $#call]);
    # 1: not permitted, 38: no such call; anything else comes from behind the filter.
    print "call $name\n" unless $done == -1 && ($! + 0 == 1 || $! + 0 == 38);
}
for my $family (17, 38, 40) {
    print "call socket-$family\n" if socket(my $s, $family, 3, 0);
}
print "calls tried\n";
for my $address (@addresses, '127.0.0.1') {
    socket(my $s, AF_INET, SOCK_STREAM, 0);
    alarm 5;
    print "host $address\n" if connect($s, sockaddr_in($port, inet_aton($address)));
}
print "ports tried\n";
socket(my $s, AF_UNIX, SOCK_STREAM, 0);
print 'socket ', (connect($s, sockaddr_un('/run/vault/proxy.sock')) ? 'open' : "$!"), "\n";
