package loadgen

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Group is a number of clients that behave alike.
type Group struct {
	Name    string `json:"name"`
	Clients int    `json:"clients"`
	// Requests of each client; 0: one after another until every group that has
	// a number is done, when what is in flight is cut off.
	Requests          int    `json:"requests"`
	Instruction       string `json:"instruction"`
	PromptWords       int    `json:"prompt_words"`
	SharedSystemWords int    `json:"shared_system_words,omitempty"` // words of one system prompt that all clients send
	MaxTokens         int    `json:"max_tokens"`
	// Texts makes the requests ask for the embeddings of so many texts, of
	// PromptWords words, a half and a quarter of that in turn; 0: chats.
	Texts int `json:"texts,omitempty"`
	// Base64 asks for the vectors in base64, as OpenAI's own client does.
	Base64 bool `json:"base64,omitempty"`
	// Schema, if set, is the JSON Schema that answers must follow.
	Schema json.RawMessage `json:"schema,omitempty"`
	// After names a group: these clients start when each client of that group
	// has received four pieces of an answer.
	After string `json:"after,omitempty"`
}

// Scenario is a pattern of traffic.
type Scenario struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	Groups []Group `json:"groups"`
	// Watch names the group whose times between tokens the scenario is about;
	// empty: all groups. Only the times while all groups ran are counted then.
	Watch string `json:"watch,omitempty"`
}

// startPieces is how many pieces a client must have received to count as decoding.
const startPieces = 4

const (
	instruction     = "Write a long story in which these appear:"
	jsonInstruction = "Invent a person who fits these words and describe the person as JSON:"
)

// personSchema asks for an object with text, a number, a choice and a list.
const personSchema = `{"type":"object","additionalProperties":false,"required":["name","age","home","mood","hobbies"],"properties":{` +
	`"name":{"type":"string"},"age":{"type":"integer","minimum":1,"maximum":120},"home":{"type":"string"},` +
	`"mood":{"type":"string","enum":["calm","cheerful","curious","tired"]},` +
	`"hobbies":{"type":"array","minItems":3,"maxItems":5,"items":{"type":"string"}}}}`

// scenarios are the patterns that there are, in the order of reports.
var scenarios = []Scenario{
	{Name: "single", Title: "one stream", Groups: []Group{
		{Name: "clients", Clients: 1, Requests: 8, Instruction: instruction, PromptWords: 20, MaxTokens: 64},
	}},
	{Name: "parallel", Title: "8 different prompts", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 2, Instruction: instruction, PromptWords: 20, MaxTokens: 64},
	}},
	{Name: "shared-prefix", Title: "8 clients, one new system prompt of 900 words", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 1, Instruction: instruction, PromptWords: 20, SharedSystemWords: 900, MaxTokens: 64},
	}},
	{Name: "mixed", Title: "4 decoding while 4 send prompts of 1,200 words", Watch: "decoding", Groups: []Group{
		{Name: "decoding", Clients: 4, Requests: 0, Instruction: instruction, PromptWords: 20, MaxTokens: 256},
		{Name: "prompts", Clients: 4, Requests: 1, Instruction: instruction, PromptWords: 1200, MaxTokens: 64, After: "decoding"},
	}},
	{Name: "json-schema", Title: "8 clients, answers by a JSON schema", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 2, Instruction: jsonInstruction, PromptWords: 20, MaxTokens: 64, Schema: json.RawMessage(personSchema)},
	}},
	{Name: "embed", Title: "embeddings: 8 clients, one text a request", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 40, PromptWords: 48, Texts: 1},
	}},
	{Name: "embed-lists", Title: "embeddings: 4 clients, lists of 32 texts", Groups: []Group{
		{Name: "clients", Clients: 4, Requests: 2, PromptWords: 120, Texts: 32, Base64: true},
	}},
}

// Embeds reports whether the scenario asks for embeddings instead of text.
func (s Scenario) Embeds() bool { return len(s.Groups) > 0 && s.Groups[0].Texts > 0 }

// Scenarios returns all scenarios in the order of reports.
func Scenarios() []Scenario {
	out := make([]Scenario, len(scenarios))
	for i, s := range scenarios {
		s.Groups = append([]Group(nil), s.Groups...)
		out[i] = s
	}
	return out
}

// Names returns the names of all scenarios.
func Names() []string {
	names := make([]string, len(scenarios))
	for i, s := range scenarios {
		names[i] = s.Name
	}
	return names
}

// Find returns the scenario of that name, or an error that lists what there is.
func Find(name string) (Scenario, error) {
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, nil
		}
	}
	return Scenario{}, fmt.Errorf("no scenario %q: choose one of %s", name, strings.Join(Names(), ", "))
}

// Resize returns s with other numbers; zero leaves one as it is. clients and
// requests (of each client) are refused for a scenario of more than one group,
// where they would have no single meaning.
func (s Scenario) Resize(clients, requests, maxTokens int) (Scenario, error) {
	for name, v := range map[string]int{"clients": clients, "requests": requests, "max-tokens": maxTokens} {
		if v < 0 {
			return s, fmt.Errorf("%s is %d: give a number above zero, or leave it out", name, v)
		}
	}
	if len(s.Groups) > 1 && (clients > 0 || requests > 0) {
		return s, fmt.Errorf("scenario %s has %d groups of clients: their numbers are fixed, only the number of tokens can be set", s.Name, len(s.Groups))
	}
	if s.Embeds() && maxTokens > 0 {
		return s, fmt.Errorf("scenario %s asks for embeddings, which have no number of tokens: leave max-tokens out", s.Name)
	}
	groups := append([]Group(nil), s.Groups...)
	for i := range groups {
		if clients > 0 {
			groups[i].Clients = clients
		}
		if requests > 0 {
			groups[i].Requests = requests
		}
		if maxTokens > 0 {
			groups[i].MaxTokens = maxTokens
		}
	}
	s.Groups = groups
	return s, s.validate()
}

func (s Scenario) validate() error {
	named := map[string]bool{}
	finite := false
	for _, g := range s.Groups {
		if embeds := g.Texts != 0; embeds != s.Embeds() || embeds && (g.Texts < 0 || g.MaxTokens != 0) {
			return fmt.Errorf("scenario %s, group %s: either all groups ask for embeddings, of at least one text and without max_tokens, or none does", s.Name, g.Name)
		}
		if g.Clients < 1 || g.Requests < 0 || g.MaxTokens < 1 && g.Texts == 0 || g.PromptWords < 1 || g.SharedSystemWords < 0 {
			return fmt.Errorf("scenario %s, group %s: clients, max_tokens and prompt_words must be at least 1 and no number below zero", s.Name, g.Name)
		}
		if g.After != "" && !named[g.After] {
			return fmt.Errorf("scenario %s, group %s: starts after %q, which is no group before it", s.Name, g.Name, g.After)
		}
		named[g.Name] = true
		finite = finite || g.Requests > 0
	}
	if !finite {
		return fmt.Errorf("scenario %s: no group has a number of requests, so it would never end", s.Name)
	}
	if s.Watch != "" && !named[s.Watch] {
		return fmt.Errorf("scenario %s: watches %q, which is no group of it", s.Name, s.Watch)
	}
	return nil
}

// total returns the requests of the groups that have a number.
func (s Scenario) total() int {
	n := 0
	for _, g := range s.Groups {
		n += g.Clients * g.Requests
	}
	return n
}
