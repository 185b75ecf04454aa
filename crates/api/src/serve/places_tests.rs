//! Who makes room, and when.

use futures_util::FutureExt as _;

use super::*;

fn new_places(count: usize) -> Arc<Places> {
    Places::new(count, PortCounters::default())
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn taken(places: &Arc<Places>, from: &str) -> Arc<Place> {
    places.take(address(from)).now_or_never().expect("a place is free")
}

async fn pass(time: Duration) {
    bowline_rt::time::sleep(time).await;
}

/// Somebody comes: who has to go for it?
#[track_caller]
fn makes_room(places: &Arc<Places>, among: &[&Arc<Place>], expected: &[bool]) {
    let newcomer = places.take(address("192.0.2.99")).now_or_never();
    assert!(newcomer.is_none(), "no place was free");
    let gone: Vec<bool> = among.iter().map(|place| place.is_gone()).collect();
    assert_eq!(gone, expected);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_longest_goes_and_of_the_address_that_has_most() {
    let places = new_places(4);
    let first = taken(&places, "192.0.2.1");
    let [a, b, c] = [(); 3].map(|()| taken(&places, "192.0.2.2"));
    let all = [&first, &a, &b, &c];
    pass(HEAD_GRACE).await;
    makes_room(&places, &all, &[false, true, false, false]);
    // Its work takes it out of the queue, and then moves it to the end.
    let work = b.work().expect("it may stay");
    makes_room(&places, &all, &[false, true, false, true]);
    makes_room(&places, &all, &[true, true, false, true]);
    makes_room(&places, &all, &[true, true, false, true]);
    drop(work);
    makes_room(&places, &all, &[true, true, false, true]);
    assert!(b.has_written(9));
    makes_room(&places, &all, &[true, true, false, true]);
    pass(HEAD_GRACE).await;
    makes_room(&places, &all, &[true, true, true, true]);
    assert!(b.work().is_none(), "it has to make room");
    drop((first, a, b, c));
    assert!(lock(&places.taken).by_address.is_empty());
    assert_eq!(places.free.available_permits(), 4);
}

#[tokio::test(start_paused = true)]
async fn room_is_made_as_soon_as_somebody_has_waited_long_enough() {
    let places = new_places(1);
    let only = taken(&places, "192.0.2.1");
    let work = only.work().expect("it may stay");
    let mut next = Box::pin(places.take(address("192.0.2.2")));
    assert!(next.as_mut().now_or_never().is_none() && !only.is_gone(), "work is not interrupted");
    only.waits();
    let began = now();
    tokio::select! {
        _ = &mut next => panic!("the place is taken"),
        () = only.gone() => {}
    }
    assert!(now() - began >= HEAD_GRACE_OF_MOST && now() - began < HEAD_GRACE, "{:?}", now() - began);
    assert!(!only.goes_on(), "it is too late");
    assert!(only.work().is_none(), "for whatever else it asks, too");
    drop(work);
    drop(only);
    let next = next.now_or_never().expect("the place is free");
    assert!(next.work().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_lets_a_request_wait_makes_room_until_it_goes_on() {
    let places = new_places(2);
    let [a, b] = [(); 2].map(|()| taken(&places, "192.0.2.1"));
    let works = [a.work(), b.work()];
    a.waits();
    b.waits();
    assert!(a.goes_on());
    pass(HEAD_GRACE).await;
    makes_room(&places, &[&a, &b], &[false, true]);
    assert!(!a.has_written(9), "the work goes on");
    makes_room(&places, &[&a, &b], &[false, true]);
    drop(works);
    assert!(a.has_written(9));
    pass(HEAD_GRACE).await;
    makes_room(&places, &[&a, &b], &[true, true]);
}

/// All places but one are at work, so that whoever comes is the only one that waits: each has the time to say what it wants.
#[tokio::test(start_paused = true)]
async fn newcomers_to_a_busy_port_are_all_heard() {
    let places = new_places(8);
    let busy: Vec<_> = (1..8).map(|_| taken(&places, "192.0.2.1").work().expect("it may stay")).collect();
    for number in 0..100 {
        let newcomer = taken(&places, &format!("198.51.100.{number}"));
        let mut next = Box::pin(places.take(address("203.0.113.1")));
        assert!(next.as_mut().now_or_never().is_none());
        pass(HEAD_GRACE / 2).await;
        assert!(next.as_mut().now_or_never().is_none());
        assert!(newcomer.work().is_some(), "newcomer {number} was sent away before it could speak");
    }
    assert!(busy.iter().all(|work| !work.place().is_gone()));
}

/// Its connections are all busy, and of the other address one waits.
#[tokio::test(start_paused = true)]
async fn places_at_work_count_for_the_address_that_has_them() {
    let places = new_places(6);
    let honest = [(); 2].map(|()| taken(&places, "192.0.2.1"));
    let greedy = [(); 4].map(|()| taken(&places, "192.0.2.2"));
    let works: Vec<_> = greedy[1..].iter().map(|place| place.work().expect("it may stay")).collect();
    pass(HEAD_GRACE).await;
    makes_room(&places, &[&honest[0], &honest[1], &greedy[0]], &[false, false, true]);
    // The answers are on the way out; then their peer does not read.
    drop(works);
    greedy[1].waits();
    pass(HEAD_GRACE).await;
    let all = [&honest[0], &honest[1], &greedy[1], &greedy[2]];
    makes_room(&places, &all, &[false, false, true, false]);
}

/// However fast it opens connections that say nothing, places become free faster.
#[tokio::test(start_paused = true)]
async fn an_address_with_most_places_has_little_time() {
    let places = new_places(4);
    let crowd = [(); 3].map(|()| taken(&places, "192.0.2.2"));
    let other = taken(&places, "192.0.2.1");
    pass(HEAD_GRACE_OF_MOST).await;
    let all = [&crowd[0], &crowd[1], &crowd[2], &other];
    makes_room(&places, &all, &[true, false, false, false]);
    drop(crowd);
    let others = ["192.0.2.3", "192.0.2.4", "192.0.2.5"].map(|from| taken(&places, from));
    pass(HEAD_GRACE_OF_MOST).await;
    let all = [&others[0], &others[1], &others[2], &other];
    makes_room(&places, &all, &[false; 4]);
}

/// The kernel takes a large answer at once, and then the peer needs time for it: if it showed who it is.
#[tokio::test(start_paused = true)]
async fn an_answer_that_the_kernel_has_is_not_with_its_peer_yet() {
    let places = new_places(3);
    let [known, unknown, silent] = [(); 3].map(|()| taken(&places, "192.0.2.1"));
    for (place, is_known) in [(&known, true), (&unknown, false)] {
        let work = place.work().expect("it may stay");
        place.answers(is_known);
        drop(work);
        assert!(place.has_written(4 * ANSWER_RATE_MIN));
    }
    pass(HEAD_GRACE).await;
    let all = [&known, &unknown, &silent];
    makes_room(&places, &all, &[false, false, true]);
    makes_room(&places, &all, &[false, true, true]);
    makes_room(&places, &all, &[false, true, true]);
    pass(Duration::from_secs(4)).await;
    makes_room(&places, &all, &[true, true, true]);
    assert_eq!(time_to_take(usize::MAX), ANSWER_LEAVES_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn descriptors_are_freed_of_whoever_waited() {
    let places = new_places(4);
    assert!(!places.free_descriptor(), "nobody is there");
    let only = taken(&places, "192.0.2.1");
    assert!(!places.free_descriptor(), "it came a moment ago");
    pass(HEAD_GRACE).await;
    assert!(places.free_descriptor() && only.is_gone());
    assert!(!places.free_descriptor());
}

#[tokio::test(start_paused = true)]
async fn networks_of_ipv6_are_one_address() {
    let places = new_places(3);
    let alone = taken(&places, "2001:db8:1::1");
    let [a, b] = ["2001:db8:2::1", "2001:db8:2::2"].map(|from| taken(&places, from));
    pass(HEAD_GRACE).await;
    makes_room(&places, &[&alone, &a, &b], &[false, true, false]);
}
