//! `bowline config`: the printed defaults, and checking a file without running it.

use std::path::Path;

use bowline_node::config::{AgentConfig, Loaded, RoleConfig, ServerConfig, StoreConfig};

use crate::cli::tools::{ConfigCommand, Role};
use crate::edge;
use crate::exit::Failure;
use crate::{log, roles};

/// Runs the command.
pub fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::PrintDefault { role } => edge::print(match role {
            Role::Server => ServerConfig::DEFAULT_TEXT,
            Role::Agent => AgentConfig::DEFAULT_TEXT,
            Role::Store => StoreConfig::DEFAULT_TEXT,
        }),
        ConfigCommand::Check { role, file } => {
            let text = edge::read_text(file)?;
            let role = role.unwrap_or_else(|| guess(&text));
            check(role, file, &text)?;
            let role = match role {
                Role::Server => "a server",
                Role::Agent => "an agent",
                Role::Store => "a store",
            };
            edge::print(&format!("{}: a valid configuration of {role}\n", file.display()))
        }
    }
}

/// Makes a plan of the file as the role would, reading all files that it names, and throws the plan away.
fn check(role: Role, file: &Path, text: &str) -> Result<(), Failure> {
    let warnings = match role {
        Role::Server => roles::server_plan(&parse(file, text)?)?.warnings,
        Role::Agent => roles::agent_plan(&parse(file, text)?)?.warnings,
        Role::Store => roles::store_plan(&parse(file, text)?)?.warnings,
    };
    for warning in warnings {
        edge::say(&format!("warning: {warning}"));
    }
    Ok(())
}

/// Reads the file, and what it says of the log, which is not a part of a plan.
fn parse<C: RoleConfig>(file: &Path, text: &str) -> Result<Loaded<C>, Failure> {
    let loaded = Loaded::<C>::parse(file, text)?;
    log::filter(&loaded.config.log().level).map_err(|problem| loaded.locate(vec![problem]))?;
    Ok(loaded)
}

/// The role whose configuration alone has the file's outermost keys; a server's if that does not decide.
fn guess(text: &str) -> Role {
    let only_of = |key: &str| match key {
        "join" | "connections" | "service" | "token_file" => Some(Role::Agent),
        "listen" | "password_file" => Some(Role::Store),
        _ => None,
    };
    let table: toml::Table = text.parse().unwrap_or_default();
    table.keys().find_map(|key| only_of(key)).unwrap_or(Role::Server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_of_a_default_is_guessed() {
        assert_eq!(guess(ServerConfig::DEFAULT_TEXT), Role::Server);
        assert_eq!(guess(AgentConfig::DEFAULT_TEXT), Role::Agent);
        assert_eq!(guess(StoreConfig::DEFAULT_TEXT), Role::Store);
        assert_eq!(guess("not toml ="), Role::Server);
    }
}
