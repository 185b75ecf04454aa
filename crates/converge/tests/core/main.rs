//! The core from outside: what each promise looks like, random runs against a model, and every run of a small scope.

mod behaviour;
mod exhaustive;
mod model;
mod world;
