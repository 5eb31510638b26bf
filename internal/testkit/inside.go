package testkit

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
)

// Encodings are URLs with an address inside of the network, in every spelling of it that ever
// got past a check. PORT is where a server of this machine listens that must see none.
var Encodings = []string{
	// this machine
	"http://127.0.0.1:PORT/", "http://127.0.0.2:PORT/", "http://127.1.2.3:PORT/", "http://127.255.255.254:PORT/", "http://0.0.0.0:PORT/",
	"http://0.1.2.3:PORT/", "http://[::1]:PORT/", "http://[::]:PORT/", "http://[0:0:0:0:0:0:0:1]:PORT/",
	"http://[0000:0000:0000:0000:0000:0000:0000:0001]:PORT/",
	// other spellings of IPv4
	"http://2130706433:PORT/", "http://017700000001:PORT/", "http://0x7f000001:PORT/", "http://0x7F000001:PORT/", "http://0177.0.0.1:PORT/",
	"http://0x7f.0.0.1:PORT/", "http://0x7f.1:PORT/", "http://127.1:PORT/", "http://127.0.1:PORT/", "http://0:PORT/", "http://00000177.0.0.01:PORT/",
	"http://127.0.0.1.:PORT/", "http://127.0.0.1..:PORT/", "http://127.0.0.0x1:PORT/", "http://127.0.0.00000001:PORT/", "http://4294967297:PORT/",
	"http://127.0.0.257:PORT/", "http://127.00.00.01:PORT/", "http://0X7F000001:PORT/", "http://0x7f.0x0.0x0.0x1:PORT/", "http://0177.1:PORT/",
	"http://0177.0.01:PORT/", "http://127.0x1:PORT/", "http://0x7f.0.1:PORT/", "http://127.0.0x0001:PORT/", "http://0x000000007f000001:PORT/",
	"http://0000.0.0.0:PORT/", "http://0x0:PORT/", "http://127.16777215:PORT/",
	// Unicode and percent
	"http://１２７.０.０.１:PORT/", "http://127。0。0。1:PORT/", "http://127．0．0．1:PORT/", "http://①②⑦.⓪.⓪.①:PORT/", "http://%31%32%37.0.0.1:PORT/",
	"http://127%2e0%2e0%2e1:PORT/", "http://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1:PORT/",
	// IPv6, and IPv4 inside of it
	"http://[::ffff:127.0.0.1]:PORT/", "http://[::ffff:7f00:1]:PORT/", "http://[0:0:0:0:0:ffff:7f00:0001]:PORT/", "http://[::127.0.0.1]:PORT/",
	"http://[::7f00:1]:PORT/", "http://[::ffff:0:127.0.0.1]:PORT/", "http://[64:ff9b::127.0.0.1]:PORT/", "http://[64:ff9b::7f00:1]:PORT/",
	"http://[64:ff9b:1::7f00:1]:PORT/", "http://[2002:7f00:1::]:PORT/", "http://[2002:7f00:0001::1]:PORT/", "http://[2001:0:7f00:1::]:PORT/",
	"http://[2001:0000:4136:e378:8000:63bf:80ff:fffe]:PORT/", "http://[fe80::5efe:127.0.0.1]:PORT/", "http://[2a00:1450::5efe:7f00:1]:PORT/",
	"http://[2a00:1450::200:5efe:7f00:1]:PORT/", "http://[::ffff:169.254.169.254]/", "http://[::ffff:10.0.0.1]:PORT/", "http://[::FFFF:127.0.0.1]:PORT/",
	"http://[0:0:0:0:0:FFFF:127.0.0.1]:PORT/", "http://[::0001]:PORT/", "http://[0::0:1]:PORT/", "http://[::0.0.0.1]:PORT/",
	"http://[64:ff9b::7F00:0001]:PORT/", "http://[fe80::1%25lo]:PORT/", "http://[::1%25lo]:PORT/", "http://[fe80::1%lo]:PORT/",
	// metadata of clouds
	"http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/", "http://[::ffff:a9fe:a9fe]/", "http://[64:ff9b::a9fe:a9fe]/",
	"http://[2002:a9fe:a9fe::]/", "http://169.16689662/", "http://0xa9.254.0251.254/", "http://１６９.２５４.１６９.２５４/",
}

