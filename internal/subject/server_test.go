package subject

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
)

// serveAs makes this test program a server, or one that ends at once.
var serveAs = flag.String("serve-as", "", "what to be, on the port that follows")

func TestMain(m *testing.M) {
	flag.Parse()
	switch *serveAs {
	case "":
		os.Exit(m.Run())
	case "broken":
		fmt.Println("no such model")
		os.Exit(3)
	}
	http.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(body)
		switch {
		case strings.Contains(string(body), "refuse"):
			http.Error(w, "not today", http.StatusTeapot)
		case strings.Contains(string(body), "two"):
			fmt.Fprint(w, `{"choices":[{},{}]}`)
		default:
			fmt.Fprint(w, `{"choices":[{"message":{"content":"hello"}}],"usage":{"completion_tokens":7}}`)
		}
	})
	fmt.Println(http.ListenAndServe("127.0.0.1:"+flag.Arg(0), nil))
}

func program(kind string) func(port string) []string {
	return func(port string) []string { return []string{os.Args[0], "-serve-as=" + kind, port} }
}

func TestServer(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, err := Start(t.Context(), "/ready", program("chat"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Content string }
	if n, err := s.Chat(t.Context(), map[string]string{"say": "hello"}, &m); err != nil || n != 7 || m.Content != "hello" {
		t.Errorf("%+v, %d tokens, %v", m, n, err)
	}
	var status *StatusError
	if _, err := s.Chat(t.Context(), "refuse", &m); !errors.As(err, &status) || status.Status != http.StatusTeapot || !strings.Contains(err.Error(), "not today") {
		t.Errorf("refused: %v", err)
	}
	if _, err := s.Chat(t.Context(), "two", &m); err == nil {
		t.Error("an answer of two choices was taken")
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err == nil {
		t.Error("a server that is gone was ended")
	}
}

func TestServerThatDoesNotStart(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := Start(t.Context(), "/ready", program("broken")); err == nil || !strings.Contains(err.Error(), "no such model") {
		t.Errorf("got %v", err)
	}
}
