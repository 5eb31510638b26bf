package netguard

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Bounds of what is read as a URL.
const (
	// MaxURLBytes bounds a URL.
	MaxURLBytes = 8 << 10
	maxHost     = 253
	maxLabel    = 63
)

// place is where a connection is to go: a name or an address, and a port.
type place struct {
	host string     // a name in lower case, or an address in its canonical spelling
	addr netip.Addr // valid: host is an address
	port uint16
}

func (p place) String() string {
	if p.addr.Is6() {
		return "[" + p.host + "]:" + strconv.Itoa(int(p.port))
	}
	return p.host + ":" + strconv.Itoa(int(p.port))
}

// placeOf reads where u leads. It takes one spelling of an address only, the
// canonical one: any other is understood in different ways by different programs,
// and serves to get past checks.
func placeOf(u *url.URL) (place, error) {
	shown := u.Host
	if shown == "" {
		shown = "the URL"
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return place{}, refuse(shown, "only http and https URLs are fetched")
	case u.Opaque != "" || u.Host == "":
		return place{}, refuse(shown, "a URL needs a host, as in https://example.com/")
	case u.User != nil:
		return place{}, refuse(shown, "a URL must not hold a user name or password")
	}
	host, portText, err := splitHost(u.Host)
	if err != nil {
		return place{}, err
	}
	p, err := canonical(host, strings.HasPrefix(u.Host, "["))
	if err != nil {
		return place{}, err
	}
	switch {
	case portText != "":
		p.port, err = parsePort(portText)
	case u.Scheme == "https":
		p.port = 443
	default:
		p.port = 80
	}
	return p, err
}

// splitHost splits host[:port] without giving either a meaning.
func splitHost(hostport string) (host, port string, err error) {
	if rest, ok := strings.CutPrefix(hostport, "["); ok {
		inside, after, closed := strings.Cut(rest, "]")
		if !closed || (after != "" && !strings.HasPrefix(after, ":")) {
			return "", "", refuse(hostport, "the address is not closed by a ]")
		}
		after, colon := strings.CutPrefix(after, ":")
		if colon && after == "" {
			return "", "", refuse(hostport, "there is no port behind the colon")
		}
		return inside, after, nil
	}
	host, port, colon := strings.Cut(hostport, ":")
	if colon && (port == "" || strings.Contains(port, ":")) {
		return "", "", refuse(hostport, "what stands behind the host must be a port; an IPv6 address stands in brackets")
	}
	return host, port, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, refuse("port "+strconv.Quote(s), "a port is a number from 1 to 65535")
	}
	return uint16(n), nil
}

// canonical checks the form of a host and brings names into lower-case ASCII.
func canonical(host string, bracketed bool) (place, error) {
	if bracketed {
		a, err := netip.ParseAddr(host)
		switch {
		case err != nil || !a.Is6():
			return place{}, refuse(host, "what stands in brackets must be an IPv6 address")
		case a.Zone() != "":
			return place{}, refuse(host, "an address must not name a zone")
		}
		return place{host: a.String(), addr: a}, nil
	}
	if len(host) > 4*maxHost { // what Unicode takes of it at most, and punycode takes quadratic time
		return place{}, refuse("the host", "the name of a host has at most 253 characters")
	}
	name := host
	if !isASCII(host) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil || !utf8.ValidString(host) {
			return place{}, refuse(strconv.QuoteToASCII(host), "this is not a name of a host")
		}
		if endsInNumber(ascii) {
			return place{}, refuse(strconv.QuoteToASCII(host), "an address must be written in plain digits")
		}
		name = ascii
	}
	name = strings.ToLower(name)
	if endsInNumber(name) {
		a, err := netip.ParseAddr(name)
		if err != nil || !a.Is4() || a.String() != name {
			return place{}, refuse(host, "an IPv4 address must be four decimal numbers, as in 192.0.2.7")
		}
		return place{host: name, addr: a}, nil
	}
	if reason := badName(name); reason != "" {
		return place{}, refuse(strconv.QuoteToASCII(host), reason)
	}
	return place{host: name}, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// endsInNumber says that some program would read the host as an IPv4 address: its
// last label is a decimal, octal or hexadecimal number (the WHATWG URL standard,
// "ends in a number checker").
func endsInNumber(host string) bool {
	host = strings.TrimRight(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	if rest, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(rest, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// badName says what is wrong with a lower-case ASCII name, or "".
func badName(name string) string {
	if len(name) > maxHost {
		return "the name of a host has at most 253 characters"
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "a name of a host must not have an empty part or end in a dot"
		case len(label) > maxLabel:
			return "a part of the name of a host has at most 63 characters"
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || !onlyNameBytes(label):
			return "this is not a name of a host"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "this is not a name of a host"
		}
	}
	return ""
}

func onlyNameBytes(label string) bool {
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
