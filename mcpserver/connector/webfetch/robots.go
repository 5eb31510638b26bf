package webfetch

import (
	"strconv"
	"strings"
	"time"
)

// maxRobots is how much of a robots.txt is read, in bytes (RFC 9309, section 2.5,
// asks for at least 500 KiB).
const maxRobots = 512 << 10

// robots is what a robots.txt says to one product (RFC 9309).
type robots struct {
	rules []robotsRule
	delay time.Duration // Crawl-delay, which the RFC does not know and many files have
}

type robotsRule struct {
	allow   bool
	pattern string // percent-encoded as matchPath compares it
}

// everything and nothing are what stands in for a file that there is none of, or
// that cannot be had.
var (
	everything = &robots{}
	nothing    = &robots{rules: []robotsRule{{allow: false, pattern: "/"}}}
)

// parseRobots reads a robots.txt for the product. It never fails: what it does not
// understand it passes over, as the RFC asks.
func parseRobots(text, product string) *robots {
	text = strings.TrimPrefix(text, "\ufeff")
	var own, all robots
	var named bool     // there is a group for the product
	var mine, any bool // the group that is being read is for it, or for everybody
	inAgents := false  // the last line named an agent: another one joins the group
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		line, _, _ = strings.Cut(line, "#")
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch key {
		case "user-agent":
			if !inAgents {
				mine, any = false, false
			}
			inAgents = true
			if value == "*" {
				any = true
			} else if token := agentToken(value); token != "" && strings.EqualFold(token, product) {
				mine, named = true, true
			}
			continue
		case "allow", "disallow":
			inAgents = false
			if value == "" {
				continue // allows everything, which is what no rule does
			}
			rule := robotsRule{allow: key == "allow", pattern: normalPath(value)}
			if mine {
				own.rules = append(own.rules, rule)
			}
			if any {
				all.rules = append(all.rules, rule)
			}
		case "crawl-delay":
			inAgents = false
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil || !(seconds > 0 && seconds <= 3600) { // NaN is neither
				continue
			}
			delay := time.Duration(seconds * float64(time.Second))
			if mine {
				own.delay = delay
			}
			if any {
				all.delay = delay
			}
		}
	}
	if named {
		return &own
	}
	return &all
}

// allows says whether a path, with its query, may be fetched: the longest pattern
// that matches decides, and of two as long the one that allows.
func (r *robots) allows(path string) bool {
	path = normalPath(path)
	if path == "/robots.txt" {
		return true
	}
	longest, allow := -1, true
	for _, rule := range r.rules {
		if n := len(rule.pattern); (n > longest || n == longest && rule.allow) && matchPath(rule.pattern, path) {
			longest, allow = n, rule.allow
		}
	}
	return allow
}

// matchPath says whether a pattern, in which * stands for any text and a $ at its
// end for the end, matches from the beginning of the path. It takes time linear
// in each piece between two *.
func matchPath(pattern, path string) bool {
	anchored := strings.HasSuffix(pattern, "$")
	pieces := strings.Split(strings.TrimSuffix(pattern, "$"), "*")
	if !strings.HasPrefix(path, pieces[0]) {
		return false
	}
	path = path[len(pieces[0]):]
	for i, piece := range pieces[1:] {
		if anchored && i == len(pieces)-2 {
			return strings.HasSuffix(path, piece)
		}
		at := strings.Index(path, piece)
		if at < 0 {
			return false
		}
		path = path[at+len(piece):]
	}
	return !anchored || path == ""
}

// normalPath brings paths and patterns into one spelling: bytes that are not ASCII
// percent-encoded, percent-encodings of what needs none decoded, hexadecimal
// digits in capitals (RFC 9309, section 2.2.2).
func normalPath(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8) // two hexadecimal digits
			if unreserved(byte(n)) {
				b.WriteByte(byte(n))
			} else {
				b.WriteString(strings.ToUpper(s[i : i+3]))
			}
			i += 2
		case c >= 0x80 || c <= ' ' || c == '%': // one that begins no encoding
			b.WriteByte('%')
			b.WriteByte("0123456789ABCDEF"[c>>4])
			b.WriteByte("0123456789ABCDEF"[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// unreserved are the characters of RFC 3986, section 2.3.
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// agentToken is the product token that a user agent begins with: letters, _ and -.
func agentToken(agent string) string {
	for i := range len(agent) {
		c := agent[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return agent[:i]
		}
	}
	return agent
}
