package files

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"hearth/mcpserver/router"
)

// describe makes the tools. Their texts are read by small models: short, with the
// folders' names in them.
func (c *Connector) describe() []router.Tool {
	reads := router.Effects{Untrusted: c.config.Untrusted}
	first := c.roots[0].Name
	var names, writable, deletable []string
	for _, r := range c.roots {
		names = append(names, r.Name)
		if r.Write {
			writable = append(writable, r.Name)
		}
		if r.Delete {
			deletable = append(deletable, r.Name)
		}
	}
	folders := "Folders: " + strings.Join(names, ", ") + "."
	file := text("Path of the file, such as "+c.example()+".", 1, maxPath)
	all := []router.Tool{
		{
			Name: "list", Title: "List files", Effects: reads, Idempotent: true,
			Description: "Lists files with sizes and times. " + folders,
			Input: object(nil,
				member{"path", optional("Folder, such as "+first+". Empty: all folders.", maxPath)},
				member{"glob", optional("Only what matches, in all folders below: *.txt is a name, **/2024/*.csv a path.", maxGlob)},
				member{"depth", whole("How many levels of folders.", 1, maxDepth, 1)},
				member{"ignored", boolean("Also what .gitignore leaves out.")},
				member{"offset", whole("Leave out so many entries: to go on with a long list.", 0, 1<<31, 0)},
			),
		},
		{
			Name: "read", Title: "Read a file", Effects: reads, Idempotent: true,
			Description: "Reads a text file, or some of its lines. " + folders,
			Input: object([]string{"path"},
				member{"path", file},
				member{"line", whole("First line to read; 1 is the first of the file.", 1, 1<<31, 1)},
				member{"lines", whole("How many lines; 0: all.", 0, 1<<31, 0)},
				member{"offset", whole("First byte to read, instead of line.", 0, 1<<53, 0)},
				member{"bytes", whole("How many bytes, with offset; 0: as many as may be.", 0, 1<<31, 0)},
				member{"numbers", boolean("Write its number before each line.")},
			),
		},
		{
			Name: "search", Title: "Search in files", Effects: reads, Idempotent: true,
			Description: "Finds text in files and in their names. " + folders,
			Input: object([]string{"query"},
				member{"query", text("What to find.", 1, 1000)},
				member{"path", optional("Folder or file to look in, such as "+first+". Empty: all folders.", maxPath)},
				member{"regexp", boolean("The query is a regular expression (RE2).")},
				member{"case", boolean("Upper and lower case differ.")},
				member{"where", choice("Look in contents, in names, or in both.", "both", "contents", "names")},
				member{"context", whole("Lines to show around each match.", 0, 20, 0)},
				member{"include", optional("Only files that match this glob, such as *.md.", maxGlob)},
				member{"exclude", optional("No files that match this glob.", maxGlob)},
				member{"ignored", boolean("Also what .gitignore leaves out.")},
			),
		},
	}
	if len(writable) > 0 {
		in := "Folders that can be written: " + strings.Join(writable, ", ") + "."
		path := text("Path of the file, such as "+writable[0]+"/notes.txt.", 1, maxPath)
		all = append(all, router.Tool{
			Name: "write", Title: "Write a file", Effects: router.Effects{Writes: true, Destroys: true},
			Description: "Writes a text file. mode create makes a new file, overwrite replaces all of it, append adds to its end, replace puts content in place of the text old. " + in,
			Input: object([]string{"path", "content"},
				member{"path", path},
				member{"content", text("The text to write.", 0, 0)},
				member{"mode", choice("What to do.", "create", "overwrite", "append", "replace")},
				member{"old", text("With mode replace: the exact text to replace, which must be there once.", 1, 0)},
			),
		}, router.Tool{
			Name: "move", Title: "Move a file", Effects: router.Effects{Writes: true},
			Description: "Moves or renames a file or folder. It never replaces another one. " + in,
			Input: object([]string{"from", "to"},
				member{"from", text("Path of what to move.", 1, maxPath)},
				member{"to", text("Its new path, with its name.", 1, maxPath)},
			),
		})
	}
	if len(deletable) > 0 {
		all = append(all, router.Tool{
			Name: "delete", Title: "Delete a file", Effects: router.Effects{Writes: true, Destroys: true}, Idempotent: true,
			Description: "Deletes a file or an empty folder, for good. Folders it works in: " + strings.Join(deletable, ", ") + ".",
			Input:       object([]string{"path"}, member{"path", text("Path of what to delete.", 1, maxPath)}),
		})
	}
	return slices.Clip(all)
}

type member struct {
	name   string
	schema string // JSON
}

func object(required []string, members ...member) json.RawMessage {
	var b strings.Builder
	b.WriteString(`{"type":"object","properties":{`)
	for i, m := range members {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%s", quote(m.name), m.schema)
	}
	b.WriteByte('}')
	if len(required) > 0 {
		fmt.Fprintf(&b, `,"required":["%s"]`, strings.Join(required, `","`))
	}
	b.WriteString(`,"additionalProperties":false}`)
	return json.RawMessage(b.String())
}

// text is a schema of a string; most 0 is no bound but that of the call.
func text(description string, least, most int) string {
	out := `{"type":"string","description":` + quote(description)
	if least > 0 {
		out += fmt.Sprintf(`,"minLength":%d`, least)
	}
	if most > 0 {
		out += fmt.Sprintf(`,"maxLength":%d`, most)
	}
	return out + "}"
}

// What need not be there says its default, and the default may be written: small
// models fill in every argument that they are told of.

func optional(description string, most int) string {
	return fmt.Sprintf(`{"type":"string","description":%s,"maxLength":%d,"default":""}`, quote(description), most)
}

func whole(description string, least, most, usual int64) string {
	return fmt.Sprintf(`{"type":"integer","description":%s,"minimum":%d,"maximum":%d,"default":%d}`, quote(description), least, most, usual)
}

func boolean(description string) string {
	return `{"type":"boolean","description":` + quote(description) + `,"default":false}`
}

// choice is one of the texts; the first is the default.
func choice(description string, of ...string) string {
	return `{"type":"string","description":` + quote(description) + `,"enum":["` + strings.Join(of, `","`) + `"],"default":` + quote(of[0]) + `}`
}

func quote(s string) string {
	q, _ := json.Marshal(s) // strings always encode
	return string(q)
}
