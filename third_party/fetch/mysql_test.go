package main

import "testing"

func TestDebianMirror(t *testing.T) {
	for sources, want := range map[string]string{
		"Debian-Security http://a.example/security/\nDebian http://b.example/debian/\nDebian http://c.example/debian/\n": "http://b.example/debian/",
		"Debian-Security http://a.example/security/\nOther http://b.example/debian/\n":                                   "",
		"": "",
	} {
		if got := debianMirror(sources); got != want {
			t.Errorf("of %q: %q, want %q", sources, got, want)
		}
	}
}
