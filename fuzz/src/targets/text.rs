//! Files that people write: configurations and tables of tokens.

use std::path::Path;

use bowline_identity::token::TokenTable;
use bowline_node::config::value::{HumanDuration, host_port, listen};
use bowline_node::config::{AgentConfig, Loaded, RoleConfig, ServerConfig, StoreConfig, rules};

use crate::Target;

/// Configurations of every role: judged without a panic, and errors name the file.
pub const CONFIG_TOML: Target = Target {
    name: "config_toml",
    samples: &[
        b"name = \"g1\"\ndrain_grace = \"5s\"\n[http]\nlisten = \"127.0.0.1:7080\"\n[[tcp]]\nlisten = \"0.0.0.0:1\"\nservice = \"db\"\n",
        b"name = \"e1\"\njoin = [\"a:1\", \"[::1]:2\"]\n[[service]]\nname = \"web\"\naddress = \"127.0.0.1:80\"\n[tls]\nca = \"ca.crt\"\n",
        b"listen = \"[::]:6379\"\npassword_file = \"p\"\n[log]\nlevel = \"info\"\nformat = \"json\"\n",
        b"[store]\nurl = \"redis://u:p@h:1/2\"\n[peers]\nadvertise = \"g:1\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"\n",
    ],
    run: config_toml,
};

/// Durations and addresses: what is accepted prints as something that reads the same.
pub const CONFIG_VALUES: Target = Target {
    name: "config_values",
    samples: &[b"250ms", b"365d", b"[::1]:7080", b"gateway.example.com:7100"],
    run: config_values,
};

/// Tables of tokens.
pub const TOKEN_TABLE: Target = Target {
    name: "token_table",
    samples: &[
        b"[[token]]\nkind = \"agent\"\nagent = \"edge-1\"\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n",
        b"[[token]]\nkind = \"client\"\nname = \"ops\"\nsha256 = \"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\"\n",
    ],
    run: token_table,
};

fn config_toml(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(loaded) = load::<ServerConfig>(text) {
        drop(rules::server(&loaded.config));
    }
    if let Some(loaded) = load::<AgentConfig>(text) {
        drop(rules::agent(&loaded.config, false));
    }
    if let Some(loaded) = load::<StoreConfig>(text) {
        drop(rules::store(&loaded.config, false));
    }
}

fn load<T: RoleConfig>(text: &str) -> Option<Loaded<T>> {
    match Loaded::parse(Path::new("a.toml"), text) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            assert!(error.to_string().starts_with("a.toml"), "an error says where: {error}");
            None
        }
    }
}

fn config_values(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(duration) = text.parse::<HumanDuration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
    if let Ok(address) = listen(text) {
        assert_eq!(listen(&address.to_string()), Ok(address));
    }
    drop(host_port(text));
}

fn token_table(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(table) = TokenTable::from_toml("tokens.toml", text) {
        assert_eq!(table.agent(text), None, "a table does not hold its own text as a token");
        assert_eq!(table.client(text), None);
    }
}
