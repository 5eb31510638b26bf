package mcpserver

import (
	"encoding/json"
	"fmt"
	"strings"
)

// property is a member of an object, in the order in which it is listed.
type property struct {
	name   string
	schema string // JSON text
}

// object returns the schema of an object with these members and no others. It
// says nothing by anyOf, oneOf or $ref: many clients cannot read them.
func object(description string, required []string, properties ...property) string {
	var b strings.Builder
	b.WriteString(`{"type":"object"`)
	if description != "" {
		fmt.Fprintf(&b, `,"description":%s`, quote(description))
	}
	b.WriteString(`,"properties":{`)
	for i, p := range properties {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%s", quote(p.name), p.schema)
	}
	b.WriteByte('}')
	if len(required) > 0 {
		names, _ := json.Marshal(required) // strings always encode
		fmt.Fprintf(&b, `,"required":%s`, names)
	}
	b.WriteString(`,"additionalProperties":false}`)
	return b.String()
}

// member returns a property of the type; rest is further members of its
// schema, as JSON text, or "".
func member(name, typ, description, rest string) property {
	if rest != "" {
		rest = "," + rest
	}
	return property{name, fmt.Sprintf(`{"type":%s,"description":%s%s}`, quote(typ), quote(description), rest)}
}

func between(low, high string) string { return fmt.Sprintf(`"minimum":%s,"maximum":%s`, low, high) }

func quote(s string) string {
	q, _ := json.Marshal(s) // strings always encode
	return string(q)
}
