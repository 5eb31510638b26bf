package testkit

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// NameServer is a name server on this machine whose answers a test decides about.
type NameServer struct {
	mu sync.Mutex
	// answer gives the addresses of a name, without the last dot; n counts how often
	// that name was asked for before, for the type of that question.
	answer func(name string, n int) []netip.Addr
	asked  map[string]int
	conn   net.PacketConn
}

// StartNameServer starts one for a test, and returns a resolver that asks it and no other.
func StartNameServer(t testing.TB, answer func(name string, n int) []netip.Addr) (*NameServer, *net.Resolver) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &NameServer{answer: answer, asked: map[string]int{}, conn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return s, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (s *NameServer) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
		s.mu.Lock()
		key := q.Type.String() + " " + name
		addrs := s.answer(name, s.asked[key])
		s.asked[key]++
		s.mu.Unlock()
		m.Response, m.Authoritative, m.RecursionAvailable = true, true, true
		m.Additionals = nil
		for _, a := range addrs {
			h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class} // time to live 0
			switch {
			case a.Is4() && q.Type == dnsmessage.TypeA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
			case a.Is6() && q.Type == dnsmessage.TypeAAAA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
		if len(addrs) == 0 {
			m.RCode = dnsmessage.RCodeNameError
		}
		if out, err := m.Pack(); err == nil {
			_, _ = s.conn.WriteTo(out, from) // a resolver that is gone asks no more
		}
	}
}

// Count says how often a name was asked for, for IPv4 addresses.
func (s *NameServer) Count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked["TypeA "+name]
}
