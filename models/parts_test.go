package models

import (
	"bytes"
	"slices"
	"testing"
)

func TestParts(t *testing.T) {
	split := func(n uint32) *Header {
		b := head(0, 1).put("split.count", KindUint32, n).Bytes()
		h, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for _, c := range []struct {
		path  string
		count uint32
		want  []string
	}{
		{"/m/a.gguf", 0, []string{"/m/a.gguf"}},
		{"/m/a-00001-of-00003.gguf", 3, []string{"/m/a-00001-of-00003.gguf", "/m/a-00002-of-00003.gguf", "/m/a-00003-of-00003.gguf"}},
		{"/m/a-00001-of-00003.gguf", 2, []string{"/m/a-00001-of-00003.gguf"}},
		{"/m/a-00002-of-00003.gguf", 3, []string{"/m/a-00002-of-00003.gguf"}},
		{"/m/renamed.gguf", 3, []string{"/m/renamed.gguf"}},
		{"/m/a-00001-of-4294967295.gguf", 1<<32 - 1, []string{"/m/a-00001-of-4294967295.gguf"}},
	} {
		if got := Parts(c.path, split(c.count)); !slices.Equal(got, c.want) {
			t.Errorf("Parts(%q) of %d = %q, want %q", c.path, c.count, got, c.want)
		}
	}
}
