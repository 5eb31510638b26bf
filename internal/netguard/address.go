package netguard

import (
	"net/netip"

	"code.dny.dev/ssrf"
)

// registry knows the special-purpose addresses of IANA's two registries.
var registry = ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork())

// kinds names the networks that a person may want to tell apart in an error. The
// first that holds an address gives the word; the registry decides.
var kinds = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private network"},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private network"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private network"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a carrier's shared network"},
	{netip.MustParsePrefix("127.0.0.0/8"), "this machine"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local network"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("::/128"), "an unspecified address"},
	{netip.MustParsePrefix("::1/128"), "this machine"},
	{netip.MustParsePrefix("fc00::/7"), "a private network"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local network"},
	{netip.MustParsePrefix("fec0::/10"), "a private network"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("::/96"), "an IPv4 address inside of an IPv6 address"},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "an IPv4 address inside of an IPv6 address"},
	{netip.MustParsePrefix("64:ff9b::/96"), "an IPv4 address inside of an IPv6 address"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "an IPv4 address inside of an IPv6 address"},
	{netip.MustParsePrefix("2001::/32"), "an IPv4 address inside of an IPv6 address"},
	{netip.MustParsePrefix("2002::/16"), "an IPv4 address inside of an IPv6 address"},
}

// metadata are the addresses at which clouds hand credentials to whoever asks
// from inside. Some are public by number.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // most clouds
	netip.MustParseAddr("169.254.170.2"),   // AWS containers
	netip.MustParseAddr("169.254.170.23"),  // AWS Kubernetes
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd00:ec2::23"),    // AWS Kubernetes
	netip.MustParseAddr("fd20:ce::254"),    // Google
}

// neverByName are networks that a name which the operator trusts must not lead to:
// they are no hosts, or are where the metadata services are.
var neverByName = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"), // multicast, reserved, broadcast
	netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// isISATAP finds the interface identifiers in which ISATAP carries an IPv4 address
// (RFC 5214): 0000:5efe or 0200:5efe before it.
func isISATAP(a netip.Addr) bool {
	b := a.As16()
	return a.Is6() && (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// notPublic says what kind of address a is, in words, or "" if it is a public
// unicast address that stands for itself.
func notPublic(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "not an address"
	case a.Zone() != "":
		return "an address with a zone"
	case a.Is4In6():
		return "an IPv4 address inside of an IPv6 address"
	case isMetadata(a):
		return "a cloud's metadata service"
	}
	for _, k := range kinds {
		if k.prefix.Contains(a) {
			return k.what
		}
	}
	if registry.SafeAddr(a) != nil {
		return "a network for special purposes"
	}
	if isISATAP(a) {
		return "an IPv4 address inside of an IPv6 address"
	}
	return ""
}

func isMetadata(a netip.Addr) bool {
	for _, m := range metadata {
		if a == m {
			return true
		}
	}
	return false
}
