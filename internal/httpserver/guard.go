package httpserver

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
)

// guard decides by Host and Origin who is answered. Its lists can be swapped.
type guard struct{ lists atomic.Pointer[guardLists] }

type guardLists struct {
	hosts   map[string]bool // "name" (any port) or "name:port"
	origins map[string]bool
}

func (g *guard) allow(hosts, origins []string) {
	l := &guardLists{hosts: map[string]bool{}, origins: map[string]bool{}}
	for _, h := range hosts {
		l.hosts[strings.ToLower(h)] = true
	}
	for _, o := range origins {
		l.origins[strings.ToLower(o)] = true
	}
	g.lists.Store(l)
}

func (g *guard) hostAllowed(hostport string) bool {
	host, port := splitHost(hostport)
	if host == "" {
		return false
	}
	l := g.lists.Load()
	return isLoopback(host) || l.hosts[host] || l.hosts[host+":"+port]
}

func (g *guard) originAllowed(origin string) bool {
	u, err := parseOrigin(origin)
	if err != nil {
		return false
	}
	return isLoopback(u.Hostname()) || g.lists.Load().origins[strings.ToLower(origin)]
}

// middleware refuses foreign hosts and origins on every route, answers the
// preflight of allowed ones, and lets their pages read the answers.
func (g *guard) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.hostAllowed(r.Host) {
			Refuse(w, http.StatusForbidden, "host_not_allowed", fmt.Sprintf("the Host header %q is not a name of this server: use a loopback name, or add it to server.allowed_hosts", r.Host))
			return
		}
		origins := r.Header.Values("Origin")
		if len(origins) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Add("Vary", "Origin")
		if len(origins) > 1 || !g.originAllowed(origins[0]) {
			Refuse(w, http.StatusForbidden, "origin_not_allowed", fmt.Sprintf("web pages of %q may not call this server: add the origin to server.allowed_origins if they should", strings.Join(origins, ", ")))
			return
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origins[0])
		h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After, Mcp-Session-Id, Mcp-Protocol-Version")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
			// The origin was allowed, so it may send what headers it likes.
			h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}
