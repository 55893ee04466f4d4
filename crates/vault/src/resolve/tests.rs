//! The kernel's tables of this machine's addresses.

use super::*;

#[test]
fn local_addresses_are_read_from_the_kernels_tables() {
    let v4 = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.0.0.0\n        \
              /24 link UNICAST\n     |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
    let v6 = "20010db8000000000000000000000005 02 40 00 80 eth0\n";
    let expected: Vec<IpAddr> = ["10.0.0.5", "2001:db8::5"].map(|ip| ip.parse().unwrap()).to_vec();
    assert_eq!(interfaces(v4, v6), expected);
    assert!(interfaces("x\n/32 host LOCAL", "zz\n").is_empty());
}
