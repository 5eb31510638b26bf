package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// kind is a schema, with how its prompts are made.
type kind struct {
	name   string
	schema json.RawMessage
	make   func(r *rand.Rand) (prompt string, want map[string]any)
}

// task is a prompt, and the value that each place of its document must have.
type task struct {
	kind   *kind
	prompt string
	want   map[string]string // by path, as "members.0.age"
}

var kinds = []kind{
	{
		"long keys", json.RawMessage(`{"type":"object","properties":{
			"customer_full_name":{"type":"string","maxLength":40},"city_of_residence":{"type":"string","maxLength":30},
			"customer_reference_number":{"type":"integer","minimum":0,"maximum":99999},"number_of_open_invoices":{"type":"integer","minimum":0,"maximum":99},
			"has_agreed_to_newsletter":{"type":"boolean"}},
			"required":["customer_full_name","city_of_residence","customer_reference_number","number_of_open_invoices","has_agreed_to_newsletter"],"additionalProperties":false}`),
		func(r *rand.Rand) (string, map[string]any) {
			name, city, number, invoices, agreed := one(r, first)+" "+one(r, last), one(r, cities), 1000+r.IntN(9000), 1+r.IntN(20), r.IntN(2) == 0
			newsletter := "did not agree"
			if agreed {
				newsletter = "agreed"
			}
			return fmt.Sprintf("Write the record of this customer as JSON with the keys customer_full_name, city_of_residence, customer_reference_number, number_of_open_invoices and has_agreed_to_newsletter: "+
					"%s lives in %s, has the reference number %d and %d open invoices, and %s to the newsletter.", name, city, number, invoices, newsletter),
				map[string]any{
					"customer_full_name": name, "city_of_residence": city, "customer_reference_number": number,
					"number_of_open_invoices": invoices, "has_agreed_to_newsletter": agreed,
				}
		},
	},
	{
		"enumerations and numbers", json.RawMessage(`{"type":"object","properties":{
			"status":{"enum":["open","closed","in progress"]},"severity":{"enum":["low","medium","high","critical"]},
			"temperature":{"type":"integer","minimum":-99,"maximum":999},"room":{"type":"integer","minimum":0,"maximum":9999},"direction":{"enum":["north","northeast","east","south","west"]}},
			"required":["status","severity","temperature","room","direction"],"additionalProperties":false}`),
		func(r *rand.Rand) (string, map[string]any) {
			status, severity, direction := one(r, []string{"open", "closed", "in progress"}), one(r, []string{"low", "medium", "high", "critical"}), one(r, []string{"north", "northeast", "east", "south", "west"})
			temperature, room := 10+r.IntN(80), 100+r.IntN(900)
			return fmt.Sprintf("Write this report as JSON with the keys status, severity, temperature, room and direction: the status is %s, the severity is %s. "+
					"It has %d degrees in room %d. The window looks %s.", status, severity, temperature, room, direction),
				map[string]any{"status": status, "severity": severity, "temperature": temperature, "room": room, "direction": direction}
		},
	},
	{
		"nested lists", json.RawMessage(`{"type":"object","properties":{"team":{"type":"string","maxLength":30},
			"members":{"type":"array","minItems":2,"maxItems":2,"items":{"type":"object","properties":{"name":{"type":"string","maxLength":30},"age":{"type":"integer","minimum":0,"maximum":120},
				"languages":{"type":"array","minItems":2,"maxItems":2,"items":{"enum":["English","French","German","Spanish","Polish"]}}},
				"required":["name","age","languages"],"additionalProperties":false}}},"required":["team","members"],"additionalProperties":false}`),
		func(r *rand.Rand) (string, map[string]any) {
			team := one(r, []string{"Red Foxes", "Night Owls", "Quick Rivers", "Stone Bridge"})
			var told []string
			var members []any
			for _, i := range r.Perm(len(first))[:2] {
				spoken := r.Perm(len(languages))[:2]
				age := 20 + r.IntN(50)
				told = append(told, fmt.Sprintf("%s is %d years old and speaks %s and %s", first[i], age, languages[spoken[0]], languages[spoken[1]]))
				members = append(members, map[string]any{"name": first[i], "age": age, "languages": []any{languages[spoken[0]], languages[spoken[1]]}})
			}
			return fmt.Sprintf("Write this team as JSON with the keys team and members, each member with name, age and languages: the team is called %s. %s.", team, strings.Join(told, ". ")),
				map[string]any{"team": team, "members": members}
		},
	},
}

var (
	first     = []string{"Anna", "Boris", "Clara", "David", "Elena", "Frank", "Greta", "Hugo", "Irene", "Jonas"}
	last      = []string{"Miller", "Stone", "Garcia", "Novak", "Larsen", "Weber", "Rossi", "Kowalski"}
	cities    = []string{"Berlin", "Paris", "Madrid", "Oslo", "Vienna", "Lisbon", "Prague", "Dublin"}
	languages = []string{"English", "French", "German", "Spanish", "Polish"}
)

func one(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

// generator makes the same facts each time.
func generator() *rand.Rand { return rand.New(rand.NewPCG(2, 3)) }

// tasks returns the first n tasks, always the same, the kinds in turn.
func tasks(n int) []task {
	r := generator()
	all := make([]task, n)
	for i := range all {
		k := &kinds[i%len(kinds)]
		prompt, want := k.make(r)
		all[i] = task{kind: k, prompt: prompt, want: map[string]string{}}
		flatten("", want, all[i].want)
	}
	return all
}

// flatten writes the values of a document by their paths.
func flatten(path string, v any, out map[string]string) {
	if path != "" {
		switch v.(type) {
		case map[string]any, []any:
			path += "."
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			flatten(path+k, e, out)
		}
	case []any:
		for i, e := range v {
			flatten(fmt.Sprint(path, i), e, out)
		}
	default:
		out[path] = fmt.Sprint(v)
	}
}

// right counts the places of a document that have the stated values, and names
// the others.
func (t *task) right(document string) (n int, wrong []string) {
	dec := json.NewDecoder(strings.NewReader(document))
	dec.UseNumber()
	var doc any
	got := map[string]string{}
	if err := dec.Decode(&doc); err == nil {
		flatten("", doc, got)
	}
	for path, want := range t.want {
		if strings.EqualFold(strings.TrimSpace(got[path]), want) {
			n++
		} else {
			wrong = append(wrong, fmt.Sprintf("%s is %q, not %q", path, got[path], want))
		}
	}
	return n, wrong
}
