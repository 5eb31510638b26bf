package mcpserver

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// origins are the web pages that may talk to the endpoint: those of a loopback
// host always, and those listed. Programs that are not browsers send no Origin
// header and are not held by this.
type origins map[string]bool

func newOrigins(list []string) (origins, error) {
	o := origins{}
	for _, entry := range list {
		canonical, _, err := parseOrigin(entry)
		if err != nil {
			return nil, fmt.Errorf("allowed origin %q: %w", entry, err)
		}
		o[canonical] = true
	}
	return o, nil
}

// allow reports whether the request comes from no page or from a page that may.
func (o origins) allow(r *http.Request) bool {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return true
	}
	if len(values) > 1 {
		return false
	}
	canonical, loopback, err := parseOrigin(values[0])
	return err == nil && (loopback || o[canonical])
}

// parseOrigin reads scheme://host[:port] and nothing more.
func parseOrigin(s string) (canonical string, loopback bool, err error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") ||
		u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(s, "?") || strings.HasSuffix(s, "#") {
		return "", false, fmt.Errorf("must be scheme://host or scheme://host:port with http or https and nothing behind")
	}
	host := strings.ToLower(u.Hostname())
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	addr, aerr := netip.ParseAddr(host)
	loopback = host == "localhost" || strings.HasSuffix(host, ".localhost") || aerr == nil && addr.Unmap().IsLoopback()
	return u.Scheme + "://" + host + ":" + port, loopback, nil
}
