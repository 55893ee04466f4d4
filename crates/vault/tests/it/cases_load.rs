//! P2, P39, P43: a box that takes all it can get, and what the others feel of it.

use crate::cases_world::*;
use crate::kit::{agent, soon};
use nanoclaw_vault::Grant;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

/// Processor time that the vault has used so far.
async fn worked(world: &World) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", world.pid().await)).unwrap();
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap().split(' ').filter_map(|n| n.parse().ok()).collect();
    // user and system time, in hundredths of a second; before them nine numbers and the state.
    Duration::from_millis((fields[10] + fields[11]) * 10)
}

async fn sessions(world: &World, n: usize) -> Vec<Grant> {
    let mut all = Vec::new();
    for at in 0..n {
        let (name, agent) = (format!("many-{at}"), agent("agent-1"));
        all.push(soon(world.supervisor.open(&name, &agent)).await.unwrap());
    }
    all
}

#[tokio::test]
async fn p02_hundreds_of_wrong_tokens_cost_nobody_else() {
    let world = Arc::new(World::open().await);
    world.serves_others().await;
    let (before, began) = (worked(&world).await, Instant::now());
    let mut guesses = JoinSet::new();
    for n in 0..400 {
        let world = Arc::clone(&world);
        guesses.spawn(async move {
            let wrong = format!("proxy-authorization: Bearer nv1_{n}\r\n");
            world.tunnel(&world.grant, &world.place(GOOD), &wrong).await.0.status
        });
    }
    world.serves_others().await;
    while let Some(status) = guesses.join_next().await {
        assert_eq!(status.unwrap(), 407);
    }
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
    let worked = worked(&world).await - before;
    assert!(worked < Duration::from_secs(2), "{worked:?}");
    assert_eq!(world.server.seen().iter().filter(|got| !got.text().contains("/other")).count(), 0);
    Arc::into_inner(world).unwrap().end().await;
}

#[tokio::test]
async fn p39_a_gib_may_be_sent_and_a_head_must_end() {
    let world = World::open().await;
    let mut tls = world.inside(GOOD).await;
    let head = world.head(GOOD, "PUT /big", &format!("content-length: {}\r\n", 1_u64 << 30));
    tls.write_all(&head).await.unwrap();
    tls.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    // It is on its way, and whoever waits for its end waits in vain.
    let reached = async {
        while world.server.connections() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(reached).await;
    drop(tls);
    let mut slow = world.inside(GOOD).await;
    let began = Instant::now();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: good").await.unwrap();
    world.hear(&mut slow).await.is(408, "head_timeout");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(15), "{took:?}");
    assert_eq!(world.server.seen().len(), 0);
    world.end().await;
}

#[tokio::test]
async fn p43_three_thousand_leaves_are_not_kept() {
    let world = Arc::new(World::open().await);
    let grants = Arc::new(sessions(&world, 8).await);
    let names: String = (0..3000).map(|n| format!("h{n}.test 1.1.1.1\n")).collect();
    let now = std::fs::read_to_string(world.names()).unwrap();
    std::fs::write(world.names(), now + &names).unwrap();
    let mut memory = Vec::new();
    for half in 0..2 {
        let mut boxes = JoinSet::new();
        for at in 0..8 {
            let (world, grants) = (Arc::clone(&world), Arc::clone(&grants));
            boxes.spawn(async move {
                for n in (half * 1500..(half + 1) * 1500).filter(|n| n % 8 == at) {
                    let (grant, host) = (&grants[at], format!("h{n}.test"));
                    let login = World::login(grant);
                    let (answer, stream) =
                        world.tunnel(grant, &format!("{host}:443"), &login).await;
                    assert_eq!(answer.status, 200, "{host}: {}", answer.text);
                    world.tls(stream, Some(&host)).await.unwrap();
                }
            });
        }
        while let Some(done) = boxes.join_next().await {
            done.unwrap();
        }
        memory.push(world.memory().await);
    }
    assert!(memory[1] < memory[0] + (6 << 10), "it grows with every host: {memory:?} KiB");
    world.serves_others().await;
    assert_eq!(world.server.seen().len(), 1);
    Arc::into_inner(world).unwrap().end().await;
}

#[tokio::test]
async fn p43_a_thousand_idle_tunnels_and_five_hundred_slow_heads_harm_nobody() {
    let world = World::open().await;
    world.serves_others().await;
    let before = world.memory().await;
    let grants = sessions(&world, 15).await;
    let mut idle = Vec::new();
    for (at, grant) in grants.iter().enumerate() {
        for _ in 0..100 {
            if at < 10 {
                idle.push(world.tunnel(grant, &world.place(GOOD), &World::login(grant)).await.1);
            } else {
                let mut slow = soon(crate::kit::connect(&grant.dir)).await.unwrap();
                slow.write_all(b"CONNECT good.test:443 HTTP/1.1\r\nho").await.unwrap();
                idle.push(slow);
            }
        }
    }
    world.serves_others().await;
    let after = world.memory().await;
    assert!(after < before + (60 << 10), "{before} KiB grew to {after}");
    drop(idle);
    world.end().await;
}
