package websearch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/internal/testkit"
	"hearth/mcpserver/connector/websearch"
)

// settings are those of an instance with one engine, which asks ENGINE, and without
// plugins, of which some load lists from the internet.
const settings = `
general: {instance_name: test, enable_metrics: false}
brand: {}
search: {formats: [html, FORMAT], safe_search: 0}
server: {secret_key: "0123456789abcdef0123456789abcdef", port: PORT, bind_address: 127.0.0.1, limiter: false, image_proxy: false, public_instance: false}
outgoing: {request_timeout: 5.0}
doi_resolvers: {none: "http://127.0.0.1:1/"}
default_doi_resolver: none
plugins: {}
engines:
  - name: local
    engine: json_engine
    shortcut: lo
    enable_http: true
    categories: [general]
    timeout: 5.0
    search_url: ENGINE/find?text={query}&{time_range}
    time_range_support: true
    time_range_url: "hours={time_range_val}"
    results_query: hits
    url_query: link
    title_query: name
    content_query: text
`

// startSearXNG starts a real instance and returns its address.
func startSearXNG(t *testing.T, engine, format string) string {
	t.Helper()
	python := testkit.SearXNG(t)
	dir := t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "settings.yml")
	text := strings.NewReplacer("ENGINE", engine, "FORMAT", format, "PORT", fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)).Replace(settings)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-m", "searx.webapp")
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	// The server takes over the socket, as after a restart by its reloader: requests
	// wait in it until the instance is there.
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), "SEARXNG_SETTINGS_PATH="+file, "TMPDIR="+dir, "WERKZEUG_RUN_MAIN=true", "WERKZEUG_SERVER_FD=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start SearXNG: %v", err)
	}
	socket.Close()
	ln.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("SearXNG said:\n%s", out.String())
		}
	})
	return "http://" + ln.Addr().String()
}

func TestARealSearXNG(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.RawQuery)
		mu.Unlock()
		if strings.Contains(r.FormValue("text"), "broken") {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		found := []map[string]string{}
		if !strings.Contains(r.FormValue("text"), "nothing") {
			for i := range 25 {
				found = append(found, map[string]string{"link": fmt.Sprintf("https://site%d.example/page?n=%d", i%3, i), "name": fmt.Sprintf("Page <b>%d</b> & more", i), "text": fmt.Sprintf("The value of page %d is v%d.", i, 7*i)})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"hits": found}) // the instance may be gone
	}))
	defer engine.Close()
	s, _ := newConnector(t, websearch.Config{Provider: "searxng", URL: startSearXNG(t, engine.URL, "json"), Timeout: time.Minute})

	r, err := run(t, s, `{"query":"lindow & co","count":20,"freshness":"week"}`)
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Results []struct{ Title, URL, Snippet, Date string }
	}
	if err := json.Unmarshal(r.Structured, &out); err != nil || len(out.Results) != 20 {
		t.Fatalf("%d results, %v", len(out.Results), err)
	}
	if one := out.Results[2]; one.Title != "Page 2 & more" || one.URL != "https://site2.example/page?n=2" || one.Snippet != "The value of page 2 is v14." {
		t.Errorf("%+v", one)
	}
	r, err = run(t, s, `{"query":"lindow","count":3,"site":"site1.example"}`)
	if err != nil || strings.Count(r.Content[0].Text, "\n   https://site1.example/") != 3 || strings.Contains(r.Content[0].Text, "site2") {
		t.Errorf("of one site: %v, %+v", err, r)
	}
	r, err = run(t, s, `{"query":"nothing"}`)
	if err != nil || !strings.Contains(r.Content[0].Text, "Nothing was found.") {
		t.Errorf("nothing: %v, %+v", err, r)
	}
	if _, err = run(t, s, `{"query":"broken"}`); err == nil || !strings.Contains(err.Error(), "engines behind the service did not answer") {
		t.Errorf("an engine that is broken: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"text=lindow+%26+co&hours=168", "text=lindow+site%3Asite1.example&", "text=nothing&"}; len(asked) < 3 || !slices.Equal(asked[:3], want) {
		t.Errorf("the engine was asked %q", asked)
	}
}

func TestASearXNGThatAnswersNoPrograms(t *testing.T) {
	s, _ := newConnector(t, websearch.Config{Provider: "searxng", URL: startSearXNG(t, "http://127.0.0.1:1", "rss"), Timeout: time.Minute})
	_, err := run(t, s, `{"query":"x"}`)
	if text, ok := told(err); !ok || !strings.Contains(text, "search.formats") {
		t.Error(err)
	}
}
