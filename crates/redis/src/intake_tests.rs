//! Room and its bounds, wake-ups, and what a closed intake does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use bowline_rt::task;
use bowline_rt::time::now;

use super::*;
use crate::command::Command;

/// With room for two requests, and for the bytes of three.
fn intake() -> (Arc<Intake>, Command) {
    let command = Command::new("PING");
    let in_flight_bytes_max = u32::try_from(command.size_bytes() * 3).unwrap();
    let settings = Settings { in_flight_max: 2, in_flight_bytes_max, ..Settings::default() };
    (Arc::new(Intake::new(Epoch::from_bits(1), &settings)), command)
}

impl Intake {
    fn commit_now(self: &Arc<Self>, command: &Command) -> Option<Answer> {
        self.clone().try_commit(command, Limit::At(now()), Waker::noop())
    }

    /// What the epoch takes out of it.
    fn take_now(&self) -> Vec<Pending<Caller>> {
        let (mut bytes, mut requests) = (BytesMut::new(), Vec::new());
        self.take(&Context::from_waker(Waker::noop()), &mut bytes, &mut requests);
        requests
    }

    /// Answers a request.
    fn answer(&self, request: &Pending<Caller>) -> usize {
        let mut deliveries = Deliveries::default();
        deliveries.free(request.size_bytes);
        deliveries.tell(request.caller, Delivery::Answer(Frame::ok()));
        self.deliver(&mut deliveries)
    }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn what_nobody_took_when_the_epoch_died_was_not_sent() {
    let (intake, command) = intake();
    let answer = intake.commit_now(&command).unwrap();
    let room = intake.room(&command).await.unwrap();
    intake.close(Death::Closed);
    assert!(matches!(answer.await, Delivery::Lost { fate: Fate::NotSent, death: Death::Closed, .. }));
    assert!(!intake.is_open());
    assert_eq!(intake.commit(room, &command, Limit::At(now())).err(), Some(Closed));
    assert!(intake.commit_now(&command).is_none());
    assert_eq!(intake.room(&command).await.err(), Some(Closed));
}

#[tokio::test]
async fn the_first_request_after_the_intake_was_emptied_wakes_the_task() {
    let (intake, command) = intake();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let context = Context::from_waker(&waker);
    assert!(intake.poll_waiting(&context).is_pending());
    for expected in 1..=3 {
        let answer = intake.commit_now(&command).unwrap();
        assert_eq!(wakes.0.load(Ordering::Relaxed), expected);
        drop(answer);
        assert_eq!(intake.poll_waiting(&context), Poll::Ready(1));
        let (mut bytes, mut requests) = (BytesMut::new(), Vec::new());
        intake.take(&context, &mut bytes, &mut requests);
        assert_eq!(bytes.len(), command.size_bytes());
        assert_eq!(intake.answer(&requests[0]), 0, "nobody waits any more");
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn room_is_bounded_in_requests_and_in_bytes_and_comes_back_with_answers_only() {
    let (intake, command) = intake();
    let answers = [intake.commit_now(&command), intake.commit_now(&command)];
    assert!(answers.iter().all(Option::is_some), "two requests fit");
    assert!(intake.commit_now(&command).is_none(), "and no third");
    drop(answers);
    assert!(intake.commit_now(&command).is_none(), "who gives up leaves the room taken");
    let requests = intake.take_now();
    assert_eq!(intake.answer(&requests[0]), 0);
    drop(intake.room(&command).await.expect("an answer came"));
    assert!(intake.commit_now(&command).is_some(), "unused room comes back by itself");

    let large = Command::new("ECHO").arg([0; 40]);
    intake.answer(&requests[1]);
    intake.answer(&intake.take_now()[0]);
    assert!(intake.commit_now(&large).is_none(), "too many bytes");
    assert!(intake.commit_now(&command).is_some());
}

#[tokio::test]
async fn who_waits_for_room_gets_it_in_turn_and_nobody_overtakes() {
    let (intake, command) = intake();
    let _answers = [intake.commit_now(&command), intake.commit_now(&command)];
    let requests = intake.take_now();
    let mut waiting =
        [Box::pin(intake.room(&command)), Box::pin(intake.room(&command)), Box::pin(intake.room(&command))];
    assert!(waiting.iter_mut().all(|room| poll(room).is_pending()));
    intake.answer(&requests[0]);
    assert!(intake.commit_now(&command).is_none(), "the room is for those who wait");
    assert!(poll(&mut waiting[1]).is_pending(), "it is not the second one's turn");
    let [mut first, second, mut third] = waiting;
    assert!(matches!(poll(&mut first), Poll::Ready(Ok(_))), "and given back at once");
    drop(first);
    drop(second);
    let room = third.as_mut().await.expect("the second one has given up");
    let answer = intake.commit(room, &command, Limit::At(now())).unwrap();
    drop(third);
    assert!(intake.commit_now(&command).is_none(), "all room is in use");
    let requests = intake.take_now();
    intake.answer(&requests[0]);
    assert!(matches!(answer.await, Delivery::Answer(_)));
    assert!(intake.commit_now(&command).is_some(), "nobody waits any more");
}

#[tokio::test]
async fn an_answer_wakes_the_task_that_waits_for_it() {
    let (intake, command) = intake();
    let (asked, caller) = (intake.clone(), command.clone());
    let waiting = task::spawn("caller", async move {
        let limit = Limit::At(now());
        let answer =
            poll_fn(|context| Poll::Ready(asked.clone().try_commit(&caller, limit, context.waker())));
        answer.await.expect("there is room").await
    });
    let requests = loop {
        let requests = intake.take_now();
        if !requests.is_empty() {
            break requests;
        }
        task::yield_now().await;
    };
    assert_eq!(intake.answer(&requests[0]), 1);
    assert!(matches!(waiting.await, Ok(Delivery::Answer(_))));
}
