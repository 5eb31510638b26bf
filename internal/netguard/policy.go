package netguard

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"hearth/internal/config"
)

// Policy says where connections may go. The zero Policy is the public internet on
// ports 80 and 443.
//
// An entry of a list is
//
//   - a name, "wiki.example.com", or a name and all below it, "*.example.com"
//     (which does not mean example.com itself);
//   - an address, "192.0.2.7" or "[2001:db8::7]", or a network, "10.1.0.0/16";
//   - a name or an address with a port, "wiki.example.com:8080", or with any port,
//     "wiki.example.com:*".
type Policy struct {
	// Allow lists what may be reached though it is not on the public internet. A
	// name may then lead to an internal address, but to no link-local one; a network
	// allows the addresses in it, but not that of a cloud's metadata service,
	// which has to be an entry of its own. An entry with a port also allows that port.
	Allow []string `yaml:"allow"`
	// Only, unless empty, is all that may be reached. An address or a network in it
	// means URLs that are written with an address.
	Only []string `yaml:"only"`
	// Deny lists what may not be reached, whatever else allows it. A network in it
	// also means names that lead there.
	Deny []string `yaml:"deny"`
	// Ports are the ports that may be reached. Empty: 80 and 443.
	Ports []int `yaml:"ports"`
}

// Check says which entry cannot be used, as a *config.FieldError.
func (p *Policy) Check() error {
	_, err := p.compile()
	return err
}

// Origins returns the policy of one or more base URLs that an operator configured:
// their hosts on their ports may be reached, also on an internal network, and
// nothing else.
func Origins(urls ...string) (Policy, error) {
	var p Policy
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil {
			return Policy{}, fmt.Errorf("%q is not a URL", raw)
		}
		at, err := placeOf(u)
		if err != nil {
			return Policy{}, err
		}
		p.Allow = append(p.Allow, at.String())
		p.Only = append(p.Only, at.String())
	}
	return p, nil
}

const anyPort = -1

// entry is one entry of a list, read.
type entry struct {
	name   string // a name; below says that it means what is below it
	below  bool
	prefix netip.Prefix // valid: addresses
	port   int          // 0: those of Ports; anyPort
}

func parseEntry(s string) (entry, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p != p.Masked() {
			return entry{}, fmt.Errorf("%s has bits behind its length: write %s", s, p.Masked())
		}
		if p.Addr().Is4In6() {
			return entry{}, fmt.Errorf("write %s as an IPv4 network", s)
		}
		return entry{prefix: p}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() { // brackets are for ports
		s = "[" + s + "]"
	}
	host, port, err := splitHost(s)
	if err != nil {
		return entry{}, err
	}
	var e entry
	switch {
	case port == "*":
		e.port = anyPort
	case port != "":
		n, err := parsePort(port)
		if err != nil {
			return entry{}, err
		}
		e.port = int(n)
	}
	host, e.below = strings.CutPrefix(host, "*.")
	at, err := canonical(host, strings.HasPrefix(s, "["))
	switch {
	case err != nil:
		return entry{}, err
	case at.addr.Is4In6():
		return entry{}, fmt.Errorf("write %s as an IPv4 address", s)
	case at.addr.IsValid() && e.below:
		return entry{}, fmt.Errorf("%s: there is nothing below an address", s)
	case at.addr.IsValid():
		e.prefix = netip.PrefixFrom(at.addr, at.addr.BitLen())
	default:
		e.name = at.host
	}
	return e, nil
}

// matchesPort says that the entry means the port; ports are those of the policy.
func (e entry) matchesPort(port uint16, ports []uint16) bool {
	switch e.port {
	case anyPort:
		return true
	case 0:
		return slices.Contains(ports, port)
	}
	return e.port == int(port)
}

// names says that the entry is a name that means host.
func (e entry) names(host string) bool {
	switch {
	case e.name == "":
		return false
	case e.below:
		return strings.HasSuffix(host, "."+e.name)
	}
	return host == e.name
}

