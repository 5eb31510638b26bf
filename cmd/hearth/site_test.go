package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdSite serves a folder for the rest of the script, with the search interface of
// SearXNG at /search, which finds the folder's pages by their names. In the files
// named, SITE becomes the server's address: site FOLDER FILE...
func cmdSite(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: site FOLDER FILE...")
	}
	dir := ts.MkAbs(args[0])
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(dir)))
	mux.HandleFunc("/search", func(w http.ResponseWriter, r *http.Request) {
		results := []map[string]string{}
		entries, _ := os.ReadDir(dir) // a script without the folder fails by what it looks for
		for _, e := range entries {
			if strings.Contains(e.Name(), r.FormValue("q")) {
				results = append(results, map[string]string{"title": e.Name(), "url": "http://" + r.Host + "/" + e.Name(), "content": "found by its name"})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"results": results}) // the client may be gone
	})
	s := httptest.NewServer(mux)
	ts.Defer(s.Close)
	for _, name := range args[1:] {
		text := strings.ReplaceAll(ts.ReadFile(name), "SITE", s.Listener.Addr().String())
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}
