//! Who is let in under TLS.

use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Request};
use bowline_identity::tls::{
    Acceptor, ClientAuthentication, ClientSettings, Connector, Credential, Pem, ServerSettings,
};
use tonic::Code;

use crate::agent::{Login, Manner, dial, log_in};
use crate::zone::{Rig, Zone, echo, name, start_with, until};

struct World(Authority);

fn pem(text: &str) -> Pem {
    Pem::Text { name: "test".to_owned(), text: text.into() }
}

impl World {
    fn credential(&self, identity: Identity) -> Credential {
        let request = Request { identity, names: vec!["127.0.0.1".to_owned()], days: 1 };
        let issued = self.0.issue(&request).unwrap();
        Credential { certificate: pem(&issued.certificate), key: pem(issued.key.reveal()) }
    }

    fn gateway(&self, gateway: &str) -> Credential {
        self.credential(Identity::Gateway(name(gateway)))
    }

    fn agent(&self, agent: &str) -> Credential {
        self.credential(Identity::Agent(name(agent)))
    }

    fn connector(&self, credential: Option<Credential>) -> Connector {
        let authority = pem(self.0.certificate());
        Connector::tls(ClientSettings { authority, credential, server_name: None, alpn: Vec::new() }).unwrap()
    }

    fn acceptor(&self, credential: Credential, client_authentication: ClientAuthentication) -> Acceptor {
        Acceptor::tls(ServerSettings { credential, client_authentication, alpn: Vec::new() }).unwrap()
    }

    /// A gateway under TLS; `shows` is the name in the certificate that it shows to its peers when it asks.
    async fn start(&self, zone: &Zone, gateway: &str, shows: Credential) -> Rig {
        let authority = pem(self.0.certificate());
        let for_agents =
            self.acceptor(self.gateway(gateway), ClientAuthentication::Optional(authority.clone()));
        let for_peers = self.acceptor(self.gateway(gateway), ClientAuthentication::Required(authority));
        let connector = self.connector(Some(shows));
        start_with(zone, gateway, for_agents, for_peers, |settings| {
            settings.agents.anyone = false;
            settings.connector = connector;
            settings.route.open_timeout = std::time::Duration::from_millis(500);
        })
        .await
    }
}

#[tokio::test]
async fn certificates_decide_who_an_agent_is_and_who_is_a_gateway() {
    let world = World(Authority::create("test", 2).unwrap());
    let zone = Zone::default();
    let near = world.start(&zone, "near", world.gateway("near")).await;
    let far = world.start(&zone, "far", world.gateway("far")).await;
    let liar = world.start(&zone, "liar", world.gateway("other")).await;
    let agent_as_gateway = world.start(&zone, "forged", world.agent("forged")).await;

    let with = |credential| Login { connector: world.connector(credential), ..Login::new("a", &["web"]) };
    for wrong in [None, Some(world.agent("b")), Some(world.gateway("a"))] {
        let refused = log_in(far.agents, with(wrong)).await.err().unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    log_in(far.agents, with(Some(world.agent("a")))).await.unwrap().serve(Manner::Echo);
    far.settled("a", 2, 0).await;
    let text = "secret ".repeat(100_000);
    assert!(echo(far.open("web").await.unwrap(), &text).await == format!("a:{text}"));
    assert!(echo(near.open("web").await.unwrap(), &text).await == format!("a:{text}"));
    // A gateway has to be the one it says it is, and an agent is none.
    for refused in [&liar, &agent_as_gateway] {
        assert_eq!(refused.refusal("web").await.0, "agent_unreachable");
    }
}

#[tokio::test]
async fn a_ticket_is_of_use_to_nobody_but_the_agent_it_was_given_to() {
    let world = World(Authority::create("test", 2).unwrap());
    let zone = Zone::default();
    let rig = world.start(&zone, "g1", world.gateway("g1")).await;
    let own = world.connector(Some(world.agent("a")));
    let login = Login { connector: own.clone(), ..Login::new("a", &["web"]) };
    let mut agent = log_in(rig.agents, login).await.unwrap();
    let ticket = agent.tickets().await.remove(0);
    for (refused, thief) in [Some(world.agent("b")), Some(world.gateway("a")), None].into_iter().enumerate() {
        let _tunnel = dial(rig.agents, &world.connector(thief), ticket.clone()).await;
        until("the refusal", || rig.metric("tickets_refused_total") == refused as u64 + 1).await;
    }
    // The attempts have not used it up.
    let _tunnel = dial(rig.agents, &own, ticket).await;
    rig.settled("a", 1, 0).await;
}
