//! S2–S5: names that point to where nobody may go.

use crate::cases_world::*;

async fn tunnel(world: &World, to: &str) -> Answer {
    world.tunnel(&world.grant, to, &World::login(&world.grant)).await.0
}

fn name(world: &World, line: &str) {
    let now = std::fs::read_to_string(world.names()).unwrap();
    std::fs::write(world.names(), format!("{line}\n{now}")).unwrap();
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
        name(&world, &format!("n{at}.test {ips}"));
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
    // It points to machinery from now on: neither this tunnel nor another one goes there.
    name(&world, &format!("{GOOD} 169.254.169.254"));
    let answer = world.say(&mut tls, &world.head(GOOD, "GET /2", "")).await;
    assert!(matches!(answer.status, 200 | 403), "{}", answer.text);
    assert!(matches!(tunnel(&world, &world.place(GOOD)).await.status, 200 | 403));
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
    name(&world, "same.test 127.0.0.1");
    tunnel(&world, &world.place("same.test")).await.is(403, "address_not_allowed");
    tunnel(&world, &format!("{GOOD}:443")).await.is(403, "address_not_allowed");
    assert_eq!(tunnel(&world, &world.place(GOOD)).await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn s4_a_name_of_the_network_that_is_declared() {
    let policy = "mode = \"open\"\n[[allow_private]]\nhost = \"nas.local\"\ncidr = \"127.0.0.1/32\"\nport = PORT";
    let world = World::with(policy).await;
    name(&world, "nas.local 127.0.0.1\nother.local 127.0.0.1");
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
    // What the list does not have is not even looked up.
    let shut = World::with("mode = \"allowlist\"").await;
    tunnel(&shut, "data.in.a.name.test:443").await.is(403, "blocked_by_policy");
    shut.end().await;
    world.end().await;
}
