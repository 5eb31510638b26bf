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
	// Conversations, if set, makes the requests of a client the turns of so many
	// conversations, which it has in turn: a request sends all that was said in
	// its conversation before, as this very server answered it, and then
	// TurnWords new words, as the results of the tools that the answer called or
	// else as the user's.
	Conversations int `json:"conversations,omitempty"`
	TurnWords     int `json:"turn_words,omitempty"`
	// Tools offers so many tools. An answer has to call one, unless ToolChoice is
	// "auto", which leaves it to the model.
	Tools      int    `json:"tools,omitempty"`
	ToolChoice string `json:"tool_choice,omitempty"`
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

// toolAuto and toolRequired are the choices about tools.
const (
	toolAuto     = "auto"
	toolRequired = "required"
)

// startPieces is how many pieces a client must have received to count as decoding.
const startPieces = 4

// Embeds reports whether the scenario asks for embeddings instead of text.
func (s Scenario) Embeds() bool { return len(s.Groups) > 0 && s.Groups[0].Texts > 0 }

// Documents reports whether answers are documents, of a schema or as tool calls.
func (s Scenario) Documents() bool {
	return len(s.Groups) > 0 && (len(s.Groups[0].Schema) > 0 || s.Groups[0].Tools > 0)
}

// Converses reports whether clients have conversations of several turns.
func (s Scenario) Converses() bool { return len(s.Groups) > 0 && s.Groups[0].Conversations > 0 }

// grammar tells whether a grammar decides when an answer ends.
func (g *Group) grammar() bool { return len(g.Schema) > 0 || g.Tools > 0 && g.ToolChoice != toolAuto }

// turn returns the conversation and the turn in it of a client's request.
func (g *Group) turn(index int) (conversation, turn int) {
	if g.Conversations == 0 {
		return index, 0
	}
	return index % g.Conversations, index / g.Conversations
}

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
		if g.Tools < 0 || g.Tools > len(tools) || g.Tools > 0 && len(g.Schema) > 0 {
			return fmt.Errorf("scenario %s, group %s: there are %d tools to offer, and not together with a schema", s.Name, g.Name, len(tools))
		}
		if g.ToolChoice != "" && (g.Tools == 0 || g.ToolChoice != toolAuto && g.ToolChoice != toolRequired) {
			return fmt.Errorf("scenario %s, group %s: tool_choice %q is of requests with tools, and %s or %s", s.Name, g.Name, g.ToolChoice, toolAuto, toolRequired)
		}
		if g.Conversations < 0 || g.Conversations > 0 && (g.TurnWords < 1 || g.Texts > 0) {
			return fmt.Errorf("scenario %s, group %s: conversations are of chats and need turn_words of at least 1", s.Name, g.Name)
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
