package upstream_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/testkit"
	"hearth/mcpserver/connector/upstream"
	"hearth/mcpserver/router"
)

// reference is one of the official servers, as a program.
func reference(t *testing.T, name string, args ...string) upstream.Config {
	t.Helper()
	node, modules := testkit.NPM(t)
	return upstream.Config{
		Command: node, Args: append([]string{filepath.Join(modules, "@modelcontextprotocol", "server-"+name, "dist", "index.js")}, args...),
		Connect: time.Minute,
	}
}

func TestEverythingOverStdio(t *testing.T) {
	cfg := reference(t, "everything")
	cfg.ReadOnly = []string{"echo", "get-*"}
	everything(t, cfg)
}

// everything drives what the official server of that name offers.
func everything(t *testing.T, cfg upstream.Config) {
	u := started(t, cfg)
	tools := u.Tools()
	if !slices.IsSorted(names(tools)) || len(tools) < 8 {
		t.Fatalf("tools: %q", names(tools))
	}
	for _, tool := range tools {
		readOnly := tool.Name == "echo" || strings.HasPrefix(tool.Name, "get-")
		if tool.Effects.ReadOnly() != readOnly || !tool.Effects.Untrusted || !tool.Effects.Outside {
			t.Errorf("%s: effects %+v", tool.Name, tool.Effects)
		}
	}
	if got := text(call(t, u, "echo", `{"message":"a value of this run"}`)); got != "Echo: a value of this run" {
		t.Errorf("echo: %q", got)
	}
	if r, err := try(t, u, "echo", `{"message":7}`); err == nil && !r.IsError {
		t.Error("the server takes a number for a text")
	}
	kinds := map[router.ContentType]int{}
	for _, c := range call(t, u, "get-tiny-image", `{}`).Content {
		kinds[c.Type]++
		if c.Type == router.ContentImage && (c.MIME != "image/png" || len(c.Data) < 100 || string(c.Data[1:4]) != "PNG") {
			t.Errorf("image: %s, %d bytes", c.MIME, len(c.Data))
		}
	}
	for _, c := range call(t, u, "get-resource-links", `{"count":2}`).Content {
		kinds[c.Type]++
		if c.Type == router.ContentLink && c.Resource.URI == "" {
			t.Errorf("link: %+v", c.Resource)
		}
	}
	for _, c := range call(t, u, "get-resource-reference", `{"resourceType":"Text","resourceId":1}`).Content {
		kinds[c.Type]++
	}
	for _, kind := range []router.ContentType{router.ContentText, router.ContentImage, router.ContentLink, router.ContentResource} {
		if kinds[kind] == 0 {
			t.Errorf("no content of the kind %s: %v", kind, kinds)
		}
	}
	structured := call(t, u, "get-structured-content", `{"location":"Chicago"}`)
	var weather struct {
		Conditions string `json:"conditions"`
	}
	if err := json.Unmarshal(structured.Structured, &weather); err != nil || weather.Conditions == "" {
		t.Errorf("structured: %s", structured.Structured)
	}
	annotated := call(t, u, "get-annotated-message", `{"messageType":"error","includeImage":false}`)
	if len(annotated.Content) == 0 || !strings.Contains(string(annotated.Content[0].Annotations), "priority") {
		t.Errorf("annotations: %+v", annotated.Content)
	}

	var mu sync.Mutex
	var steps []router.Progress
	call(t, u, "trigger-long-running-operation", `{"duration":0.2,"steps":4}`, func(c *router.Call) {
		c.Progress = func(p router.Progress) {
			mu.Lock()
			defer mu.Unlock()
			steps = append(steps, p)
		}
	})
	mu.Lock()
	if len(steps) < 3 || steps[0].Total != 4 {
		t.Errorf("progress: %+v", steps)
	}
	mu.Unlock()

	ctx := within(t, time.Minute)
	page, _, err := u.Resources(ctx, "", 100)
	if err != nil || len(page) == 0 {
		t.Fatalf("resources: %v %v", page, err)
	}
	contents, err := u.ReadResource(ctx, page[0].URI)
	if err != nil || len(contents) == 0 || contents[0].Text == "" {
		t.Errorf("read %s: %+v %v", page[0].URI, contents, err)
	}
	if _, err := u.ReadResource(ctx, "demo://resource/no/such"); err == nil {
		t.Error("a resource that is not there was read")
	}
	if templates, err := u.ResourceTemplates(ctx); err != nil || len(templates) == 0 {
		t.Errorf("templates: %v %v", templates, err)
	}
	stop, err := u.Watch(ctx, page[0].URI)
	if err != nil {
		t.Errorf("watch: %v", err)
	} else {
		stop()
	}

	prompts := u.Prompts()
	if len(prompts) < 3 {
		t.Fatalf("prompts: %+v", prompts)
	}
	_, messages, err := u.Prompt(ctx, "args-prompt", map[string]string{"city": "Vienna"})
	if err != nil || len(messages) == 0 || !strings.Contains(messages[0].Content.Text, "Vienna") {
		t.Errorf("prompt: %+v %v", messages, err)
	}
	values, total, err := u.Complete(ctx, "completable-prompt", "department", "E", nil)
	if err != nil || !slices.Contains(values, "Engineering") || total < 1 {
		t.Errorf("complete: %v %d %v", values, total, err)
	}

	person := &peer{action: "accept", values: `{"name":"Ada"}`}
	answer, err := try(t, u, "trigger-elicitation-request", `{}`, func(c *router.Call) { c.Peer = person })
	if err != nil || !strings.Contains(text(answer), "Ada") || len(person.questions()) != 1 {
		t.Errorf("elicitation: %v %v, asked %q", answer, err, person.questions())
	}
}

func TestFilesystemServer(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("written by the test"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := reference(t, "filesystem", dir)
	cfg.TrustAnnotations = true
	cfg.Tools = []string{"read_*", "write_file"}
	u := started(t, cfg)
	for _, tool := range u.Tools() {
		if tool.Effects.ReadOnly() != (tool.Name != "write_file") {
			t.Errorf("%s: %+v", tool.Name, tool.Effects)
		}
	}
	quoted, _ := json.Marshal(filepath.Join(dir, "a.txt"))
	if got := text(call(t, u, "read_text_file", `{"path":`+string(quoted)+`}`)); got != "written by the test" {
		t.Errorf("read: %q", got)
	}
	if _, err := try(t, u, "list_directory", `{}`); err == nil {
		t.Error("a tool that is not in the list was called")
	}
	if r := call(t, u, "read_text_file", `{"path":"/etc/passwd"}`); !r.IsError {
		t.Error("the server reads outside of its folder")
	}
}

func TestMemoryAndThinkingServers(t *testing.T) {
	cfg := reference(t, "memory")
	cfg.Env = map[string]string{"MEMORY_FILE_PATH": filepath.Join(t.TempDir(), "memory.jsonl")}
	u := started(t, cfg)
	call(t, u, "create_entities", `{"entities":[{"name":"Ada","entityType":"person","observations":["likes engines"]}]}`)
	if got := text(call(t, u, "search_nodes", `{"query":"engines"}`)); !strings.Contains(got, "Ada") {
		t.Errorf("search: %q", got)
	}
	thinking := started(t, reference(t, "sequential-thinking"))
	got := text(call(t, thinking, "sequentialthinking", `{"thought":"x","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`))
	if !strings.Contains(got, "thoughtHistoryLength") {
		t.Errorf("thinking: %q", got)
	}
}
