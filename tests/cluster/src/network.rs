//! The link between the host and a cluster's network namespace.
//!
//! Each cluster has one pair of virtual Ethernet interfaces and a subnet of four addresses: `.0` is the subnet, `.1`
//! the host's end, `.2` the cluster's end (the API server's address) and `.3` broadcast. Deleting either end, or the
//! end of the namespace, removes both.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::error::{Error, Result};
use crate::state::write_file;

/// The range out of which subnets are taken: 10.250.0.0/16.
const RANGE: u32 = u32::from_be_bytes([10, 250, 0, 0]);

/// How many subnets of four addresses the range holds.
const SUBNETS: u32 = 65_536 / 4;

/// The addresses from which a cluster's pods get theirs. Every cluster uses the same, each in its own namespace.
pub const POD_RANGE: &str = "10.244.0.0/16";

/// The addresses of a cluster's services.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";

/// The address of the service `kubernetes` in the namespace `default`, by which pods reach the API server.
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// One subnet of four addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    index: u32,
}

impl Subnet {
    /// The subnet with this number, counted round the range.
    pub fn new(number: u32) -> Self {
        Self { index: number % SUBNETS }
    }

    /// The subnet after this one.
    pub fn next(self) -> Self {
        Self::new(self.index + 1)
    }

    /// Name of the interface at the host's end.
    pub fn interface(self) -> String {
        format!("rota{}", self.index)
    }

    /// Address of the host's end.
    pub fn host(self) -> Ipv4Addr {
        Ipv4Addr::from(RANGE + 4 * self.index + 1)
    }

    /// Address of the cluster's end.
    pub fn cluster(self) -> Ipv4Addr {
        Ipv4Addr::from(RANGE + 4 * self.index + 2)
    }

    /// Whether the subnet has addresses in common with a network of `length` prefix bits.
    fn overlaps(self, network: Ipv4Addr, length: u32) -> bool {
        let length = length.min(30);
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        u32::from(self.host()) & mask == u32::from(network) & mask
    }
}

/// The first subnet from `start` on which has no address in common with any of the `used` networks.
///
/// # Errors
/// When the whole range is in use.
pub fn pick(start: u32, used: &[(Ipv4Addr, u32)]) -> Result<Subnet> {
    let mut subnet = Subnet::new(start);
    for _ in 0..SUBNETS {
        if used.iter().all(|(network, length)| !subnet.overlaps(*network, *length)) {
            return Ok(subnet);
        }
        subnet = subnet.next();
    }
    Err(Error::new("Every address of 10.250.0.0/16 is in use, so no cluster can be connected: free some of them."))
}

/// The networks in the output of `ip -o -4 route show table all`. Default routes do not count.
fn networks(routes: &str) -> Vec<(Ipv4Addr, u32)> {
    routes
        .lines()
        .flat_map(|line| line.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit())))
        .filter_map(|word| {
            let (address, length) = word.split_once('/').unwrap_or((word, "32"));
            Some((address.parse().ok()?, length.parse().ok()?))
        })
        .collect()
}

/// Connects the network namespace of process `pid` to the host: its end is `eth0`, without an address yet.
///
/// `start` is the number of the subnet to try first. Two clusters which pick the same subnet at the same time cannot
/// both have it, since the name of the interface is taken.
///
/// # Errors
/// When no subnet is free or the interfaces cannot be made.
pub fn connect(pid: u32, start: u32) -> Result<Subnet> {
    let routes = command::output(Command::new("ip").args(["-o", "-4", "route", "show", "table", "all"]))?;
    let used = networks(&routes);
    let mut subnet = pick(start, &used)?;
    for _ in 0..SUBNETS {
        match add_link(subnet, pid) {
            Ok(()) => break,
            Err(error) if error.to_string().contains("File exists") => {
                subnet = pick(subnet.next().index, &used)?;
            }
            Err(error) => return Err(error),
        }
    }
    let interface = subnet.interface();
    command::run(Command::new("ip").args(["address", "add", &format!("{}/30", subnet.host()), "dev", &interface]))?;
    command::run(Command::new("ip").args(["link", "set", &interface, "up"]))?;
    Ok(subnet)
}