// Inside are other URLs that lead inside, by a name, by who is taken for the host, or by
// the scheme or port; and the networks that are not the public internet. PORT is as in
// Encodings.
var Inside = []string{
	// names of this machine
	"http://localhost:PORT/", "http://LOCALHOST:PORT/", "http://sub.localhost:PORT/", "http://localhost.:PORT/", "http://ｌｏｃａｌｈｏｓｔ:PORT/",
	"http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/", "http://%6c%6f%63%61%6c%68%6f%73%74:PORT/", "http://loc%61lhost:PORT/", "http://localh\u00adost:PORT/",
	"http://loc\u200balhost:PORT/",
	// who is the host?
	"http://example.com@127.0.0.1:PORT/", "http://user:pass@127.0.0.1:PORT/", "http://127.0.0.1:PORT@localhost:PORT/",
	"http://example.com%40127.0.0.1:PORT/", "http://example.com\\@127.0.0.1:PORT/", "http:\\\\127.0.0.1:PORT/", "http:///127.0.0.1:PORT/",
	"http:127.0.0.1:PORT/", "//127.0.0.1:PORT/", "http://127.0.0.1:PORT#@example.com/", "http://127.0.0.1:PORT?@example.com/",
	"http://[::1]@127.0.0.1:PORT/", "http://[127.0.0.1]:PORT/", "http://::1:PORT/", "http://[::1:PORT/", " http://127.0.0.1:PORT/",
	"http://127.0.0.1:PORT/ HTTP/1.1\r\nX: y", "http://127.0.0.1\t:PORT/", "http://127.0.0.1:0PORT/", "http://127.0.0.1:+PORT/",
	"http://256.256.256.256:PORT/", "http://0x:PORT/", "http://127.0.0.1%00.example.com:PORT/", "http://[::ffff:8.8.8.8]:PORT/",
	// networks inside
	"http://10.0.0.1/", "http://10.255.255.255/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.0.1/", "http://192.168.255.255/",
	"http://100.64.0.1/", "http://100.127.255.255/", "http://169.254.0.1/", "http://192.0.0.1/", "http://192.0.2.1/", "http://198.18.0.1/",
	"http://198.19.255.255/", "http://198.51.100.1/", "http://203.0.113.1/", "http://192.88.99.1/", "http://224.0.0.1/", "http://239.255.255.255/",
	"http://240.0.0.1/", "http://255.255.255.255/", "http://[fc00::1]/", "http://[fd12:3456:789a::1]/", "http://[fe80::1]/", "http://[febf::1]/",
	"http://[fec0::1]/", "http://[ff02::1]/", "http://[2001:db8::1]/", "http://[3fff::1]/", "http://[2001:2::1]/", "http://[100::1]/",
	"http://[5f00::1]/",
	// metadata of clouds
	"http://169.254.169.254/latest/meta-data/", "http://169.254.170.2/", "http://168.63.129.16/", "http://100.100.100.200/", "http://192.0.0.192/",
	"http://[fd00:ec2::254]/", "http://[fd20:ce::254]/", "http://metadata.google.internal/",
	// names that lead inside, and other schemes and ports
	"http://loopback.test:PORT/", "http://loopback6.test:PORT/", "http://mapped.test:PORT/", "http://private.test:PORT/", "http://ula.test:PORT/",
	"http://nat64.test:PORT/", "http://6to4.test:PORT/", "http://multicast.test:PORT/", "http://unspecified.test:PORT/", "http://both.test:PORT/",
	"http://metadata.test/", "http://azure.test/", "ftp://127.0.0.1:PORT/", "file:///etc/passwd", "gopher://127.0.0.1:PORT/_x", "unix:///run/x.sock",
	"jar:http://127.0.0.1:PORT!/", "data:text/html,x", "javascript:alert(1)", "http://93.184.215.14:22/", "http://93.184.215.14:6379/",
	"http://93.184.215.14:0/", "http://93.184.215.14:65536/",
}

// insideNames is what names of Inside lead to.
var insideNames = map[string][]string{
	"loopback.test": {"127.0.0.1"}, "loopback6.test": {"::1"}, "mapped.test": {"::ffff:127.0.0.1"}, "private.test": {"10.0.0.1", "192.168.1.1"},
	"ula.test": {"fd00::1"}, "nat64.test": {"64:ff9b::7f00:1"}, "6to4.test": {"2002:7f00:1::"}, "multicast.test": {"224.0.0.1", "ff02::1"},
	"unspecified.test": {"0.0.0.0", "::"}, "both.test": {"127.0.0.1", "::1"}, "metadata.test": {"169.254.169.254"}, "azure.test": {"168.63.129.16"},
	"metadata.google.internal": {"169.254.169.254"}, "localhost": {"127.0.0.1"}, "sub.localhost": {"127.0.0.1"},
}

// InsideAnswer resolves the names of Inside, for [StartNameServer].
func InsideAnswer(name string, _ int) []netip.Addr {
	var out []netip.Addr
	for _, a := range insideNames[name] {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// StartCanary listens on one port of all addresses of this machine, IPv4 and
// IPv6, and counts the connections that reach it.
func StartCanary(t testing.TB) (port string, reached *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", ":0") // both families, where the machine has both
	if err != nil {
		t.Fatal(err)
	}
	reached = new(atomic.Int64)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("inside")) }),
	}
	srv.SetKeepAlivesEnabled(false) // each request connects anew
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			reached.Add(1)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port), reached
}
