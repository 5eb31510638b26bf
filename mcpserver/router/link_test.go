package router

import (
	"context"
	"testing"

	"hearth/inference"
)

// library is a connector that has resources, too.
type library struct{ *fakeConnector }

func (library) Resources(context.Context, string, int) ([]Resource, string, error) {
	return nil, "", nil
}

func (library) ResourceTemplates(context.Context) ([]ResourceTemplate, error) { return nil, nil }

func (library) ReadResource(_ context.Context, uri string) ([]ResourceContents, error) {
	return []ResourceContents{{URI: uri, Text: "contents of " + uri}}, nil
}

// TestLinksLeadBack reads what a result links to, by the URI that the client got.
func TestLinksLeadBack(t *testing.T) {
	w := newWorld(t, nil)
	f := offers("get")
	f.run = func(context.Context, *Call) (*Result, error) {
		return &Result{Content: []Content{
			{Type: ContentLink, Resource: Resource{URI: "file:///a", Name: "a"}},
			{Type: ContentResource, Contents: ResourceContents{URI: "file:///b", Text: "b"}},
		}}, nil
	}
	w.add(t, "docs", library{f}, Options{})
	w.add(t, "plain", f, Options{})
	result, err := w.call(t.Context(), "docs__get", `{}`)
	if err != nil {
		t.Fatal(err)
	}
	link, inside := result.Content[0].Resource.URI, result.Content[1].Contents.URI
	if link != "docs+file:///a" || inside != "docs+file:///b" {
		t.Errorf("%s, %s", link, inside)
	}
	for uri, want := range map[string]string{link: "contents of file:///a", inside: "contents of file:///b"} {
		if got, err := w.ReadResource(t.Context(), inference.DefaultCaller, "", uri); err != nil || got[0].URI != uri || got[0].Text != want {
			t.Errorf("%s: %+v, %v", uri, got, err)
		}
	}
	if result, err = w.call(t.Context(), "plain__get", `{}`); err != nil || result.Content[0].Resource.URI != "file:///a" {
		t.Errorf("of a connector without resources: %+v, %v", result, err)
	}
}
