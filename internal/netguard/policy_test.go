package netguard_test

import (
	"errors"
	"strings"
	"testing"

	"hearth/internal/config"
	"hearth/internal/netguard"
)

func TestPolicy(t *testing.T) {
	type p = netguard.Policy
	tests := []struct {
		name   string
		policy p
		yes    []string
		no     []string
	}{
		{
			"an address",
			p{Allow: []string{"10.1.2.3"}},
			[]string{"http://10.1.2.3/", "https://10.1.2.3/", "http://93.184.215.14/"},
			[]string{"http://10.1.2.4/", "http://10.1.2.3:8080/", "http://[::ffff:10.1.2.3]/", "http://167838211/"},
		},
		{
			"an address with a port",
			p{Allow: []string{"10.1.2.3:8080", "[fd00::7]:81"}},
			[]string{"http://10.1.2.3:8080/", "http://[fd00::7]:81/", "http://[FD00:0::7]:81/"},
			[]string{"http://10.1.2.3/", "http://10.1.2.3:8081/", "http://[fd00::7]/", "http://93.184.215.14:8080/"},
		},
		{"any port", p{Allow: []string{"10.1.2.3:*"}}, []string{"http://10.1.2.3:1/", "http://10.1.2.3:65535/"}, []string{"http://10.1.2.4:1/"}},
		{
			"a network",
			p{Allow: []string{"10.0.0.0/8", "169.254.0.0/16", "fd00::/8"}, Ports: []int{80, 9000}},
			[]string{"http://10.255.0.1:9000/", "http://169.254.7.7/", "http://[fdff::1]/"},
			[]string{"http://11.0.0.1:443/", "http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://127.0.0.1/"},
		},
		{"metadata by itself", p{Allow: []string{"169.254.169.254"}}, []string{"http://169.254.169.254/"}, []string{"http://169.254.169.253/"}},
		{
			"names",
			p{Allow: []string{"wiki.corp:8080", "*.int.corp"}},
			[]string{"http://wiki.corp:8080/", "http://WIKI.corp:8080/", "http://wiki.corp/", "http://example.com/"},
			[]string{"http://wiki.corp:8081/", "http://x.wiki.corp:8080/", "http://a.int.corp:81/"},
		},
		{
			"only",
			p{Only: []string{"example.com", "*.example.org", "93.184.215.14:8080"}},
			[]string{"http://example.com/", "https://a.b.example.org/", "http://93.184.215.14:8080/"},
			[]string{"http://example.org/", "http://www.example.com/", "http://notexample.com/", "http://example.com.evil.test/", "http://1.1.1.1/", "http://93.184.215.14/", "http://example.com:8080/"},
		},
		{"only is no allowance", p{Only: []string{"10.0.0.0/8"}}, nil, []string{"http://10.0.0.1/"}},
		{
			"deny",
			p{Allow: []string{"10.0.0.0/8", "db.corp:*"}, Deny: []string{"10.9.0.0/16", "db.corp:5432", "*.evil.test", "1.1.1.1"}},
			[]string{"http://10.8.0.1/", "http://db.corp:80/", "http://evil.test/"},
			[]string{"http://10.9.0.1/", "http://db.corp:5432/", "http://a.evil.test/", "https://1.1.1.1/"},
		},
		{"ports", p{Ports: []int{8443}}, []string{"https://example.com:8443/"}, []string{"https://example.com/"}},
	}
	for _, tt := range tests {
		g, err := netguard.New(netguard.Options{Policy: tt.policy})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for _, u := range tt.yes {
			if _, err := g.CheckURL(u); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		for _, u := range tt.no {
			if _, err := g.CheckURL(u); !errors.Is(err, netguard.ErrForbidden) {
				t.Errorf("%s: %s: %v", tt.name, u, err)
			}
		}
	}
}

func TestOrigins(t *testing.T) {
	policy, err := netguard.Origins("http://127.0.0.1:8080/v1", "https://[::1]", "https://API.corp/base")
	if err != nil {
		t.Fatal(err)
	}
	g, err := netguard.New(netguard.Options{Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	for u, ok := range map[string]bool{
		"http://127.0.0.1:8080/x": true, "https://[::1]/": true, "https://api.corp/": true,
		"http://127.0.0.1/": false, "http://[::1]/": false, "http://api.corp/": false, "https://api.corp:8443/": false, "https://example.com/": false,
	} {
		if _, err := g.CheckURL(u); (err == nil) != ok {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, bad := range []string{"ftp://x/", "http://", "http://a b/", "http://u:p@host/", "http://127.1/", ":"} {
		if _, err := netguard.Origins(bad); err == nil {
			t.Errorf("Origins took %q", bad)
		} else if strings.Contains(err.Error(), ":p@") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

func TestABadEntryIsNamed(t *testing.T) {
	for path, p := range map[string]netguard.Policy{
		"allow[1]": {Allow: []string{"ok.example", "10.0.0.0/33"}},
		"allow[0]": {Allow: []string{"10.1.0.1/16"}},
		"only[0]":  {Only: []string{"http://example.com/"}},
		"only[1]":  {Only: []string{"a.example", "a.*.example"}},
		"deny[0]":  {Deny: []string{"example.com:0"}},
		"deny[1]":  {Deny: []string{"a.example", ""}},
		"deny[2]":  {Deny: []string{"a.example", "b.example", "*.10.0.0.1"}},
		"ports[0]": {Ports: []int{70000}},
		"allow[2]": {Allow: []string{"a.example", "::1", "::ffff:10.0.0.1"}},
	} {
		err := p.Check()
		var f *config.FieldError
		if !errors.As(err, &f) || f.Path != path {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := netguard.New(netguard.Options{Policy: p}); err == nil {
			t.Errorf("%s: New took it", path)
		}
	}
}

func TestTheFormOfURLs(t *testing.T) {
	g, err := netguard.New(netguard.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{
		"", "/", "example.com", "http://", "http://?x", "http://93.184.215.14:/", "http://[2606:4700::1111]:/", "http://example.com:080/", "http://a..example/", "http://.example/", "http://-a.example/",
		"http://" + strings.Repeat("a", 64) + ".example/", "http://" + strings.Repeat("abc.", 64) + "example/", "http://exa mple.com/", "http://example.com/a b", "http://example.com/\n",
		"http://ex!ample.com/", "http://ex*ample.com/", "http://example.com/" + strings.Repeat("a", netguard.MaxURLBytes), "http://\xff\xfe/", "http://user@example.com/",
	} {
		if u, err := g.CheckURL(raw); !errors.Is(err, netguard.ErrForbidden) {
			t.Errorf("%.80q: %v, %v", raw, u, err)
		} else if strings.Contains(err.Error(), "user@") {
			t.Errorf("the error holds the user: %v", err)
		}
	}
}