// means says that the entry means the place as it is written.
func (e entry) means(at place) bool {
	if at.addr.IsValid() {
		return e.prefix.IsValid() && e.prefix.Contains(at.addr)
	}
	return e.names(at.host)
}

// rules is a Policy, read.
type rules struct {
	allow, only, deny []entry
	ports             []uint16
}

func (p *Policy) compile() (*rules, error) {
	r := &rules{ports: []uint16{80, 443}}
	for _, list := range []struct {
		name string
		from []string
		to   *[]entry
	}{{"allow", p.Allow, &r.allow}, {"only", p.Only, &r.only}, {"deny", p.Deny, &r.deny}} {
		for i, s := range list.from {
			e, err := parseEntry(s)
			if err != nil {
				return nil, config.Invalid(fmt.Sprintf("%s[%d]", list.name, i),
					"%v; an entry is a name (example.com, *.example.com), an address or a network (10.1.0.0/16); a name or an address may have a port (example.com:8080)", err)
			}
			*list.to = append(*list.to, e)
		}
	}
	if len(p.Ports) > 0 {
		r.ports = nil
	}
	for i, n := range p.Ports {
		port, err := parsePort(strconv.Itoa(n))
		if err != nil {
			return nil, config.Invalid(fmt.Sprintf("ports[%d]", i), "is %d, but a port is a number from 1 to 65535", n)
		}
		r.ports = append(r.ports, port)
	}
	return r, nil
}

// place decides about a name or an address as it is written, before anything is
// resolved. What it lets pass, address decides about.
func (r *rules) place(at place) error {
	for _, e := range r.deny {
		if e.means(at) && (e.port == 0 || e.matchesPort(at.port, nil)) {
			return refuse(at.host, "the configuration denies it")
		}
	}
	listed := func(list []entry) bool {
		return slices.ContainsFunc(list, func(e entry) bool { return e.means(at) && e.matchesPort(at.port, r.ports) })
	}
	only := listed(r.only)
	if len(r.only) > 0 && !only {
		return refuse(at.host, "it is not among the hosts that the configuration lets be reached")
	}
	if !slices.Contains(r.ports, at.port) && !only && !listed(r.allow) {
		return refuse(at.host+" port "+strconv.Itoa(int(at.port)), "only ports "+joinPorts(r.ports)+" may be reached; the operator can allow others")
	}
	if at.addr.IsValid() {
		return r.address(at, at.addr)
	}
	return nil
}

// address decides about the address that a connection to the place is about to
// be made to.
func (r *rules) address(at place, a netip.Addr) error {
	for _, e := range r.deny {
		if e.prefix.IsValid() && e.prefix.Contains(a.Unmap()) && (e.port == 0 || e.matchesPort(at.port, nil)) {
			return refuse(at.host, "the configuration denies it")
		}
	}
	what := notPublic(a)
	if what == "" {
		return nil
	}
	if a.Zone() == "" && !a.Is4In6() {
		for _, e := range r.allow {
			if e.matchesPort(at.port, r.ports) && (e.permitsName(at, a) || e.permitsAddress(a)) {
				return nil
			}
		}
	}
	if at.addr.IsValid() {
		return refuse(at.host, "it is "+what+", not the public internet; the operator can allow it")
	}
	return refuse(at.host, "it leads to "+what+", not to the public internet; the operator can allow it")
}

func (e entry) permitsName(at place, a netip.Addr) bool {
	return e.names(at.host) && !isMetadata(a) &&
		!slices.ContainsFunc(neverByName, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (e entry) permitsAddress(a netip.Addr) bool {
	return e.prefix.IsValid() && e.prefix.Contains(a) && (e.prefix.IsSingleIP() || !isMetadata(a))
}

func joinPorts(ports []uint16) string {
	var b strings.Builder
	for i, p := range ports {
		switch {
		case i > 0 && i == len(ports)-1:
			b.WriteString(" and ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(int(p)))
	}
	return b.String()
}
