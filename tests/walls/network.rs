//! Ways out: to the host, to neighbours, to the Internet, by names, by another proxy.

use super::*;
use nanoclaw_driver::BoxSpec;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// `try NAME FAMILY ADDRESS` in Perl: connects, and says with which error it did not.
const TRY: &str = "use Socket; use Socket qw(inet_pton pack_sockaddr_in6); $| = 1; $SIG{ALRM} = sub {};
    sub try { my ($name, $ip, $port) = @_; my $six = $ip =~ /:/;
        socket(my $s, $six ? AF_INET6 : AF_INET, SOCK_STREAM, 0) or return print \"$name none\\n\";
        my $to = $six ? pack_sockaddr_in6($port, inet_pton(AF_INET6, $ip)) : sockaddr_in($port, inet_aton($ip));
        alarm 5; print \"$name \", (connect($s, $to) ? 'open' : $!+0), \"\\n\" }\n";

fn with_script(ground: &Ground, script: &str) -> BoxSpec {
    let spec = ground.spec("perl try >out");
    fs::write(workspace(&spec).join("try"), format!("{TRY}{script}")).unwrap();
    spec
}

/// Every local address, and every port that somebody listens on.
fn of_host() -> (Vec<String>, Vec<u16>) {
    let table = fs::read_to_string("/proc/net/fib_trie").unwrap();
    let (mut addresses, mut last) = (Vec::new(), "");
    for line in table.lines().map(str::trim) {
        match line.strip_prefix("|-- ") {
            Some(address) => last = address,
            None if line == "/32 host LOCAL" => addresses.push(last.to_owned()),
            None => {}
        }
    }
    let listening = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        (state == "0A").then(|| u16::from_str_radix(local.rsplit(':').next()?, 16).ok())?
    };
    let mut ports: Vec<_> = listening.lines().skip(1).filter_map(port).collect();
    addresses.sort();
    addresses.dedup();
    ports.sort_unstable();
    ports.dedup();
    (addresses, ports)
}

