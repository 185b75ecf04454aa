//! The status as tables for people. Without a terminal: no colours, no lines, nothing cut.

use bowline_node::status::{AgentStatus, GatewayStatus, ServiceStatus, State, Status};
use comfy_table::{Attribute, Cell, Color, Table};

/// All tables.
pub fn show(status: &Status, for_a_terminal: bool) -> String {
    let tables = [
        ("GATEWAYS", gateways(&status.gateways, for_a_terminal)),
        ("AGENTS", agents(&status.agents)),
        ("SERVICES", services(&status.services)),
    ];
    let mut text = String::new();
    for (title, mut table) in tables {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(title);
        text.push('\n');
        if table.is_empty() {
            text.push_str("none\n");
            continue;
        }
        if for_a_terminal {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.load_style(comfy_table::presets::NOTHING);
        for line in table.trim_fmt().lines() {
            // The first column is padded on its left; the title is not.
            text.push_str(line.strip_prefix(' ').unwrap_or(line));
            text.push('\n');
        }
    }
    if let Some(reason) = &status.incomplete {
        text.push_str(&format!("\nthis may be old or incomplete: {reason}\n"));
    }
    for gateway in &status.gateways {
        if let Some(error) = &gateway.error {
            text.push_str(&format!(
                "\ngateway {} at {} cannot be asked: {error}\n",
                gateway.name, gateway.address
            ));
        }
    }
    text
}

fn gateways(gateways: &[GatewayStatus], colours: bool) -> Table {
    let mut table = Table::new();
    table.set_header(["NAME", "ZONE", "STATE", "AGENTS", "STREAMS", "STORE", "PENDING", "UPTIME", "VERSION"]);
    for gateway in gateways {
        let known = |text: String| if gateway.reachable { text } else { "-".to_owned() };
        let mut state = Cell::new(gateway.state.as_str());
        if colours {
            state = match gateway.state {
                State::Up => state.fg(Color::Green),
                State::Draining => state.fg(Color::Yellow),
                State::Unreachable => state.fg(Color::Red).add_attribute(Attribute::Bold),
            };
        }
        table.add_row([
            Cell::new(&gateway.name),
            Cell::new(&gateway.zone),
            state,
            Cell::new(known(gateway.agents.to_string())),
            Cell::new(known(gateway.streams.to_string())),
            Cell::new(known(if gateway.store_up { "up".to_owned() } else { "down".to_owned() })),
            Cell::new(known(gateway.registry_pending.to_string())),
            Cell::new(known(duration(gateway.uptime_ms))),
            Cell::new(known(gateway.version.clone())),
        ]);
    }
    table
}

fn agents(agents: &[AgentStatus]) -> Table {
    let mut table = Table::new();
    table.set_header([
        "NAME",
        "GATEWAY",
        "SERVICES",
        "TUNNELS IDLE",
        "BUSY",
        "DIALLING",
        "CONNECTED",
        "FROM",
    ]);
    for agent in agents {
        table.add_row([
            agent.name.clone(),
            agent.gateway.clone(),
            list(&agent.services),
            agent.tunnels.idle.to_string(),
            agent.tunnels.busy.to_string(),
            agent.tunnels.dialling.to_string(),
            duration(agent.connected_ms),
            agent.remote.clone(),
        ]);
    }
    table
}

fn services(services: &[ServiceStatus]) -> Table {
    let mut table = Table::new();
    table.set_header(["NAME", "AGENTS", "GATEWAYS"]);
    for service in services {
        table.add_row([service.name.clone(), list(&service.agents), list(&service.gateways)]);
    }
    table
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

/// The two largest units, such as `3d4h` or `12s`.
fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest}s"),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use bowline_node::status::Tunnels;

    use super::*;

    fn gateway(name: &str, state: State) -> GatewayStatus {
        GatewayStatus {
            name: name.into(),
            zone: "default".into(),
            address: "10.0.0.2:7101".into(),
            reachable: state != State::Unreachable,
            error: (state == State::Unreachable).then(|| "no answer within 2s".into()),
            state,
            epoch: "0".repeat(32),
            version: "0.1.0".into(),
            uptime_ms: 3_723_000,
            streams: 4,
            agents: 1,
            store_up: true,
            registry_pending: 0,
        }
    }

    fn status() -> Status {
        let agent = AgentStatus {
            name: "edge-1".into(),
            gateway: "g1".into(),
            epoch: "0".repeat(32),
            version: "0.1.0".into(),
            remote: "127.0.0.1:5".into(),
            connected_ms: 12_345,
            services: vec!["db".into(), "web".into()],
            tunnels: Tunnels { idle: 2, busy: 1, dialling: 0 },
        };
        Status::new(
            "g1".into(),
            vec![gateway("g1", State::Up), gateway("g2", State::Unreachable)],
            vec![agent],
        )
    }

    #[test]
    fn tables_without_a_terminal_are_plain_text() {
        let expected = "\
GATEWAYS
NAME  ZONE     STATE        AGENTS  STREAMS  STORE  PENDING  UPTIME  VERSION
g1    default  up           1       4        up     0        1h2m    0.1.0
g2    default  unreachable  -       -        -      -        -       -

AGENTS
NAME    GATEWAY  SERVICES  TUNNELS IDLE  BUSY  DIALLING  CONNECTED  FROM
edge-1  g1       db,web    2             1     0         12s        127.0.0.1:5

SERVICES
NAME  AGENTS  GATEWAYS
db    edge-1  g1
web   edge-1  g1

gateway g2 at 10.0.0.2:7101 cannot be asked: no answer within 2s
";
        assert_eq!(show(&status(), false), expected);
    }

    #[test]
    fn an_empty_zone_says_so() {
        let text = show(&Status::new("g1".into(), vec![gateway("g1", State::Draining)], Vec::new()), false);
        assert!(text.contains("draining") && text.contains("AGENTS\nnone\n"), "{text}");
    }

    #[test]
    fn a_terminal_gets_colours() {
        assert!(show(&status(), true).contains('\u{1b}'));
    }

    #[test]
    fn durations_show_two_units() {
        let check = |ms, expected: &str| assert_eq!(duration(ms), expected);
        check(999, "0s");
        check(61_000, "1m1s");
        check(3_600_000, "1h0m");
        check(90_000_000, "1d1h");
    }
}
