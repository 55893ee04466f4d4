use super::*;
use Class::{Never, Private, Public};

#[test]
fn s2_every_address_of_the_table_has_its_class() {
    for (ip, is) in [
        ("0.0.0.0", Never),
        ("0.1.2.3", Never),
        ("127.0.0.1", Never),
        ("127.255.255.255", Never),
        ("169.254.1.1", Never),
        ("169.254.169.254", Never),
        ("169.254.170.2", Never),
        ("169.254.170.23", Never),
        ("100.100.100.200", Never),
        ("168.63.129.16", Never),
        ("192.0.0.1", Never),
        ("192.0.0.192", Never),
        ("224.0.0.1", Never),
        ("239.255.255.255", Never),
        ("240.0.0.1", Never),
        ("255.255.255.255", Never),
        ("::", Never),
        ("::1", Never),
        ("fe80::1", Never),
        ("febf::1", Never),
        ("fec0::1", Never),
        ("ff02::1", Never),
        ("fd00:ec2::254", Never),
        ("fd20:ce::254", Never),
        ("64:ff9b:1::1", Never),
        ("100::1", Never),
        ("4000::1", Never),
        ("10.0.0.1", Private),
        ("172.16.0.1", Private),
        ("172.31.255.255", Private),
        ("192.168.0.1", Private),
        ("100.64.0.1", Private),
        ("100.127.255.255", Private),
        ("198.18.0.1", Private),
        ("198.19.255.255", Private),
        ("192.0.2.1", Private),
        ("198.51.100.1", Private),
        ("203.0.113.1", Private),
        ("fc00::1", Private),
        ("fdff::1", Private),
        ("2001:db8::1", Private),
        ("3fff::1", Private),
        ("1.1.1.1", Public),
        ("9.255.255.255", Public),
        ("11.0.0.0", Public),
        ("126.255.255.255", Public),
        ("128.0.0.0", Public),
        ("172.15.255.255", Public),
        ("172.32.0.0", Public),
        ("169.253.255.255", Public),
        ("100.63.255.255", Public),
        ("100.128.0.0", Public),
        ("223.255.255.255", Public),
        ("2606:4700::1111", Public),
        ("2a00:1450::1", Public),
    ] {
        assert_eq!(class(ip.parse().unwrap()), is, "{ip}");
    }
}

#[test]
fn s2_an_address_in_an_address_is_as_bad_as_the_worse() {
    for (ip, is) in [
        ("::ffff:127.0.0.1", Never),
        ("::ffff:10.0.0.1", Private),
        ("::ffff:8.8.8.8", Public),
        ("::ffff:0:169.254.169.254", Never),
        ("::127.0.0.1", Never),
        ("::192.168.0.1", Private),
        ("64:ff9b::a9fe:a9fe", Never),
        ("64:ff9b::10.0.0.1", Private),
        ("64:ff9b::8.8.8.8", Public),
        ("2002:7f00:1::", Never),
        ("2002:a00:1::1", Private),
        ("2002:808:808::1", Public),
        // Teredo: server, then client with every bit turned
        ("2001:0:7f00:1::f7f7:f7f7", Never),
        ("2001:0:808:808::80ff:fffe", Never),
        ("2001:0:808:808::f5ff:fffe", Private),
        ("2001:0:808:808::f7f7:f7f7", Public),
        ("2a00:1450::5efe:7f00:1", Never),
        ("2a00:1450::200:5efe:a00:1", Private),
        ("2a00:1450::5efe:808:808", Public),
        ("fe80::5efe:808:808", Never),
    ] {
        assert_eq!(class(ip.parse().unwrap()), is, "{ip}");
    }
}

#[test]
fn names_of_machinery_are_never_looked_up() {
    for name in [
        "metadata",
        "metadata.google.internal",
        "instance-data",
        "x.internal",
        "internal",
        "printer.local",
        "a.localhost",
        "localhost",
        "host.docker.internal",
        "router.home.arpa",
        "nas",
    ] {
        assert!(refused_name(name), "{name}");
    }
    for name in ["internal.example.com", "mylocal.net", "notinternal.example", "a.b"] {
        assert!(!refused_name(name), "{name}");
    }
}
