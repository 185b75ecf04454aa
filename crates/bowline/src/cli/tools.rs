//! Flags of the commands that are not roles.

use std::net::SocketAddr;
use std::path::PathBuf;

use bowline_model::{AgentId, ServiceName};
use bowline_node::config::value::listen;
use clap::{Args, Subcommand, ValueEnum};

/// Flags of `bowline forward`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline forward db --listen 127.0.0.1:5432      then: psql -h 127.0.0.1
  bowline forward ssh --agent edge-1 --listen 127.0.0.1:2222
  ssh -o ProxyCommand='bowline forward ssh --agent %h --stdio' edge-1
  bowline forward db --gateway https://gw.example.com --ca ca.crt --token-file ops.token

SIGINT, SIGTERM or SIGHUP ends it; a stream of --stdio that is cut so ends with status 1.
BOWLINE_TOKEN may hold the token.")]
pub struct ForwardFlags {
    /// The service to reach
    pub service: ServiceName,
    /// The one agent whose service is meant [default: any that offers it]
    #[arg(long, value_name = "ID")]
    pub agent: Option<AgentId>,
    /// Local address to listen on; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0", value_parser = listen)]
    pub listen: SocketAddr,
    /// Forward standard input and output instead of listening; ends when the service has ended and no more input comes
    #[arg(long, conflicts_with = "listen")]
    pub stdio: bool,
    /// The gateway's http entry
    #[arg(long, env = "BOWLINE_GATEWAY", value_name = "URL", default_value = "http://127.0.0.1:7080")]
    pub gateway: String,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// How to authenticate to a gateway, and it to us.
#[derive(Debug, Clone, Default, Args)]
pub struct ClientFlags {
    /// File with a client token
    #[arg(long, env = "BOWLINE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Authority that signed the gateway's certificate, PEM (https)
    #[arg(long, env = "BOWLINE_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Allow the token to be sent to a gateway off loopback by http, without TLS
    #[arg(long, env = "BOWLINE_INSECURE_PLAINTEXT", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_plaintext: Option<bool>,
}

/// Flags of `bowline status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline status
  bowline status --output json | jq '.agents[].name'
  bowline status --gateway https://gw.example.com:7090 --ca ca.crt --token-file ops.token
  bowline status --watch

Exit status 1 if the gateway cannot be asked. BOWLINE_TOKEN may hold the token.")]
pub struct StatusFlags {
    /// The admin address of any gateway of the zone
    #[arg(long, env = "BOWLINE_ADMIN", value_name = "URL", default_value = "http://127.0.0.1:7090")]
    pub gateway: String,
    /// For people or for programs
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
    /// Show it again every two seconds until interrupted, whether the gateway answers or not
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Form of the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables for people
    Table,
    /// The JSON of the gateway's API
    Json,
}

/// Flags of `bowline config`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bowline config print-default server\n  bowline config check gw.toml")]
pub struct ConfigFlags {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do about configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the default configuration of a role, with every key documented
    #[command(after_help = "Example:\n  bowline config print-default agent > agent.toml")]
    PrintDefault {
        /// Which role
        #[arg(value_enum, default_value = "server")]
        role: Role,
    },
    /// Check a configuration file and the files that it names
    #[command(
        after_help = "Examples:\n  bowline config check server.toml\n  bowline config check --role agent edge.toml"
    )]
    Check {
        /// Which role the file is for [default: guessed from its keys]
        #[arg(long, value_enum)]
        role: Option<Role>,
        /// The file
        file: PathBuf,
    },
}

/// A role that has a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// A gateway
    Server,
    /// An agent
    Agent,
    /// A store
    Store,
}

/// Flags of `bowline ca`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline ca init
  bowline ca issue gateway gw-1 --san gw-1.example.com --san 10.0.0.1
  bowline ca issue agent edge-1 --days 90

Keep ca.key offline or well guarded: whoever has it can be any gateway and any agent.")]
pub struct CaFlags {
    #[command(subcommand)]
    pub command: CaCommand,
}

/// What to do about certificates.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Create an authority: ca.crt and ca.key
    #[command(after_help = "Example:\n  bowline ca init --dir /etc/bowline")]
    Init {
        /// Where to write the files
        #[arg(long, value_name = "DIRECTORY", default_value = ".")]
        dir: PathBuf,
        /// Name of the authority, for people
        #[arg(long, default_value = "Bowline authority")]
        name: String,
        /// Days that the authority is valid
        #[arg(long, default_value_t = bowline_identity::limits::AUTHORITY_DAYS_DEFAULT)]
        days: u32,
    },
    /// Issue a certificate: NAME.crt and NAME.key
    #[command(after_help = "\
Examples:
  bowline ca issue gateway gw-1 --san gw-1.example.com
  bowline ca issue agent edge-1
  bowline ca issue gateway gw-1 --renew

Send SIGHUP to what uses a renewed certificate.")]
    Issue(IssueFlags),
}

/// Flags of `bowline ca issue`.
#[derive(Debug, Clone, Args)]
pub struct IssueFlags {
    /// For whom
    #[arg(value_enum)]
    pub kind: Holder,
    /// Name of the gateway or agent
    pub name: String,
    /// Host name or IP address by which a gateway is dialled; may be repeated
    /// [default: localhost, 127.0.0.1 and ::1; those of before with --renew]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub san: Vec<String>,
    /// Days that the certificate is valid
    #[arg(long, default_value_t = 365)]
    pub days: u32,
    /// Replace the certificate that is there, and its key
    #[arg(long)]
    pub renew: bool,
    /// Where the authority is, and where to write the files
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    pub dir: PathBuf,
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Holder {
    /// A gateway (also fits a store)
    Gateway,
    /// An agent
    Agent,
}

/// Flags of `bowline token`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline token new --agent edge-1
  bowline token new --client ops")]
pub struct TokenFlags {
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token: the secret goes to standard output, its lines for tokens_file to standard error
    #[command(after_help = "\
Examples:
  bowline token new --agent edge-1 --append tokens.toml --secret-file edge-1.token
  bowline token new --client ops 2>> tokens.toml")]
    New(NewTokenFlags),
}

/// For whom the token is.
#[derive(Debug, Args)]
pub struct NewTokenFlags {
    #[command(flatten)]
    pub holder: TokenHolder,
    /// Append the lines for the gateways to this tokens_file instead of printing them to standard error
    #[arg(long, value_name = "FILE")]
    pub append: Option<PathBuf>,
    /// Write the token to this new file, readable by its owner only, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// Exactly one of both.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TokenHolder {
    /// An agent: the token lets in this agent and no other
    #[arg(long, value_name = "ID")]
    pub agent: Option<AgentId>,
    /// A client, for CONNECT, `forward` and `status`
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
}
