//! S2–S5: names that point to where nobody may go.

use crate::cases_world::*;

async fn tunnel(world: &World, to: &str) -> Answer {
    world.tunnel(&world.grant, to, &World::login(&world.grant)).await.0
}

#[tokio::test]
async fn s2_one_bad_address_condemns_a_name() {
    let world = World::open().await;
    for (at, ips) in [
        "10.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "1.1.1.1 10.0.0.1",
        "1.1.1.1 ::1",
        "2606:4700::1111 fd00::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "0.0.0.0",
        "::",
    ]
    .into_iter()
    .enumerate()
    {
        world.name(&format!("n{at}.test {ips}"));
        tunnel(&world, &format!("n{at}.test:443")).await.is(403, "address_not_allowed");
    }
    assert_eq!(world.server.connections(), 0);
    world.end().await;
}

#[tokio::test]
async fn s2_what_was_checked_is_what_is_dialled() {
    let world = World::open().await;
    let mut tls = world.inside(GOOD).await;
    assert_eq!(world.say(&mut tls, &world.head(GOOD, "GET /1", "")).await.status, 200);
    // It points to machinery from now on: neither this tunnel nor another one goes there, now or later.
    world.name(&format!("{GOOD} 169.254.169.254"));
    for n in 0..20 {
        let answer = world.say(&mut tls, &world.head(GOOD, &format!("GET /{n}"), "")).await;
        assert!(matches!(answer.status, 200 | 403), "{}", answer.text);
        assert!(matches!(tunnel(&world, &world.place(GOOD)).await.status, 200 | 403));
    }
    world.end().await;
}

#[tokio::test]
async fn s2_a_name_that_changes_with_every_question_is_never_dialled_unchecked() {
    let world = World::open().await;
    // A listener where a rebinding name would lead: nobody may come.
    let trap = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = trap.local_addr().unwrap().port();
    let login = World::login(&world.grant);
    for n in 0..30 {
        let host = format!("flip{n}.test");
        world.name(&format!("{host} 1.1.1.1"));
        let (first, stream) = world.tunnel(&world.grant, &format!("{host}:443"), &login).await;
        assert_eq!(first.status, 200, "{}", first.text);
        // Between the check and the dial it turns round.
        world.name(&format!("{host} 127.0.0.2"));
        let answer = tunnel(&world, &format!("{host}:{port}")).await;
        assert_eq!(answer.status, 403, "{}", answer.text);
        drop(stream);
    }
    // As a chain of names would come out, and with different answers for both kinds of addresses.
    for ips in ["127.0.0.2", "1.1.1.1 127.0.0.2", "2606:4700::1111 127.0.0.2", "::ffff:7f00:2"] {
        world.name(&format!("cname.test {ips}"));
        world.name(&format!("c{port}.test {ips}"));
        let answer = tunnel(&world, &format!("c{port}.test:443")).await;
        answer.is(403, "address_not_allowed");
    }
    let nobody = tokio::time::timeout(std::time::Duration::from_millis(200), trap.accept()).await;
    assert!(nobody.is_err(), "somebody came");
    world.end().await;
}

#[tokio::test]
async fn s3_this_machine_is_nobodys() {
    let world = World::open().await;
    for to in [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "localhost",
        "169.254.169.254",
        "metadata.google.internal",
        "host.docker.internal",
    ] {
        let answer = tunnel(&world, &format!("{to}:443")).await;
        answer.is(403, "address_not_allowed");
    }
    let routes = std::fs::read_to_string("/proc/net/fib_trie").unwrap();
    let mut last = "";
    for line in routes.lines() {
        let line = line.trim_start_matches([' ', '+', '|', '-']);
        if line.ends_with("host LOCAL") && !last.is_empty() {
            tunnel(&world, &format!("{last}:443")).await.is(403, "address_not_allowed");
        }
        last = if line.parse::<std::net::Ipv4Addr>().is_ok() { line } else { last };
    }
    world.end().await;
}

#[tokio::test]
async fn s4_only_the_declared_pair() {
    let world = World::with("mode = \"open\"\nports = [PORT]").await;
    world.name("same.test 127.0.0.1");
    tunnel(&world, &world.place("same.test")).await.is(403, "address_not_allowed");
    tunnel(&world, &format!("{GOOD}:443")).await.is(403, "address_not_allowed");
    assert_eq!(tunnel(&world, &world.place(GOOD)).await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn s4_a_name_of_the_network_that_is_declared() {
    let policy = "mode = \"open\"\n[[allow_private]]\nhost = \"nas.local\"\ncidr = \"127.0.0.1/32\"\nport = PORT";
    let world = World::with(policy).await;
    world.name("nas.local 127.0.0.1\nother.local 127.0.0.1");
    assert_eq!(tunnel(&world, &world.place("nas.local")).await.status, 200);
    tunnel(&world, &world.place("other.local")).await.is(403, "address_not_allowed");
    world.end().await;
}

#[tokio::test]
async fn s5_no_name_is_looked_up_before_the_owner_was_asked() {
    let world = World::with("mode = \"ask\"").await;
    // Nobody knows it, and nobody finds out: the request would wait for the owner.
    let answer = tunnel(&world, "data.in.a.name.test:443").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(world.server.connections(), 0);
    world.end().await;
}

#[tokio::test]
async fn s5_a_name_that_nobody_knows_is_an_answer() {
    let world = World::open().await;
    tunnel(&world, "nobody.test:443").await.is(502, "name_not_found");
    let long = format!("{}.test", ["a"; 120].join("."));
    tunnel(&world, &format!("{long}:443")).await.is(502, "name_not_found");
    world.notes("nobody.test").await;
    let data = format!("{}.test", ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join("."));
    tunnel(&world, &format!("{data}:443")).await.is(502, "name_not_found");
    for bad in [format!("{}.test", "a".repeat(64)), format!("{}.test", ["a"; 130].join("."))] {
        assert_eq!(tunnel(&world, &format!("{bad}:443")).await.status, 400, "{bad}");
    }
    // What the list does not have is not even looked up.
    let shut = World::with("mode = \"allowlist\"").await;
    tunnel(&shut, "data.in.a.name.test:443").await.is(403, "blocked_by_policy");
    shut.end().await;
    world.end().await;
}

#[tokio::test]
async fn s5_a_resolver_that_never_answers_is_an_answer_too() {
    let world = World::open().await;
    world.name("*.slow.test slow");
    let asked: Vec<_> = (0..24).map(|n| format!("n{n}.slow.test:443")).collect();
    let began = std::time::Instant::now();
    let waits = async {
        for to in &asked[..2] {
            tunnel(&world, to).await.is(502, "name_not_found");
        }
    };
    let (_, ()) = tokio::join!(waits, world.serves_others());
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
    // The file with the names is gone: no name is known, and nothing passes for it.
    std::fs::rename(world.names(), world.names().with_extension("gone")).unwrap();
    tunnel(&world, "new.test:443").await.is(502, "name_not_found");
    std::fs::rename(world.names().with_extension("gone"), world.names()).unwrap();
    world.serves_others().await;
    world.end().await;
}
