//! Flags of the commands about signed requests.

use std::path::PathBuf;
use std::time::Duration;

use bowline_identity::limits::SIGNATURE_WINDOW_MAX;
use bowline_identity::signature::{self, KeyId, Namespace};
use bowline_node::config::value::HumanDuration;
use clap::{Args, Subcommand, ValueEnum};

/// Flags of `bowline sign`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline sign --key orders.key http://127.0.0.1:7085/v1/user-sessions/42 | curl --config -
  bowline sign --key orders.key -X PUT -H 'content-type: application/json' --data '{\"cart\":3}' \\
      http://127.0.0.1:7085/v1/user-sessions/42 | curl -i --config -
  bowline sign --key orders.key -X PUT --data-file photo.bin \\
      https://gw.example.com:7085/v1/user-sessions/42 | curl --cacert ca.crt --config -
  curl -H @<(bowline sign --key orders.key --output headers URL) URL

A signature is good for one request, within the time of --valid-for; sign again for the next. Give
every header that changes what the request means by -H here, not to curl. `bowline sign-key new`
makes a key.")]
pub struct SignFlags {
    /// File with the signing key
    #[arg(short, long, env = "BOWLINE_SIGNING_KEY", value_name = "FILE")]
    pub key: PathBuf,
    /// Method of the request [default: GET, or POST with data]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<String>,
    /// Body of the request
    #[arg(short, long, value_name = "TEXT", conflicts_with = "data_file")]
    pub data: Option<String>,
    /// File with the body of the request; - is standard input, which must be a text
    #[arg(long, value_name = "FILE")]
    pub data_file: Option<PathBuf>,
    /// Header of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// How long the signature is valid
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = valid_for)]
    pub valid_for: Duration,
    /// What to print
    #[arg(short, long, value_enum, default_value = "curl")]
    pub output: SignOutput,
    /// The URL, as it is requested
    pub url: String,
}

/// Form of a signed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignOutput {
    /// The whole request, for `curl --config -`
    Curl,
    /// The headers that the signature adds, one a line
    Headers,
    /// Method, URL and all headers
    Json,
}

fn valid_for(text: &str) -> Result<Duration, String> {
    let HumanDuration(duration) = text.parse().map_err(|error| format!("{error}"))?;
    let fits = (Duration::from_secs(1)..=SIGNATURE_WINDOW_MAX).contains(&duration);
    let longest = SIGNATURE_WINDOW_MAX.as_secs();
    fits.then_some(duration).ok_or_else(|| format!("a signature is valid for 1 s to {longest} s"))
}

/// Flags of `bowline sign-key`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline sign-key new --id orders-1 --namespace orders
  bowline sign-key new --id orders-1 --namespace orders --append signing-keys.toml")]
pub struct SignKeyFlags {
    #[command(subcommand)]
    pub command: SignKeyCommand,
}

/// What to do about signing keys.
#[derive(Debug, Subcommand)]
pub enum SignKeyCommand {
    /// Create a signing key: it goes to a new file, its lines for the server to standard output
    #[command(after_help = "\
Examples:
  bowline sign-key new --id orders-1 --namespace orders --append signing-keys.toml
  bowline sign-key new --id orders-2 --namespace orders --file /etc/orders/signing.key
  bowline sign-key new --id legacy-1 --namespace orders --algorithm hmac-sha256 \\
      --append signing-keys.toml

To rotate, add a key with another id, send SIGHUP to the gateways, let those who sign change to it,
remove the old one and send SIGHUP again.")]
    New(NewSignKeyFlags),
}

/// Flags of `bowline sign-key new`.
#[derive(Debug, Args)]
pub struct NewSignKeyFlags {
    /// Id of the key, different from every other in the file of the server
    #[arg(long)]
    pub id: KeyId,
    /// What the key may touch: sessions of this namespace and no other
    #[arg(long)]
    pub namespace: Namespace,
    /// How it signs
    #[arg(long, value_enum, default_value = "ed25519")]
    pub algorithm: Algorithm,
    /// Where to write the key, readable by its owner only; a file that is there is never overwritten [default: ID.key]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Append the lines for the server to this file instead of printing them
    #[arg(long, value_name = "FILE")]
    pub append: Option<PathBuf>,
}

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Algorithm {
    /// Private and public key: the server has nothing to steal
    Ed25519,
    /// One secret for both
    HmacSha256,
}

impl From<Algorithm> for signature::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Ed25519 => Self::Ed25519,
            Algorithm::HmacSha256 => Self::HmacSha256,
        }
    }
}
