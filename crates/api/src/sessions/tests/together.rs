//! Many writers at once, some of whom give up in the middle: what was acknowledged is there, and in its owner's list.

use std::cell::Cell;

use super::*;

const KEYS: u64 = 4;
const OWNERS: u64 = 3;

fn name(prefix: &str, count: u64) -> String {
    format!("{prefix}{}", bowline_rt::random::below(count))
}

/// A random change of a random session.
fn change() -> Ask {
    let (target, owner) = (one(&name("k", KEYS)), name("o", OWNERS));
    match bowline_rt::random::below(8) {
        0 | 1 => put(format!("{target}?owner={owner}"), "1"),
        2 => put(format!("{target}?owner={owner}&absolute=1h"), "2").header("if-none-match", "*"),
        3 => put(target, "3"),
        4 => put(format!("{target}?keep=true&absolute=2h"), "4"),
        5 => ask("PATCH", format!("{target}?owner={owner}")),
        6 => ask("PATCH", format!("{target}?ttl=5m")),
        _ => ask("DELETE", target),
    }
}

/// Lists an owner and says what is in it.
async fn listed(world: &World, owner: &str) -> Vec<String> {
    let page = world.ask(get(format!("/v1/user-sessions?owner={owner}"))).await.expect(200, "").json();
    let sessions = page["sessions"].as_array().expect("a list").iter();
    sessions.map(|session| session["key"].as_str().expect("a key").to_owned()).collect()
}

#[tokio::test]
async fn what_is_there_is_listed_whoever_changed_what_meanwhile() {
    let world = World::start().await;
    let (done, cancelled) = (Cell::new(0_u32), Cell::new(0_u32));
    for _ in 0..12 {
        let writers = (0..8).map(async |writer| {
            for _ in 0..6 {
                // A few of them give up: between two steps, or while one is under way.
                let patience = Duration::from_micros(bowline_rt::random::below(6_000));
                let patience = if writer < 3 { patience } else { BOUND };
                match timeout(patience, world.ask(change())).await {
                    Ok(answer) => {
                        assert!(
                            [200, 201, 204, 404, 409, 412].contains(&answer.status.as_u16()),
                            "{answer:?}"
                        );
                        done.set(done.get() + 1);
                    }
                    Err(_) => cancelled.set(cancelled.get() + 1),
                }
            }
        });
        let listings = async {
            for _ in 0..6 {
                listed(&world, &name("o", OWNERS)).await;
            }
        };
        tokio::join!(futures_util::future::join_all(writers), listings);
        check(&world).await;
    }
    assert!(done.get() > 100 && cancelled.get() > 10, "{} done, {} given up", done.get(), cancelled.get());
}

/// The removal of one session and the birth of the next one meet: its entry is not that of the one before.
#[tokio::test]
async fn a_removal_does_not_hide_the_next_session() {
    let world = World::start().await;
    for _ in 0..30 {
        let write = || world.ask(put(one("k") + "?owner=o", "1"));
        write().await;
        let (removed, written) = tokio::join!(world.ask(ask("DELETE", one("k"))), write());
        assert_eq!((removed.status.as_u16(), written.status.is_success()), (204, true));
        let there = world.ask(get(one("k"))).await.status == 200;
        assert_eq!(listed(&world, "o").await.len(), usize::from(there));
    }
}

/// The same for a session that leaves its owner while another write gives it back.
#[tokio::test]
async fn a_session_that_came_back_is_listed() {
    let world = World::start().await;
    for _ in 0..30 {
        world.ask(put(one("k") + "?owner=o", "1")).await;
        let leave = world.ask(put(one("k") + "?owner=p", "1"));
        let stay = world.ask(put(one("k") + "?owner=o", "2"));
        tokio::join!(leave, stay);
        check_one(&world).await;
    }
}

/// Whoever has the session `k` lists it.
async fn check_one(world: &World) {
    let look = world.ask(ask("HEAD", one("k"))).await;
    let owner = look.header("bowline-session-owner");
    assert_eq!(listed(world, owner).await, ["k"], "{owner}");
}

/// Everything is quiet, but for what was given up: the lists and the sessions say the same.
async fn check(world: &World) {
    until("the lists and the sessions say the same", async || {
        let mut by_owner = vec![Vec::new(); usize::try_from(OWNERS).expect("a few")];
        for key in 0..KEYS {
            let key = format!("k{key}");
            let look = world.ask(ask("HEAD", one(&key))).await;
            if let Some(owner) = look.header("bowline-session-owner").strip_prefix('o') {
                by_owner[owner.parse::<usize>().expect("a number")].push(key);
            }
        }
        for (owner, expected) in by_owner.iter().enumerate() {
            if &listed(world, &format!("o{owner}")).await != expected {
                return None;
            }
        }
        Some(())
    })
    .await;
}