fn add_link(subnet: Subnet, pid: u32) -> Result<()> {
    let (interface, pid) = (subnet.interface(), pid.to_string());
    let words = ["link", "add", &interface, "type", "veth", "peer", "name", "eth0", "netns", &pid];
    command::run(Command::new("ip").args(words))
}

/// Removes the link of a cluster which has stopped. It is no error when it has gone already.
pub fn disconnect(subnet: Subnet) {
    // The end of the namespace removes the link too, at a time of the kernel's choosing; so failing to find it is fine.
    let _ = command::run(Command::new("ip").args(["link", "delete", &subnet.interface()]));
}

/// Sets up the cluster's side, inside its namespace: addresses, the way out through the host, and for pods the rules
/// which kube-proxy leaves to others.
///
/// # Errors
/// When an interface or rule cannot be set up.
pub fn configure_inside(address: Ipv4Addr, host: Ipv4Addr, pods: bool) -> Result<()> {
    command::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    command::run(Command::new("ip").args(["address", "add", &format!("{address}/30"), "dev", "eth0"]))?;
    command::run(Command::new("ip").args(["link", "set", "eth0", "up"]))?;
    command::run(Command::new("ip").args(["route", "add", "default", "via", &host.to_string()]))?;
    if pods {
        // Otherwise only some of a pod's look-ups are refused at once.
        write_file(Path::new("/proc/sys/net/ipv4/icmp_ratelimit"), "0")?;
        let rules = rules();
        command::run_with_input(Command::new("nft").args(["-f", "-"]), rules.as_bytes())?;
    }
    Ok(())
}

/// Rules for pods. Their addresses are translated on the way out, so that they can reach programs on the host.
/// Addresses of services which do not exist refuse at once, before kube-proxy's rules drop the packets and leave their
/// sender waiting: above all, the address at which pods look for a DNS.
fn rules() -> String {
    format!(
        "table ip rota {{
           chain out {{
             type nat hook postrouting priority srcnat + 10
             ip saddr {POD_RANGE} oifname \"eth0\" masquerade
           }}
           chain unknown {{
             type filter hook forward priority filter - 5
             ip daddr {SERVICE_RANGE} reject
           }}
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_has_two_addresses_and_an_interface() {
        let subnet = Subnet::new(65);
        assert_eq!(subnet.host(), Ipv4Addr::new(10, 250, 1, 5));
        assert_eq!(subnet.cluster(), Ipv4Addr::new(10, 250, 1, 6));
        assert_eq!(subnet.interface(), "rota65");
    }

    #[test]
    fn subnets_in_use_are_passed_over() {
        let used = [(Ipv4Addr::new(10, 250, 0, 0), 30), (Ipv4Addr::new(10, 250, 0, 6), 32)];
        assert_eq!(pick(0, &used).unwrap(), Subnet::new(2));
        assert_eq!(pick(7, &used).unwrap(), Subnet::new(7));
    }

    #[test]
    fn the_search_goes_round_the_range() {
        let used = [(Ipv4Addr::new(10, 250, 255, 252), 30)];
        assert_eq!(pick(SUBNETS - 1, &used).unwrap(), Subnet::new(0));
    }

    #[test]
    fn a_full_range_is_an_error() {
        assert!(pick(0, &[(Ipv4Addr::new(10, 0, 0, 0), 8)]).is_err());
    }

    #[test]
    fn routes_of_every_form_are_read() {
        let routes = "default via 192.168.0.1 dev eth0 proto dhcp\n\
                      10.250.0.4/30 dev rota1 proto kernel scope link src 10.250.0.5\n\
                      local 127.0.0.1 dev lo table local proto kernel\n";
        let networks = networks(routes);
        assert!(networks.contains(&(Ipv4Addr::new(10, 250, 0, 4), 30)));
        assert!(networks.contains(&(Ipv4Addr::LOCALHOST, 32)));
    }
}
