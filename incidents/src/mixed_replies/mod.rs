//! Incident 2: somebody else's answer. A driver sends the requests of many callers over one connection, and the answers come
//! to be one place out of step: each caller gets its neighbour's, without an error.
//!
//! Every request names a key, and every answer names the key that it belongs to.
//!
//! | mutant | its flaw | faults it needs |
//! |---|---|---|
//! | `decoder-survives-reconnect` | bytes of the old connection stand before those of the new one (scredis) | cuts |
//! | `reply-left-after-cancel` | a caller who gives up takes the place in the queue along | callers who give up |
//! | `in-flight-queue-survives` | who waited for the old connection still stands in the queue of the new one | cuts |
//! | `miscounts-replies` | the first error of a batch ends it, though the server answers the rest as well | error replies |
//! | `routes-by-content` | a list that begins with "message" is taken for a push, and dropped | lists as answers |
//! | `push-takes-turn` | a push takes the place of an answer (redis-rs) | pushes |
//! | `outgoing-survives` | what the old connection had not sent goes out on the new one (node-redis) | cuts |
//! | `sends-again` | who waited for the old connection is asked again on the new one (fred) | cuts |
//!
//! All of them are one driver with one flaw each; without a flaw it is clean, which a test proves. The design is the core that
//! the program runs, one for each connection, under all of these faults and more: connections cut at any byte, stalls,
//! deadlines, sleep, pushes between answers, bytes that come after the end, both dialects, fences on and off.

mod checker;
mod design;
mod naive;
mod world;

use crate::explore::Subject;

/// The mutants and the design.
pub const SUBJECTS: [Subject; 9] = [
    Subject { mutant: Some("decoder-survives-reconnect"), run: naive::decoder_survives_reconnect },
    Subject { mutant: Some("reply-left-after-cancel"), run: naive::reply_left_after_cancel },
    Subject { mutant: Some("in-flight-queue-survives"), run: naive::in_flight_queue_survives },
    Subject { mutant: Some("miscounts-replies"), run: naive::miscounts_replies },
    Subject { mutant: Some("routes-by-content"), run: naive::routes_by_content },
    Subject { mutant: Some("push-takes-turn"), run: naive::push_takes_turn },
    Subject { mutant: Some("outgoing-survives"), run: naive::outgoing_survives },
    Subject { mutant: Some("sends-again"), run: naive::sends_again },
    Subject { mutant: None, run: design::design },
];