pub(crate) async fn i05_no_host_no_neighbour_no_internet(ground: &Ground) {
    let four = TcpListener::bind("0.0.0.0:0").unwrap();
    let six = TcpListener::bind("[::]:0").ok();
    let own = four.local_addr().unwrap().port();
    let abstract_name = format!("nanoclaw-walls-{}-{own}", std::process::id());
    let name = <SocketAddr as SocketAddrExt>::from_abstract_name(&abstract_name).unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();
    // A neighbour that listens on its own loopback and by a name without a file.
    let neighbour = ground.spec(
        "perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(Listen => 1, LocalAddr => \"0.0.0.0\", LocalPort => 4711) or die;
            open F, \">ready\"; close F; sleep 60'",
    );
    ground.driver.start(&neighbour).await.unwrap();
    nanoclaw_testkit::driver_conformance::appears(&workspace(&neighbour).join("ready")).await;
    let (addresses, mut ports) = of_host();
    assert!(ports.contains(&own), "the listener is not even seen");
    ports.truncate(200);
    let mut script = String::new();
    for address in addresses.iter().map(String::as_str).chain(["172.17.0.1"]) {
        for port in &ports {
            script.push_str(&format!("try('{address}:{port}', '{address}', {port});\n"));
        }
    }
    for (ip, port) in
        [("127.0.0.1", 4711), ("8.8.8.8", 443), ("1.1.1.1", 53), ("169.254.169.254", 80)]
    {
        script.push_str(&format!("try('{ip}:{port}', '{ip}', {port});\n"));
    }
    if let Some(six) = &six {
        let port = six.local_addr().unwrap().port();
        for ip in ["::1", "fe80::1", "fd00::1", "::ffff:172.17.0.1", "2606:4700:4700::1111"] {
            script.push_str(&format!("try('six-{ip}', '{ip}', {port});\n"));
        }
    }
    script.push_str(&format!(
        "for my $n (qw(host.docker.internal gateway.docker.internal metadata.google.internal)) {{
            print \"name-$n \", (gethostbyname($n) ? 'open' : 'none'), \"\\n\" }}
        socket(my $u, AF_UNIX, SOCK_STREAM, 0);
        print 'abstract ', (connect($u, pack('S a*', AF_UNIX, \"\\0{abstract_name}\")) ? 'open' : $!+0), \"\\n\";
        socket(my $p, AF_INET, SOCK_RAW, 1) ? print \"icmp open\\n\" : print \"icmp \", $!+0, \"\\n\";"
    ));
    let out = ground.ask(&with_script(ground, &script)).await;
    ground.driver.stop(&neighbour.name, Duration::ZERO).await.unwrap();
    assert!(out.len() > addresses.len(), "{out:?}");
    for (place, result) in out {
        // Refused by its own loopback; no network, no route, no address to go from; no such name; no right.
        let none = ["111", "101", "99", "113", "none", "1"].contains(&result.as_str());
        // An address of a link, and there is no link to name.
        let none = none || (place == "six-fe80::1" && result == "22");
        assert!(none, "{place}: {result}");
    }
}

pub(crate) async fn i06_no_question_leaves(ground: &Ground) {
    let resolver = UdpSocket::bind("0.0.0.0:0").unwrap();
    resolver.set_nonblocking(true).unwrap();
    let port = resolver.local_addr().unwrap().port();
    let (addresses, _) = of_host();
    let all = addresses.iter().map(String::as_str).chain(["8.8.8.8", "172.17.0.1", "127.0.0.11"]);
    let list: Vec<_> = all.collect();
    let script = format!(
        "socket(my $u, AF_INET, SOCK_DGRAM, 0);
        for my $ip (qw({})) {{ for my $port ({port}, 53) {{
            print \"$ip:$port \", (send($u, 'question', 0, sockaddr_in($port, inet_aton($ip))) ? 'sent' : $!+0), \"\\n\" }} }}
        print 'glibc ', (gethostbyname('x.attacker.example') ? 'found' : 'none'), \"\\n\";",
        list.join(" ")
    );
    let out = ground.ask(&with_script(ground, &script)).await;
    assert_eq!(out["glibc"], "none");
    assert_eq!(out[&format!("8.8.8.8:{port}")], "101");
    let mut buffer = [0; 64];
    let heard = resolver.recv_from(&mut buffer);
    assert!(heard.is_err(), "a question arrived: {heard:?}");
}

/// Its own client, with no word of a proxy in its environment.
pub(crate) async fn i07_without_the_proxy_there_is_nothing(ground: &Ground) {
    let server = TcpListener::bind("0.0.0.0:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    let script = format!(
        "delete @ENV{{grep /proxy/i, keys %ENV}};
        try(\"direct-$_\", $_, {port}) for qw({} 172.17.0.1);
        try('tls', '1.1.1.1', 443);",
        of_host().0.join(" ")
    );
    let mut spec = with_script(ground, &script);
    spec.env.insert("HTTPS_PROXY".into(), "http://127.0.0.1:3128".into());
    let out = ground.ask(&spec).await;
    for (place, result) in &out {
        assert!(["111", "101"].contains(&result.as_str()), "{place}: {result}");
    }
    assert!(server.accept().is_err(), "it reached the host");
}

/// Who sets the variables decides nothing: the attacker's proxy cannot be reached.
pub(crate) async fn i21_another_proxy_is_no_way_out(ground: &Ground) {
    let attacker = TcpListener::bind("0.0.0.0:0").unwrap();
    attacker.set_nonblocking(true).unwrap();
    let port = attacker.local_addr().unwrap().port();
    let mut address = of_host().0;
    address.retain(|ip| !ip.starts_with("127."));
    let address = address.first().cloned().unwrap_or_else(|| "127.0.0.1".into());
    let mut spec = ground.spec(
        "echo perl $(perl -MHTTP::Tiny -e 'print HTTP::Tiny->new(timeout => 5)->get(\"http://example.com/\")->{status}') >out
        if command -v curl >/dev/null; then curl -sm 5 http://example.com >/dev/null; echo curl $? >>out; fi; exit 0",
    );
    for key in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        spec.env.insert(key.into(), format!("http://{address}:{port}"));
    }
    let out = ground.ask(&spec).await;
    // What HTTP::Tiny says when nothing was reached.
    assert!(["599", ""].contains(&out["perl"].as_str()), "{out:?}");
    assert_ne!(out.get("curl").map(String::as_str), Some("0"), "{out:?}");
    assert!(attacker.accept().is_err(), "it reached another proxy");
}

/// A listener that answers every line with a word of its own.
fn serve(dir: &Path, word: &str) -> Arc<AtomicUsize> {
    let socket = dir.join("proxy.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    open(&socket);
    let (count, word) = (Arc::new(AtomicUsize::new(0)), word.to_owned());
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(stream.write_all(format!("word {word}\n").as_bytes()).await);
        }
    });
    count
}

const ASK: &str = "perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(\"/run/vault/proxy.sock\") or die $!; print <$s>' >out";

/// It breaks its own way out in every way it can; the way out of another works on.
pub(crate) async fn i17_only_itself_is_hurt(ground: &Ground) {
    let mut bad = ground.spec(
        "rm -rf /run/vault/* 2>/dev/null; mv /run/vault /run/v 2>/dev/null; rmdir /run/vault 2>/dev/null
        perl -MIO::Socket::UNIX -e 'for (1 .. 10_000) { push @all, IO::Socket::UNIX->new(\"/run/vault/proxy.sock\") || last } print scalar @all, \"\\n\"' >held
        [ -S /run/vault/proxy.sock ] && echo socket there >out
        (: >/run/vault/x) 2>/dev/null || echo folder closed >>out",
    );
    let dir = mount(&mut bad, "vault", "/run/vault", Access::ReadOnly);
    serve(&dir, "bad");
    let mut good = ground.spec(ASK);
    let other = mount(&mut good, "vault", "/run/vault", Access::ReadOnly);
    serve(&other, "good");
    let out = ground.ask(&bad).await;
    assert_eq!((out["socket"].as_str(), out["folder"].as_str()), ("there", "closed"));
    let held = fs::read_to_string(workspace(&bad).join("held")).unwrap();
    let held: usize = held.trim().parse().unwrap();
    assert!(held < 4096, "it held {held} connections, more than it may have files");
    assert_eq!(ground.ask(&good).await["word"], "good");
}

/// Each has its own socket and reaches no other's.
pub(crate) async fn i26_many_boxes_each_its_own_way_out(ground: &Ground) {
    let many = if ground.driver.name() == "docker" { 8 } else { 50 };
    let specs: Vec<_> = (0..many)
        .map(|n| {
            let mut spec = ground.spec(ASK);
            let dir = mount(&mut spec, "vault", "/run/vault", Access::ReadOnly);
            (serve(&dir, &format!("w{n}")), spec)
        })
        .collect();
    for (_, spec) in &specs {
        ground.driver.start(spec).await.unwrap();
    }
    for (n, (count, spec)) in specs.iter().enumerate() {
        ground.driver.wait(&spec.name).await.unwrap();
        let said = fs::read_to_string(workspace(spec).join("out")).unwrap();
        assert_eq!(said, format!("word w{n}\n"));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
